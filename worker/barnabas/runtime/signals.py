"""What a shard does with its signals topic: results for its handlers, and what others do to its invocations.

A signal about an invocation that nobody knows here is parked until it is clear that the invocation does not come (R7).
Called by the intake, which has decoded the records and looked at their labels.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, Failure, ReplyTo, Signal, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime.kept import Found, KeptOutcome
from barnabas.runtime.live import Live

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine


#: Whoever knows an id may be ahead of its record: a handler that passes on what it has just sent, while the record's
#: partition looks for a leader. The end of the topic that counts is the one it has so much later (R7).
GRACE_MS: Final = 1_000


class Signals:
    """The signals of one shard."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine
        self._untraced: list[int] = []
        self._unknown_yet: deque[tuple[int, int]] = deque()  # when to ask again, and the number

    def take(self, signal: Signal) -> None:
        """Do what the signal says, or park it."""
        engine = self._engine
        live = engine.live.get(signal.invocation)
        if live is not None:
            self.apply(live, signal)
        elif signal.kind is SignalKind.COMPLETION:
            engine.counts["results dropped"] += 1  # R9
        elif signal.invocation in engine.ring:
            self._in_ring(signal)
        elif (kept := engine.kept.fresh.get(signal.invocation)) is not None:
            self._kept(signal, kept)
        else:
            self._untraced.append(engine.parked.add(signal))

    def trace(self) -> None:
        """Ask, for the whole batch at once, where the invocations of those are that had to be parked."""
        if self._untraced:
            self._engine.effects.append(fx.TraceSignals(self._untraced))
            self._untraced = []

    def apply(self, live: Live, signal: Signal) -> None:
        """A signal about an invocation that is here."""
        engine = self._engine
        match signal.kind:
            case SignalKind.COMPLETION:
                self._result(live, signal, signal.position, signal.call_id)
            case SignalKind.RESOLVE if signal.name is not None:
                self._result(live, signal, signal.name, j.OF_SIGNAL)
            case SignalKind.RESOLVE:
                self._result(live, signal, signal.position, j.OF_AWAKEABLE)
            case SignalKind.ATTACH:
                waiter = waiter_of(signal)
                if waiter is not None and live.add_waiter(waiter):
                    engine.change_header(live)
            case _:
                engine.operating.on_live(live, signal)

    def _result(self, live: Live, signal: Signal, position: int | str | None, whose: bytes | None) -> None:
        engine = self._engine
        if live.attempt is not None and whose != j.OF_SIGNAL:
            assert not isinstance(position, str)
            if position is None or not live.attempt.expects(position, whose):
                engine.counts["results dropped"] += 1  # R9
                return
        failure = signal.failure
        if failure is not None:
            engine.notify(live, [j.FAILURE, position, whose, failure.code, failure.message, failure.metadata])
        else:
            engine.notify(live, [j.RESULT, position, whose, signal.result or b""])

    def _in_ring(self, signal: Signal) -> None:
        """It is about a plain invocation that is over."""
        outcome = self._engine.ring.get(signal.invocation)
        if outcome is None or not self._tell(signal, outcome.result, outcome.failure):
            self._engine.operating.on_in_ring(signal)

    def _kept(self, signal: Signal, kept: KeptOutcome) -> None:
        """It is about another one that is over."""
        if not self._tell(signal, kept.result, kept.failure):
            self._engine.operating.on_kept(signal, kept)

    def _tell(self, signal: Signal, result: bytes | None, failure: Failure | None) -> bool:
        """Tell one who attaches. False: the signal wants something else."""
        waiter = waiter_of(signal)
        if signal.kind is not SignalKind.ATTACH or waiter is None:
            return False
        self._engine.sender.outcome(waiter, signal.invocation, result, failure)
        return True

    # -- parked ones (R7)

    def on_traced(self, numbers: list[int], found: Found, end: int) -> None:
        """What the store knows of the invocations of parked signals, and where the invocations topic ended then."""
        engine = self._engine
        for number in numbers:
            signal = engine.parked.get(number)
            if signal is None:
                continue
            outcome = found.kept.get(signal.invocation)
            if outcome is not None:
                self._kept(engine.parked.drop(number), outcome)
            elif signal.invocation in found.spilled or signal.invocation in engine.spilling:
                engine.parked.will_come(number)
            elif engine.parked.asked_before(number):
                engine.parked.wait_until(number, end)
            else:
                self._unknown_yet.append((engine.now + GRACE_MS, number))
        self.drop_overdue()

    def on_tick(self) -> None:
        """Ask again about those that were unknown a while ago."""
        numbers: list[int] = []
        while self._unknown_yet and self._unknown_yet[0][0] <= self._engine.now:
            numbers.append(self._unknown_yet.popleft()[1])
        if numbers:
            self._engine.effects.append(fx.TraceSignals(numbers))

    def next_due(self) -> int | None:
        """When `on_tick` has something to do."""
        return self._unknown_yet[0][0] if self._unknown_yet else None

    def on_accepted(self, live: Live) -> None:
        """An invocation has come: what was parked for it applies now."""
        engine = self._engine
        for signal in engine.parked.pop(live.id):
            if engine.live.get(live.id) is live:
                self.apply(live, signal)
            elif live.id in engine.ring:  # an earlier one has ended it
                self._in_ring(signal)
            else:
                self._unknown(signal)

    def drop_overdue(self) -> None:
        """Nobody will come for signals whose invocation was not there when the topic's end of then was read."""
        engine = self._engine
        for signal in engine.parked.pop_overdue(engine.next_invocation or 0):
            engine.counts["signals dropped"] += 1
            self._unknown(signal)

    def _unknown(self, signal: Signal) -> None:
        """Tell whoever waits for an answer that there is nothing it could be about."""
        waiter = waiter_of(signal)
        if waiter is not None:
            self._engine.sender.outcome(waiter, signal.invocation, None, Failure(404, _not_known(signal.invocation)))

    def trace_again(self, ids: list[bytes]) -> None:
        """Where the invocations of parked signals are has changed: ask anew."""
        numbers = self._engine.parked.of(ids)
        for number in numbers:
            self._engine.parked.ask_again(number)
        if numbers:
            self._engine.effects.append(fx.TraceSignals(numbers))


def waiter_of(signal: Signal) -> Caller | ReplyTo | None:
    """Who attaches, or waits to hear what came of it."""
    return signal.caller or signal.reply_to


def _not_known(id_: bytes) -> str:
    return (
        f"invocation {InvocationId(id_)} is not known: it never was, or its outcome is no longer kept. Outcomes of "
        f"invocations with an idempotency key and of workflows are kept for their retention, of others for a while"
    )
