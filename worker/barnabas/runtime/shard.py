"""The engine of one shard: accept, order per key, run, journal, answer. Plain code without I/O and without a clock.

The driver calls the `on_...` methods with what happened and then executes `effects`; `seal` hands out the changes for
the next commit, `on_committed` says that they are in the store. One engine lives as long as its view of the store is
true: when that breaks, the tenure (`tenure.py`) throws it away and builds another from the store. Rules R1-R17 are
those of DESIGN.md 6.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from barnabas.contract.records import Failure, ReplyTo
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime import recovery, sealing
from barnabas.runtime.attempt import Attempt, Finished, Outcome, Replaced
from barnabas.runtime.context import InvocationContext
from barnabas.runtime.deadlocks import Deadlocks
from barnabas.runtime.directory import Directory
from barnabas.runtime.ending import CANCELLED, Ending
from barnabas.runtime.failures import failure_text, status_given_up
from barnabas.runtime.hosting import Hosting
from barnabas.runtime.keeping import Keeping
from barnabas.runtime.kept import Kept, retention_ms
from barnabas.runtime.lanes import Lane, Lanes
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import Live, Step
from barnabas.runtime.marks import Marks
from barnabas.runtime.operating import STATE_PATCH, Operating
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.parked import Parked
from barnabas.runtime.retries import of_invocation
from barnabas.runtime.ring import Ring
from barnabas.runtime.sender import Sender, undelivered
from barnabas.runtime.signals import Signals
from barnabas.runtime.state import States
from barnabas.runtime.stepping import Stepping
from barnabas.runtime.tidying import Tidying
from barnabas.runtime.timers import RETRY, Timers
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.handler import Handler
from barnabas.store.port import Op, Shard

log = logging.getLogger("barnabas.engine")


_NO_PROMISES: Mapping[str, dict[bytes, bytes]] = {}


class ShardEngine(Hosting):
    """Everything that one shard does between a take and the loss of it."""

    def __init__(
        self,
        shard: Shard,
        handlers: Mapping[str, Handler[Any, Any]],
        directory: Directory,
        limits: Limits,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.shard = shard
        self.handlers = handlers
        self.directory = directory
        self.limits = limits
        self.wake = wake
        self.effects: list[fx.Effect] = []
        self.counts: Counter[str] = Counter()
        self.now = 0
        self.closed = False

        self.number = 0  # the last commit known to be in the store
        self.next_commit = 1  # number of the commit that is being gathered
        self.next_invocation: int | None = None  # offsets to read next
        self.next_signal: int | None = None
        self.accepted = 0

        self.live: dict[bytes, Live] = {}
        self.lanes = Lanes(limits.queued)
        self.states = States(limits.state_bytes)
        self.ring = Ring(limits.ring_entries, limits.ring_bytes)
        self.kept = Kept()
        self.parked = Parked()
        self.marks = Marks()
        self.outbox = Outbox(str(shard))
        self.sender = Sender(self.outbox, directory)
        self.timers = Timers()
        self.signals = Signals(self)
        self.ending = Ending(self)
        self.operating = Operating(self)
        self.keeping = Keeping(self)

        self.touched: dict[Live, None] = {}  # changed since the last seal
        self.ended: list[Live] = []  # over since the last seal, and in the store
        self.ops: list[Op] = []  # changes for the next commit that are no one else's
        self.spilled_bytes = 0  # of records in the store
        self.spilling: dict[bytes, int] = {}  # ids on their way there, by the commit that takes them
        self.spilled_in = 0  # number of the commit that holds the latest spilled entry
        self.unread: dict[str, int] = {}  # keys whose spilled entries must not be read before this commit is through
        self.offsets_moved = False
        self.waiting: dict[Live, int] = {}  # attempts that wait, by the time since when; the longest first
        self.stepping = Stepping(self)
        self.held_bytes = 0  # payloads in memory
        self.draining = False  # nothing new is begun; what runs may end
        self._ready: list[Live] = []
        self._loading: dict[str, list[Live]] = {}
        self.tidying = Tidying(self)
        self.deadlocks = Deadlocks(self)
        self._as_tasks: set[Live] = set()  # whose attempts are asyncio tasks
        self._tasks_over: list[tuple[Live, Attempt, Outcome | None]] = []

    def hold_under(self, lease: bytes, take: int) -> None:
        """From now on commits and labels are made under this lease."""
        self.sender.lease, self.sender.take = lease, take

    # -- what a tenure asks of every kind of engine (engine.Engine)

    def restore(self, answers: list[Any], now: int) -> None:
        recovery.restore(self, answers, now)

    def next_due(self) -> int | None:
        timer, signal = self.timers.next_due(), self.signals.next_due()
        return timer if signal is None else signal if timer is None else min(timer, signal)

    def is_due(self) -> bool:
        return sealing.is_due(self)

    def is_worthwhile(self) -> bool:
        return sealing.is_worthwhile(self)

    def gathered(self) -> int:
        return sealing.gathered(self)

    def seal(self) -> tuple[list[Op], list[int]]:
        return sealing.seal(self)

    # -- accepting

    def accept(self, live: Live) -> None:
        """Take an invocation that was never seen: it runs now, or waits for its key."""
        self.live[live.id] = live
        self.held_bytes += len(live.payload)
        self.change(live)
        if live.id in self.parked:
            self.signals.on_accepted(live)
            if self.live.get(live.id) is not live:
                return
        if live.due > self.now:
            live.status = states_of.SCHEDULED
            self.timers.arm_retry(live.id, live.due)
        else:
            self._join_key(live)

    def _join_key(self, live: Live) -> None:
        """Run it, or let it wait for its key."""
        if live.exclusive:
            assert live.key is not None
            lane = self.lanes.get(live.key)
            if lane is not None:
                self.lanes.enqueue(lane, live)
                self.deadlocks.queued(live)
                return
        if self.draining:
            self._ready.append(live)
        else:
            self._resume(live)
        if live.exclusive and self.live.get(live.id) is live:
            self.lanes.open(live.key or "", live)

    def _come_due(self, live: Live) -> None:
        """It has been scheduled until now; from here on its place is behind all that was accepted before."""
        live.status = states_of.QUEUED
        live.due = 0
        self.accepted += 1
        live.accepted = self.accepted
        self.change_header(live)
        self._join_key(live)

    def requeue(self, lane: Lane, live: Live) -> None:
        """Take an invocation that waited in the store; it was accepted, in this order, long ago."""
        self.live[live.id] = live
        self.change(live)
        self.lanes.enqueue(lane, live)
        self.held_bytes += len(live.payload)
        self.deadlocks.refilled(live)
        if live.id in self.parked:
            self.signals.on_accepted(live)

    def claim_refilled(self, lane: Lane) -> None:
        """Go on with a lane whose last one in memory was over before the refill came."""
        if lane.head is None:
            self._claim(self.lanes.claim(lane))
            self.refill(lane.key)
        self.run_ready()

    def _claim(self, live: Live | None) -> None:
        if live is not None:
            self._ready.append(live)

    def ready(self, live: Live) -> None:
        """Let it go on with the next `run_ready`."""
        self._ready.append(live)

    def run_ready(self) -> None:
        """Run everything that has become ready, until nothing is."""
        while self._ready and not self.draining:
            ready, self._ready = self._ready, []
            for live in ready:
                if self.live.get(live.id) is not live:
                    continue
                if live.attempt is None:
                    self._resume(live)
                else:
                    self.go_on(live)

    # -- running

    def _resume(self, live: Live) -> None:
        if live.payload_loaded and live.journal_loaded:
            self._launch(live)
        else:
            self.effects.append(fx.LoadInvocation(live))

    def _launch(self, live: Live) -> None:
        """Start an attempt; the invocation's input and journal are in memory."""
        if live.status == states_of.PAUSED:
            return
        if live.ending == states_of.KILL:
            self.ending.kill_now(live)
            return
        if live.handler == STATE_PATCH and live.key is not None:
            if self._has_state(live, live.key):
                self.operating.patch(live)
            return
        handler = self.handlers.get(live.handler)
        if handler is None and live.ending == states_of.CANCEL and not live.journal:
            self.withdraw(live, CANCELLED)  # it never began, and has nothing to undo
            return
        if handler is None:
            self._retry(live, TerminalError(f"this worker's {live.service} has no handler {_shown(live.handler)}"))
            return
        if live.key is not None and not self._has_state(live, live.key):
            return
        if live.status != states_of.RUNNING:
            live.status = states_of.RUNNING
            if live.sealed:
                live.header_changed = True
        attempt = live.attempt = Attempt(self, live, handler, InvocationContext)
        self._settle(live, attempt.begin())

    def _has_state(self, live: Live, key: str) -> bool:
        if self.states.get(key) is not None:
            return True
        waiting = self._loading.get(key)
        if waiting is None:
            self._loading[key] = [live]
            self.effects.append(fx.LoadStates([key]))
        else:
            waiting.append(live)
        return False

    def on_states(
        self, states: Mapping[str, dict[bytes, bytes]], promises: Mapping[str, dict[bytes, bytes]] = _NO_PROMISES
    ) -> None:
        """The states of these keys, and of a workflow's keys the promises, as the store has them."""
        for key, values in states.items():
            if self.states.get(key) is None:
                self.states.load(key, values, promises.get(key, {}))
            for live in self._loading.pop(key, ()):
                if self.live.get(live.id) is live and live.attempt is None:
                    self._resume(live)
        self.run_ready()

    def on_invocation_loaded(self, live: Live, input_: bytes | None, entries: list[bytes]) -> None:
        """Input and journal of an invocation that goes on, as the store has them."""
        if self.live.get(live.id) is not live or live.attempt is not None:
            return
        if not live.payload_loaded and input_ is not None:
            live.load_input(input_)
            self.held_bytes += len(live.payload)
        if not live.journal_loaded:
            self._merge_journal(live, [j.unpack_entry(raw) for raw in entries])
        self._launch(live)
        self.run_ready()

    def _merge_journal(self, live: Live, stored: list[j.Entry]) -> None:
        # What came while the journal was in the store alone may have been read back with it, all or the first of it. To
        # go by position and call would not do: a result from before the store fell back may lie further ahead already.
        sealed, unsealed = live.journal[: live.journal_sealed], live.journal[live.journal_sealed :]
        read = next(n for n in range(len(sealed), -1, -1) if stored[len(stored) - n :] == sealed[:n])
        late = sealed[read:]
        live.journal = stored + late + unsealed
        live.journal_sealed = len(stored) + len(late)
        live.journal_loaded = True

    def _settle(self, live: Live, outcome: Outcome | None) -> None:
        if outcome is None:
            self.waiting.pop(live, None)
            self.waiting[live] = self.now
            if live.attempt is not None and live.attempt.is_task:
                self._as_tasks.add(live)
            if live.ending:
                self.ending.go_on(live)
        elif isinstance(outcome, Finished):
            self.finish(live, outcome.result, outcome.failure)
        elif isinstance(outcome, Replaced):
            if live.attempt is not None:
                live.attempt.drop()
            self._launch(live)
        else:
            self._retry(live, outcome.error)

    def task_over(self, live: Live, attempt: Attempt, outcome: Outcome | None) -> None:
        if not self.closed:
            self._tasks_over.append((live, attempt, outcome))
            self.wake()

    def _settle_tasks(self) -> None:
        over, self._tasks_over = self._tasks_over, []
        for live, attempt, outcome in over:
            if live.attempt is attempt:
                self._as_tasks.discard(live)
                self._settle(live, outcome)

    # -- ending

    def finish(self, live: Live, result: bytes | None, failure: Failure | None) -> None:
        """The outcome stands: keep it, tell everyone who waits, free the key."""
        if result is not None and len(result) > self.limits.value_bytes:
            size = f"{len(result)} bytes, more than {self.limits.value_bytes}"
            text = f"the result of {live.service}/{live.handler} has {size}"
            result, failure = None, Failure(500, text)
        self._leave(live)
        self._tell(live, result, failure)
        if live.keep:
            retention = retention_ms(self.handlers.get(live.handler))
            self.kept.put(live, result, failure, self.now, retention, self.next_commit)
        else:
            self.ring.append(live, result, failure, self.now)
        self.counts["completed" if failure is None else "failed"] += 1

    def _tell(self, live: Live, result: bytes | None, failure: Failure | None) -> None:
        """Tell those who wait.

        A client may be given the ids of messages that the handler has sent: it hears of them once they are there.
        """
        sent = self.outbox.carried(entry[3] for entry in live.journal if entry[0] == j.SEND)
        for waiter in live.waiters:
            self.sender.outcome(waiter, live.id, result, failure)
            if sent and isinstance(waiter, ReplyTo):
                self.outbox.hold_last(set(sent))

    def end_now(self, live: Live, failure: Failure) -> None:
        """End it without its handler, whatever that was doing."""
        self.drop_attempt(live)
        live.steps = None
        self.finish(live, None, failure)

    def withdraw(self, live: Live, failure: Failure) -> None:
        """End what has not begun: those who wait are told.

        Of one with an idempotency key nothing is kept: the same request may come again.
        """
        self.lanes.withdraw(live)
        if not live.keep:
            self.finish(live, None, failure)
            return
        self._leave(live)
        for waiter in live.waiters:
            self.sender.outcome(waiter, live.id, None, failure)
        self.counts["failed"] += 1

    def _leave(self, live: Live) -> None:
        del self.live[live.id]
        self._as_tasks.discard(live)
        self.held_bytes -= len(live.payload)
        self.touched.pop(live, None)
        self.waiting.pop(live, None)
        self.timers.forget(live.id)
        live.attempt = None
        if live.sealed:
            self.ended.append(live)
        if live.key is None:
            return
        state = self.states.get(live.key)
        if state is not None:
            state.dirty = self.next_commit
        if live.exclusive:
            self._claim(self.lanes.release(live))
            self.refill(live.key)

    def refill(self, key: str) -> None:
        """Read spilled work of this key again, if it is its turn."""
        lane = self.lanes.get(key)
        if lane is not None and self.lanes.wants_refill(lane) and key not in self.unread:
            lane.refilling = True
            lane.asked_at = self.number
            self.effects.append(fx.Refill(key, min(lane.spilled, self.limits.refill)))

    # -- failing

    def _retry(self, live: Live, error: BaseException) -> None:
        self.drop_attempt(live)
        live.attempts += 1
        live.last_failure = failure_text(error)
        self.counts["attempts failed"] += 1
        self.change_header(live)
        handler = self.handlers.get(live.handler)
        decision = of_invocation(handler, live.attempts, error)
        name = _shown(live.handler) if handler is None else live.handler
        log.warning(
            "%s/%s failed its attempt %d (%s): %s",
            live.service, name, live.attempts, decision.describe(), live.last_failure,
            exc_info=None if handler is None else error,
        )  # fmt: skip
        if decision.kill:
            self.finish(live, None, Failure(status_given_up(error), live.last_failure))
        elif decision.delay_ms is None:
            self.pause(live)
        else:
            live.status = states_of.BACKING_OFF
            live.retry_at = self.now + decision.delay_ms
            self.timers.arm_retry(live.id, live.retry_at)

    def pause(self, live: Live) -> None:
        """Stop until a person has it resumed; it keeps its place at its key."""
        self.drop_attempt(live)
        live.status = states_of.PAUSED
        self.change_header(live)

    def drop_attempt(self, live: Live) -> None:
        """Its coroutine is of no use any more."""
        attempt, live.attempt = live.attempt, None
        if attempt is not None:
            attempt.drop()
        self.waiting.pop(live, None)
        self._as_tasks.discard(live)

    # -- notifications

    def notify(self, live: Live, entry: j.Entry) -> None:
        """Something that the invocation waits for has come: journal it, and let the handler go on."""
        entry.append(self.now)
        live.journal.append(entry)
        self.change(live)
        if live.attempt is not None:
            self.go_on(live)
        elif self.wake_up(live):
            self._ready.append(live)

    def go_on(self, live: Live) -> None:
        """Its journal has grown: deliver, unless a step's result in it must be in the store first."""
        if live.hold <= self.number:
            self.deliver(live)

    def deliver(self, live: Live) -> None:
        """Let the attempt go on with what its journal has for it."""
        if live.attempt is not None:
            self._settle(live, live.attempt.deliver())

    def on_tick(self, now: int) -> None:
        """Time has passed: fire what is due, and take up what tasks have come to."""
        self.now = now
        self.signals.on_tick()
        self._settle_tasks()
        for timer in self.timers.pop_due(now):
            live = self.live.get(timer.id)
            if live is None:
                continue
            if timer.step:
                step = (live.steps or {}).get(timer.position)
                if step is not None and not step.at_work:
                    self.stepping.run(step)
            elif timer.position != RETRY:
                self.notify(live, [j.RESULT, timer.position, None, b""])
            elif live.status == states_of.SCHEDULED:
                if live.due <= now:
                    self._come_due(live)
            elif live.status == states_of.BACKING_OFF and live.attempt is None and live.retry_at <= now:
                self._ready.append(live)
        self.run_ready()

    def on_step_done(self, step: Step, raw: bytes | None, error: BaseException | None) -> None:
        """An action has returned `raw`, or raised `error`."""
        self.stepping.done(step, raw, error)
        self.run_ready()

    # -- what is at work

    @property
    def active(self) -> int:
        """Handlers and steps at work right now, as opposed to those that wait."""
        return self.stepping.running + self.tasks_running

    def nothing_under_way(self) -> bool:
        """Whether no handler and no step is at work: what is left waits, in the store or in the next commit."""
        return self.stepping.running == 0 and self.tasks_running == 0

    @property
    def tasks_running(self) -> int:
        """Handlers that run as tasks and wait for something foreign, if for anything."""
        return sum(live.attempt is not None and live.attempt.running_code for live in self._as_tasks)

    # -- commits

    def change(self, live: Live) -> None:
        self.touched[live] = None
        live.dirty = self.next_commit

    def change_header(self, live: Live) -> None:
        live.header_changed = True
        self.change(live)

    def on_committed(self, number: int, promised: list[int]) -> None:
        """The sealed changes are in the store: what waited for that happens now."""
        self.number = number
        for id_ in [id_ for id_, taken_by in self.spilling.items() if taken_by <= number]:
            del self.spilling[id_]
        self.kept.on_committed(number)
        if promised:
            self.produce(promised)
        for key in [key for key, commit in self.unread.items() if commit <= number]:
            del self.unread[key]
            self.refill(key)
        self.stepping.on_committed(number)
        self.deadlocks.on_committed(number)
        self.run_ready()
        self.tidying.let_go()

    def produce(self, numbers: list[int]) -> None:
        """Ask for these outbox entries to be produced, in order."""
        entries = self.outbox.get(numbers)
        if entries:
            self.effects.append(fx.Produce(entries))

    def on_undeliverable(self, number: int, why: str) -> None:
        """This record can never be delivered: it becomes a dead letter, and a call that it was fails (R16)."""
        entry = self.outbox.remove(number)
        if entry is None:
            return
        self.counts["dead letters"] += 1
        call = self.sender.undeliverable(entry, why)
        self.sender.gone(entry)
        self.produce(self.outbox.released())
        if call is None:
            return
        failure = undelivered(why)
        live = self.live.get(call.caller.id)
        if live is None:  # it was sent on for another shard, or its caller is over: then the signal finds nobody
            self.sender.outcome(call.caller, call.id, None, failure)
        else:
            self.notify(live, [j.FAILURE, call.caller.position, call.id, failure.code, failure.message, {}])
            self.run_ready()

    def on_delivered(self, numbers: list[int]) -> None:
        """These records were acknowledged: they leave the outbox one by one (R2)."""
        for number in numbers:
            entry = self.outbox.remove(number)
            if entry is not None:
                self.sender.gone(entry)
        self.produce(self.outbox.released())

    # -- letting go of memory

    def tidy(self) -> None:
        """Suspend, forget, expire. Call now and then."""
        self.tidying.tidy()
        self.sender.retry_stranded(self.now)
        self.keeping.expire()

    # -- closing

    def close(self) -> None:
        """Stop everything at once; what is not in the store is forgotten."""
        self.closed = True
        self.effects.clear()
        for live in list(self.live.values()):
            if live.attempt is not None:
                live.attempt.drop()
                live.attempt = None


def _shown(name: str) -> str:
    """A name that a record has given, and nobody here knows: it may hold anything, line ends too (F24)."""
    return ascii(name if len(name) <= 100 else f"{name[:100]}...")
