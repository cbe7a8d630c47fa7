"""From the records of `delays` to invocations that wait, and to what signals do to them (R8).

Invocations and signals lie in one topic, so their order is that in which they were written. As in the intake of a
service, R10 (does this id wait, has it left lately?) comes before R14 (is its label older than anything known?).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from barnabas.contract import codec
from barnabas.contract.errors import UNADDRESSED, PoisonRecord
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, Failure, Invocation, Signal, SignalKind
from barnabas.log.port import Record
from barnabas.runtime.answers import CONFLICT, DONE, TOO_EARLY, answer, refuse
from barnabas.runtime.marks import Verdict
from barnabas.runtime.outsiders import is_shut_out, refusal
from barnabas.runtime.scheduling.ended import CANCELLED, KILLED, Ended
from barnabas.runtime.scheduling.scheduler import FAILURES, Scheduler
from barnabas.runtime.scheduling.waiting import Waiting, accepted, waiters_of
from barnabas.runtime.sender import letter_of, partition_key

_DELAYS: Final = "d"  # the topic's letter in marks (R1)

_SCHEDULED: Final = "it is scheduled and has not begun"

Decoded = list[tuple[Record, Invocation | Signal | PoisonRecord]]


class DelayIntake:
    """What a scheduler's shard does with the records of its topic."""

    def __init__(self, engine: Scheduler) -> None:
        self._engine = engine
        self._topic = engine.directory.names.delays
        self._ended: Ended = engine.ended

    def read(self, records: Sequence[Record]) -> Decoded:
        """Decode a batch; what cannot be read stands there as its error."""
        return [(record, _decoded(record)) for record in records]

    def ids_to_look_up(self, batch: Decoded) -> list[bytes]:
        """Ids of which the store has to say whether they wait there; none while all that wait are in memory."""
        if self._engine.window.horizon is None and not self._engine.stranded.services:
            return []
        return list({_id(content): None for _, content in batch if not isinstance(content, PoisonRecord)})

    def on_signals(self, records: Sequence[Record]) -> None:
        """There is no second topic."""
        raise AssertionError("a scheduler's shard has no signals topic")

    def on_records(self, batch: Decoded, found: Mapping[bytes, Waiting] | None = None) -> None:
        """Take a batch that `read` decoded. `found`: those of `ids_to_look_up` that wait in the store."""
        engine = self._engine
        for record, content in batch:
            engine.next_invocation = record.offset + 1
            if isinstance(content, PoisonRecord):
                self._poison(record, content)
                continue
            verdict = Verdict.NEW if content.label is None else engine.marks.judge(_DELAYS, content.label)
            waiting = self._waiting(_id(content), found or {})
            if isinstance(content, Invocation):
                self._invocation(record, content, verdict, waiting)
            elif verdict is Verdict.SEEN:
                engine.counts["duplicates dropped"] += 1
            elif verdict is Verdict.STALE:
                self._poison(record, _stale(content))
            else:
                self._signal(record, content, waiting)
        engine.offsets_moved = True
        engine.on_tick(engine.now)

    def _waiting(self, id_: bytes, found: Mapping[bytes, Waiting]) -> Waiting | None:
        window = self._engine.window
        known = window.get(id_)
        if known is not None:
            return known
        stored = found.get(id_)
        return None if stored is None or window.is_gone(stored) else stored

    # -- invocations

    def _invocation(self, record: Record, invocation: Invocation, verdict: Verdict, waiting: Waiting | None) -> None:
        engine = self._engine
        how = self._ended.get(invocation.id)
        if is_shut_out(engine.directory.services, invocation) and waiting is None:
            self._refuse(record, invocation, *refusal(invocation))
        elif waiting is not None:
            self._join(waiting, invocation)
        elif how in FAILURES:
            self._answer(invocation, FAILURES[how])
        elif verdict is Verdict.SEEN:
            engine.counts["duplicates dropped"] += 1
        elif how is not None:
            self._attach(invocation)
        elif verdict is Verdict.STALE:
            self._refuse(record, invocation, _stale(invocation))
        elif invocation.due is None:
            detail = "it has no due time: what is due now belongs into the topic of its target"
            self._refuse(record, invocation, PoisonRecord(UNADDRESSED, detail))
        elif InvocationId(invocation.id).partition(engine.partitions) != engine.shard.partition:
            engine.counts["sent on"] += 1
            engine.to_delays.redirect(invocation)
        else:
            engine.accept(accepted(invocation, invocation.due, record.offset, record.value or b""))

    def _join(self, waiting: Waiting, invocation: Invocation) -> None:
        self._engine.counts["joined"] += 1
        new = [waiter for waiter in waiters_of(invocation) if waiting.add_waiter(waiter)]
        if new:
            self._engine.changed(waiting)

    def _attach(self, invocation: Invocation) -> None:
        """It was released lately, by a record that came before: who waits by this one attaches to that."""
        engine = self._engine
        engine.counts["duplicates dropped"] += 1
        for waiter in waiters_of(invocation):
            signal = Signal(SignalKind.ATTACH, invocation.id)
            if isinstance(waiter, Caller):
                signal.caller = waiter
            else:
                signal.reply_to = waiter
            engine.pass_on(signal, invocation.service)

    def _refuse(
        self, record: Record, invocation: Invocation, poison: PoisonRecord, failure: Failure | None = None
    ) -> None:
        """Dead-letter an invocation that can be read, and tell those who wait for it (R16)."""
        self._poison(record, poison)
        self._answer(invocation, failure or Failure(500, f"dead letter: {poison.detail}"))

    def _answer(self, invocation: Invocation, failure: Failure) -> None:
        for waiter in waiters_of(invocation):
            self._engine.sender.outcome(waiter, invocation.id, None, failure)

    def _poison(self, record: Record, poison: PoisonRecord) -> None:
        engine = self._engine
        engine.counts["dead letters"] += 1
        engine.sender.dead_letter(letter_of(record, self._topic, engine.shard.partition, poison.reason, poison.detail))

    # -- signals

    def _signal(self, record: Record, signal: Signal, waiting: Waiting | None) -> None:
        engine = self._engine
        id_ = InvocationId(signal.invocation)
        if waiting is not None:
            self._apply(waiting, signal)
        elif id_.partition(engine.partitions) != engine.shard.partition:
            engine.counts["sent on"] += 1
            key = record.key or partition_key(id_, None).encode()
            engine.to_delays.signal_to(engine.directory.delay_place(id_), signal, key)
        elif (how := self._ended.get(id_)) in FAILURES and signal.kind is not SignalKind.RESOLVE:
            self._too_late(signal, FAILURES[how])
        else:
            self._pass_on(record, signal)

    def _apply(self, waiting: Waiting, signal: Signal) -> None:
        """A signal about an invocation that waits."""
        engine = self._engine
        match signal.kind:
            case SignalKind.CANCEL:
                engine.end(waiting, CANCELLED)
                answer(engine.sender, signal, DONE)
            case SignalKind.KILL:
                engine.end(waiting, KILLED)
                answer(engine.sender, signal, DONE)
            case SignalKind.RESUME:
                refuse(engine.sender, signal, TOO_EARLY, _SCHEDULED)
            case SignalKind.ATTACH:
                waiter = signal.caller or signal.reply_to
                if waiter is not None and waiting.add_waiter(waiter):
                    engine.changed(waiting)
            case SignalKind.RESOLVE | SignalKind.COMPLETION:
                signal.label = None
                waiting.held.append(codec.encode_signal(signal))
                engine.changed(waiting)
            case _:
                refuse(engine.sender, signal, CONFLICT, _SCHEDULED)

    def _too_late(self, signal: Signal, failure: Failure) -> None:
        """It is about one that was cancelled here."""
        waiter = signal.caller or signal.reply_to
        if signal.kind is SignalKind.ATTACH and waiter is not None:
            self._engine.sender.outcome(waiter, signal.invocation, None, failure)
        else:
            self._engine.counts["signals for ended ones"] += 1
            refuse(self._engine.sender, signal, CONFLICT, failure.message)

    def _pass_on(self, record: Record, signal: Signal) -> None:
        """It does not wait here: it has been released, or has never come."""
        engine = self._engine
        service = engine.directory.service_of(signal.invocation)
        if service is not None:
            engine.counts["passed on"] += 1
            engine.pass_on(signal, service)
            return
        detail = f"no registered service can have the invocation {InvocationId(signal.invocation)}"
        self._poison(record, PoisonRecord(UNADDRESSED, detail))
        waiter = signal.caller or signal.reply_to
        if waiter is not None:
            engine.sender.outcome(waiter, signal.invocation, None, Failure(404, detail))


def _decoded(record: Record) -> Invocation | Signal | PoisonRecord:
    try:
        return codec.decode_delayed(record.value)
    except PoisonRecord as poison:
        return poison


def _id(content: Invocation | Signal) -> bytes:
    return content.id if isinstance(content, Invocation) else content.invocation


def _stale(content: Invocation | Signal) -> PoisonRecord:
    detail = f"its label {content.label} is older than anything this shard remembers of its sender"
    return PoisonRecord("stale-label", detail)
