"""The right to a shard, and what is done to get it, keep it, and notice that it is gone (rules R3, R4, R15, R17).

A tenure lasts as long as the group assigns the shard to this worker. Within it a lease is taken, the engine is built
from the store, commits go out one at a time; after an outage, a lost reply or a refusal the lease is taken anew, and
the engine either goes on where it was or is thrown away and built again. Like the engine: no I/O, no clock; the driver
executes `drain()`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import Any

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine, SignalIntake
from barnabas.runtime.live import Step
from barnabas.runtime.recovery import QUESTIONS
from barnabas.store.port import Applied, Commit, Query, Refused, Shard, StoreUnavailable, Taken

#: An owner with nothing to commit looks at its lease and number this often (R4).
CHECK_MS = 3_000
#: Acknowledged outbox entries leave the store with the next commit, or after this long in one of their own.
LINGER_MS = 50
#: How long to wait before taking a shard again: after a refusal (random, so that two owners part), after an outage
#: (rising).
REFUSED_MS = (50, 400)
OUTAGE_MS = (50, 1_000)

#: Changes gathered behind a commit before intake waits for it: bounds the size of a commit.
GATHERED = 5_000

#: A step begins only under a lease that the store confirmed this lately. A process that was frozen looks first, so it
#: does not do again what others have done since; no session is shorter, so nobody can have taken the shard in between
#: unless we slept.
SURE_MS = 1_000

LEASE_BYTES = 12

#: Assignments of this process, over all tenures: a shard that comes back must not take what was fetched before (R17).
_EPOCHS = itertools.count(1)


class State(Enum):
    """Where a tenure stands."""

    WAITING = "waiting"  # for the time to take
    TAKING = "taking"
    LOADING = "loading"
    ACTIVE = "active"
    HALTED = "halted"  # something is wrong that only a person can judge
    OVER = "over"


class Tenure:
    """One shard in the hands of one worker. `questions`: what the engine wants to be restored from."""

    def __init__(
        self,
        shard: Shard,
        make_engine: Callable[[], tuple[Engine, SignalIntake]],
        random: Random,
        now: int,
        questions: Sequence[Query] = QUESTIONS,
    ) -> None:
        self.shard = shard
        self.state = State.WAITING
        self.engine: Engine | None = None
        self.intake: SignalIntake | None = None
        self.lease = b""
        self.epoch = 0
        self.refusals = 0
        self._takes = 0  # take counter of our last take
        self._make_engine = make_engine
        self._random = random
        self._questions = questions
        self._effects: list[fx.Effect] = []
        self._flight: Commit | None = None  # sent, or (while not ACTIVE) of unknown fate
        self._promised: list[int] = []
        self._failures = 0
        self._act_at = 0  # when to take (WAITING)
        self._spoke_at = now  # last answer of the store
        self._asked_at = now  # when the latest take or commit was sent
        self._confirmed_at = now  # when the latest one that the store granted was sent
        self._put_off: list[Step] = []  # steps that wait for the lease to be confirmed
        self._gathering_since: int | None = None
        self._take(now)

    # -- the driver's side

    def drain(self) -> list[fx.Effect]:
        """What is to be done now, in order."""
        effects, self._effects = self._effects, []
        if self.engine is not None and self.engine.effects:
            effects += self.engine.effects
            self.engine.effects = []
        return effects

    def on_tick(self, now: int) -> None:
        """Time has passed."""
        if self.state is State.WAITING and now >= self._act_at:
            self._take(now)
        elif self.engine is not None:
            self.engine.on_tick(now)

    def next_due(self) -> int | None:
        """When `on_tick` or `gather` has something to do, if nothing happens before."""
        if self.state is State.WAITING:
            return self._act_at
        if self.state is not State.ACTIVE or self.engine is None:
            return None
        timer = self.engine.next_due()
        if self._flight is not None:
            return timer  # the next commit or check waits for the answer, however late that is
        due = self._spoke_at + CHECK_MS
        if self._gathering_since is not None:
            due = min(due, self._gathering_since + LINGER_MS)
        return due if timer is None else min(due, timer)

    # -- taking

    def _take(self, now: int) -> None:
        self.state = State.TAKING
        self.lease = self._random.randbytes(LEASE_BYTES)
        self._asked_at = now
        self._effects.append(fx.Take(self.lease))

    def on_taken(self, lease: bytes, taken: Taken, now: int) -> None:
        """The store has given the shard to this lease."""
        if self.state is not State.TAKING or lease != self.lease:
            return
        self._answered(now)
        # Whose commit a number counts is known only if nobody has held the shard since our last take.
        alone = taken.takes == self._takes + 1
        self._takes = taken.takes
        self._confirmed_at = self._asked_at
        engine, flight = self.engine, self._flight
        if engine is None:
            self._load()
        elif not alone:
            self._reload()
        elif flight is None and taken.number == engine.number:
            self._go_on(engine, taken)
        elif flight is not None and taken.number == flight.number:
            self._go_on(engine, taken)
            self._applied(engine, flight)
        elif flight is not None and taken.number == flight.number - 1:
            self._go_on(engine, taken)
            self._send(Commit(self.shard, self.lease, flight.number, flight.ops), now)
        else:
            self._reload()

    def _go_on(self, engine: Engine, taken: Taken) -> None:
        self.state = State.ACTIVE
        engine.hold_under(self.lease, taken.takes)
        self._begin_put_off()

    def _reload(self) -> None:
        self._discard()
        self._load()

    def _load(self) -> None:
        self.state = State.LOADING
        self._effects.append(fx.Load(self.lease, self._questions))

    def on_loaded(self, lease: bytes, answers: list[Any], now: int) -> None:
        """The store's answers to the questions of the load, asked under this lease."""
        if self.state is not State.LOADING or lease != self.lease:
            return
        self._answered(now)
        self.engine, self.intake = self._make_engine()
        self.engine.hold_under(self.lease, self._takes)
        self.state = State.ACTIVE
        self.engine.restore(answers, now)
        self.epoch = next(_EPOCHS)
        self._effects.append(fx.ReadFrom(self.engine.next_invocation, self.engine.next_signal, self.epoch))

    def on_store_unavailable(self, lease: bytes, now: int) -> None:
        """A take or a load got no answer. What is in memory stays; another try follows (R15)."""
        if lease == self.lease and self.state in (State.TAKING, State.LOADING):
            self._wait_for_store(now)

    def doubt(self, now: int) -> None:
        """The connection to the store was lost: who owns the shard is open until the next take (R4)."""
        if self.state is State.ACTIVE:
            self._wait_for_store(now)

    def _wait_for_store(self, now: int) -> None:
        low, high = OUTAGE_MS
        self._act_at = now + min(high, low << min(self._failures, 8))
        self._failures += 1
        self.state = State.WAITING

    def _answered(self, now: int) -> None:
        self._failures = 0
        self._spoke_at = now

    # -- committing

    def gather(self, now: int) -> None:
        """Send the next commit, if there is something to commit and none under way; look at the lease now and then."""
        engine = self.engine
        if self.state is not State.ACTIVE or engine is None or self._flight is not None:
            return
        if engine.is_due():
            self._commit(engine, now)
        elif engine.is_worthwhile():
            if self._gathering_since is None:
                self._gathering_since = now
            elif now >= self._gathering_since + LINGER_MS:
                self._commit(engine, now)
        elif now >= self._spoke_at + CHECK_MS or self._put_off:
            self._send(Commit(self.shard, self.lease, engine.number, []), now)

    def _commit(self, engine: Engine, now: int) -> None:
        self._gathering_since = None
        number = engine.next_commit
        ops, self._promised = engine.seal()
        self._send(Commit(self.shard, self.lease, number, ops), now)

    def _send(self, commit: Commit, now: int) -> None:
        self._asked_at = now
        self._flight = commit
        self._effects.append(fx.SendCommit(commit))

    def on_commit(self, commit: Commit, outcome: Applied | Refused | StoreUnavailable, now: int) -> None:
        """What became of a commit or check. An answer to one that is no longer under way says nothing (R3)."""
        if commit is not self._flight or self.state is not State.ACTIVE or self.engine is None:
            return
        if isinstance(outcome, StoreUnavailable):
            if not commit.ops:
                self._flight = None
            self._wait_for_store(now)
            return
        self._answered(now)
        if isinstance(outcome, Applied):
            self._confirmed_at = self._asked_at
            self._applied(self.engine, commit)
            self._begin_put_off()
        else:
            self.refusals += 1
            self._discard()
            self._act_at = now + self._random.randint(*REFUSED_MS)
            self.state = State.WAITING

    def _applied(self, engine: Engine, commit: Commit) -> None:
        self._flight = None
        promised, self._promised = self._promised, []
        if commit.ops:
            engine.on_committed(commit.number, promised)

    def is_behind(self) -> bool:
        """Whether more has gathered behind the commit under way than should go into the next one."""
        return self._flight is not None and self.engine is not None and self.engine.gathered() > GATHERED

    # -- steps

    def is_sure(self, now: int) -> bool:
        """Whether the store has confirmed the lease lately enough for a step to begin. May be asked from any thread."""
        return self.state is State.ACTIVE and now - self._confirmed_at <= SURE_MS

    def put_off(self, step: Step) -> None:
        """Ask for this step again once the lease is confirmed; if it is refused, nobody wants the step any more."""
        self._put_off.append(step)

    def _begin_put_off(self) -> None:
        self._effects += map(fx.StartStep, self._put_off)
        self._put_off = []

    # -- what the log brings

    def takes_in(self, epoch: int) -> bool:
        """Whether records fetched under this assignment are still wanted (R17)."""
        return self.engine is not None and epoch == self.epoch

    def on_signals(self, epoch: int, records: Sequence[Record], now: int) -> None:
        """A batch of the signals topic."""
        if self.takes_in(epoch):
            assert self.engine is not None
            assert self.intake is not None
            self.engine.now = now
            self.intake.on_signals(records)

    def on_session_over(self) -> None:
        """The producer session ended: everything promised is produced again, from the head (R2)."""
        if self.engine is not None:
            # What was asked for and not yet given to the old session must not get ahead of the head in the new one.
            self.engine.effects = [effect for effect in self.engine.effects if not isinstance(effect, fx.Produce)]
            under_way = self._promised[0] if self._promised else None
            self.engine.produce(self.engine.outbox.committed(under_way))

    def is_quiet(self) -> bool:
        """Whether nothing is at work, nothing waits to be committed, and nothing to be delivered."""
        engine = self.engine
        if engine is None:
            return self.state is not State.ACTIVE
        if self._flight is not None or engine.is_due() or len(engine.outbox):
            return False
        return engine.nothing_under_way()

    # -- the end

    def halt(self) -> None:
        """Work on this shard no more, though the group leaves it here: to go on would hide a loss (R17).

        The driver says why.
        """
        self._discard()
        self._effects = [fx.StopReading()]
        self.state = State.HALTED

    def end(self) -> None:
        """The group has taken the shard away, or the worker ends."""
        self._discard()
        self._effects = [fx.StopReading()]
        self.state = State.OVER

    def _discard(self) -> None:
        if self.engine is not None:
            self.engine.close()
        self.engine = self.intake = self._flight = None
        self._effects = [effect for effect in self._effects if not isinstance(effect, fx.StartStep)]
        self._put_off = []
        self._promised = []
        self._gathering_since = None
