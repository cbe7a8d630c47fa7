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

from barnabas.contract.records import Failure
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime import recovery, sealing
from barnabas.runtime.attempt import Attempt, Finished, Outcome, Replaced
from barnabas.runtime.context import InvocationContext
from barnabas.runtime.directory import Directory
from barnabas.runtime.failures import failure_text
from barnabas.runtime.lanes import Lane, Lanes
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import Live, Step
from barnabas.runtime.marks import Marks
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.retries import of_invocation
from barnabas.runtime.ring import Ring
from barnabas.runtime.sender import Sender, undelivered
from barnabas.runtime.state import KeyState, States
from barnabas.runtime.stepping import Stepping
from barnabas.runtime.timers import RETRY, Timers
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.handler import Handler
from barnabas.store.port import Op, Shard

log = logging.getLogger("barnabas.engine")


class ShardEngine:
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
        self.marks = Marks()
        self.outbox = Outbox(str(shard))
        self.sender = Sender(self.outbox, directory)
        self.timers = Timers()

        self.touched: dict[Live, None] = {}  # changed since the last seal
        self.ended: list[Live] = []  # over since the last seal, and in the store
        self.spill_ops: list[tuple[Any, ...]] = []
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
        self._forgettable: list[Live] = []  # suspended; what the store has of them may leave the memory
        self._as_tasks: set[Live] = set()  # whose attempts are asyncio tasks
        self._tasks_over: list[tuple[Live, Attempt, Outcome | None]] = []

    def hold_under(self, lease: bytes, take: int) -> None:
        """From now on commits and labels are made under this lease."""
        self.sender.lease, self.sender.take = lease, take

    # -- what a tenure asks of every kind of engine (engine.Engine)

    def restore(self, answers: list[Any], now: int) -> None:
        recovery.restore(self, answers, now)

    def next_due(self) -> int | None:
        return self.timers.next_due()

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
        self._change(live)
        if live.exclusive:
            assert live.key is not None
            lane = self.lanes.get(live.key)
            if lane is not None:
                self.lanes.enqueue(lane, live)
                return
        if self.draining:
            self._ready.append(live)
        else:
            self._launch(live)
        if live.exclusive and live.id in self.live:
            self.lanes.open(live.key or "", live)

    def requeue(self, lane: Lane, live: Live) -> None:
        """Take an invocation that waited in the store; it was accepted, in this order, long ago."""
        self.live[live.id] = live
        self._change(live)
        self.lanes.enqueue(lane, live)
        self.held_bytes += len(live.payload)

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
                if live.id in self.live and live.attempt is None:
                    self._resume(live)

    # -- running

    def _resume(self, live: Live) -> None:
        if live.payload_loaded and live.journal_loaded:
            self._launch(live)
        else:
            self.effects.append(fx.LoadInvocation(live))

    def _launch(self, live: Live) -> None:
        """Start an attempt; the invocation's input and journal are in memory."""
        handler = self.handlers.get(live.handler)
        if handler is None:
            self._retry(live, TerminalError(f"this worker's {live.service} has no handler '{live.handler}'"))
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

    def on_states(self, states: Mapping[str, dict[bytes, bytes]]) -> None:
        """The states of these keys, as the store has them."""
        for key, values in states.items():
            if self.states.get(key) is None:
                self.states.load(key, values)
            for live in self._loading.pop(key, ()):
                if live.id in self.live and live.attempt is None:
                    self._resume(live)
        self.run_ready()

    def on_invocation_loaded(self, live: Live, input_: bytes | None, entries: list[bytes]) -> None:
        """Input and journal of an invocation that goes on, as the store has them."""
        if live.id not in self.live or live.attempt is not None:
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
        elif isinstance(outcome, Finished):
            self._finish(live, outcome.result, outcome.failure)
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

    def _finish(self, live: Live, result: bytes | None, failure: Failure | None) -> None:
        """The outcome stands: keep it, tell everyone who waits, free the key."""
        if result is not None and len(result) > self.limits.value_bytes:
            size = f"{len(result)} bytes, more than {self.limits.value_bytes}"
            text = f"the result of {live.service}/{live.handler} has {size}"
            result, failure = None, Failure(500, text)
        self._leave(live)
        for waiter in live.waiters:
            self.sender.outcome(waiter, live.id, result, failure)
        self.ring.append(live, result, failure, self.now)
        self.counts["completed" if failure is None else "failed"] += 1

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
        self._drop_attempt(live)
        live.attempts += 1
        live.last_failure = failure_text(error)
        self.counts["attempts failed"] += 1
        self.change_header(live)
        handler = self.handlers.get(live.handler)
        decision = of_invocation(handler, live.attempts, error)
        log.warning(
            "%s/%s failed its attempt %d (%s): %s",
            live.service, live.handler, live.attempts, decision.describe(), live.last_failure,
            exc_info=None if handler is None else error,
        )  # fmt: skip
        if decision.kill:
            self._finish(live, None, Failure(500, live.last_failure))
        elif decision.delay_ms is None:
            self.pause(live)
        else:
            live.status = states_of.BACKING_OFF
            live.retry_at = self.now + decision.delay_ms
            self.timers.arm_retry(live.id, live.retry_at)

    def pause(self, live: Live) -> None:
        """Stop until a person has it resumed; it keeps its place at its key."""
        self._drop_attempt(live)
        live.status = states_of.PAUSED
        self.change_header(live)

    def _drop_attempt(self, live: Live) -> None:
        attempt, live.attempt = live.attempt, None
        if attempt is not None:
            attempt.drop()
        self.waiting.pop(live, None)
        self._as_tasks.discard(live)

    # -- notifications

    def notify(self, live: Live, entry: j.Entry) -> None:
        """Something that the invocation waits for has come: journal it, and let the handler go on."""
        live.journal.append(entry)
        self._change(live)
        if live.attempt is None:
            if live.status == states_of.SUSPENDED:
                live.status = states_of.RUNNING
                live.header_changed = True
                self._ready.append(live)
        elif live.hold <= self.number:
            self.deliver(live)

    def deliver(self, live: Live) -> None:
        """Let the attempt go on with what its journal has for it."""
        if live.attempt is not None:
            self._settle(live, live.attempt.deliver())

    def on_tick(self, now: int) -> None:
        """Time has passed: fire what is due, and take up what tasks have come to."""
        self.now = now
        self._settle_tasks()
        for timer in self.timers.pop_due(now):
            live = self.live.get(timer.id)
            if live is None:
                continue
            if timer.step:
                step = (live.steps or {}).get(timer.position)
                if step is not None:
                    self.stepping.run(step)
            elif timer.position != RETRY:
                self.notify(live, [j.RESULT, timer.position, None, b""])
            elif live.status == states_of.BACKING_OFF and live.attempt is None and live.retry_at <= now:
                self._ready.append(live)
        self.run_ready()

    def on_step_done(self, step: Step, raw: bytes | None, error: BaseException | None) -> None:
        """An action has returned `raw`, or raised `error`."""
        self.stepping.done(step, raw, error)
        self.run_ready()

    # -- what attempts ask for (attempt.Host)

    def start_step(self, step: Step) -> None:
        self.stepping.start(step)

    def journaling(self, live: Live, quiet: bool) -> None:
        if len(live.journal) >= self.limits.journal_entries:
            raise TerminalError(
                f"the journal of {live.service}/{live.handler} has {self.limits.journal_entries} entries, its limit",
                413,
            )
        if not quiet:
            self._change(live)

    def message(
        self, live: Live, issued: j.Entry, position: int, payload: bytes, headers: dict[str, str] | None
    ) -> None:
        self.sender.message(live, issued, position, payload, headers)

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

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> None:
        self.directory.check(service, handler, keyed)
        self.check_size(payload, f"the argument for {service}/{handler}")

    def check_size(self, value: bytes, what: str) -> None:
        if len(value) > self.limits.value_bytes:
            raise TerminalError(f"{what} has {len(value)} bytes, more than {self.limits.value_bytes}", 413)

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        self.timers.arm_sleep(live.id, position, due)

    def state_of(self, key: str) -> dict[str, bytes]:
        return self._state(key).values

    def set_state(self, live: Live, name: str, value: bytes | None) -> None:
        self._written(live).set(name, value)

    def clear_state(self, live: Live) -> None:
        self._written(live).clear()

    def _written(self, live: Live) -> KeyState:
        assert live.key is not None
        state = self._state(live.key)
        state.dirty = self.next_commit
        self.states.changed[live.key] = state
        return state

    def _state(self, key: str) -> KeyState:
        state = self.states.get(key)
        assert state is not None, "a handler runs only once its key's state is in memory"
        return state

    # -- commits

    def _change(self, live: Live) -> None:
        self.touched[live] = None
        live.dirty = self.next_commit

    def change_header(self, live: Live) -> None:
        live.header_changed = True
        self._change(live)

    def on_committed(self, number: int, promised: list[int]) -> None:
        """The sealed changes are in the store: what waited for that happens now."""
        self.number = number
        for id_ in [id_ for id_, taken_by in self.spilling.items() if taken_by <= number]:
            del self.spilling[id_]
        if promised:
            self.produce(promised)
        for key in [key for key, commit in self.unread.items() if commit <= number]:
            del self.unread[key]
            self.refill(key)
        self.stepping.on_committed(number)
        self.run_ready()

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
        call = self.sender.undeliverable(entry.record, why)
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
            self.outbox.remove(number)

    # -- letting go of memory

    def tidy(self) -> None:
        """Suspend attempts that have waited long or are too many, and forget what the store has. Call now and then."""
        self._forget_suspended()
        self._preserve_old_inputs()
        if self.held_bytes > self.limits.held_bytes:
            self._forget_idle_inputs()
        too_many = len(self.waiting) - self.limits.waiting_attempts
        too_much = self.held_bytes - self.limits.held_bytes
        for live, since in list(self.waiting.items()):
            if too_many <= 0 and too_much <= 0 and self.now - since < self.limits.inactivity_ms:
                break
            held = live.hold > self.number  # a step's result waits for its commit, and is delivered to the attempt
            if live.attempt is not None and not live.steps and not held and not live.attempt.running_code:
                too_many -= 1
                too_much -= len(live.payload)
                self._suspend(live)
        in_use = {live.key for live in self.live.values() if live.attempt is not None}
        self.states.shrink(self.number, in_use)

    def _suspend(self, live: Live) -> None:
        attempt, live.attempt = live.attempt, None
        assert attempt is not None
        attempt.drop()
        del self.waiting[live]
        self._as_tasks.discard(live)
        live.status = states_of.SUSPENDED
        self.change_header(live)
        self._forgettable.append(live)

    def _preserve_old_inputs(self) -> None:
        """Half of the topic's retention is over for some who wait: their records must not go with it (R11)."""
        keep_after = self.limits.keep_after_ms
        if keep_after is None or not self.lanes.spilled:
            return
        before = self.now - keep_after
        for lane in self.lanes.values():
            if 0 < lane.elsewhere_since <= before and not lane.refilling:
                lane.refilling = True
                self.effects.append(fx.Preserve(lane.key, before))

    def _forget_suspended(self) -> None:
        later: list[Live] = []
        for live in self._forgettable:
            if live.status != states_of.SUSPENDED or live.id not in self.live:
                continue
            if live.dirty > self.number or not live.sealed:
                later.append(live)
                continue
            self._forget_input(live)
            live.forget_journal()
        self._forgettable = later

    def _forget_idle_inputs(self) -> None:
        """Of all that wait for their key, their state, their next attempt or a person."""
        for live in self.live.values():
            if live.attempt is None and live.sealed and live.dirty <= self.number:
                self._forget_input(live)

    def _forget_input(self, live: Live) -> None:
        if live.payload_loaded:
            self.held_bytes -= len(live.payload)
            live.forget_input()

    # -- closing

    def close(self) -> None:
        """Stop everything at once; what is not in the store is forgotten."""
        self.closed = True
        self.effects.clear()
        for live in list(self.live.values()):
            if live.attempt is not None:
                live.attempt.drop()
                live.attempt = None
