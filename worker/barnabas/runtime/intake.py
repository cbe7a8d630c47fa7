"""From records to accepted invocations and delivered results: decode, recognise what was seen before, send on what lies
wrong.

The order of the looks matters: R10 (is this id live or kept?) comes before R14 (is its label older than anything
known?), and the mark is raised in either case, so that each record is judged once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from barnabas.contract import codec, raw
from barnabas.contract.errors import UNADDRESSED, PoisonRecord
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.log.port import Record
from barnabas.runtime import journal as j
from barnabas.runtime.lanes import Lane
from barnabas.runtime.live import Live
from barnabas.runtime.marks import Verdict
from barnabas.runtime.sender import letter_of
from barnabas.store import keys
from barnabas.store.port import Op

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

pack = msgpack.Packer(autoreset=True).pack

_INVOCATIONS = "i"
_SIGNALS = "s"


class Spilled(NamedTuple):
    """An invocation that waits in the store alone: where its record is in Kafka, and the record, if it is at hand."""

    id: bytes
    offset: int
    record: Record | None
    stored: bool  # whether the store had the record


def _standing(lane: Lane) -> Op:
    """What the store is to know of a lane's spilled work as a whole."""
    if not lane.spilled:
        return ("HDEL", keys.SPILL_COUNTS, lane.key)
    return ("HSET", keys.SPILL_COUNTS, lane.key, pack((lane.spilled, lane.elsewhere_since)))


def unpack_standing(packed: bytes) -> tuple[int, int]:
    """How many wait in the store, and the append time of the oldest record that Kafka alone has."""
    spilled, elsewhere_since = msgpack.unpackb(packed)
    return spilled, elsewhere_since


def unpack_record(packed: bytes) -> Record:
    """A record as it lies in the store."""
    return _record(msgpack.unpackb(packed))


def unpack_spilled(packed: bytes) -> Spilled:
    """An entry as it lies in the store."""
    id_, offset, fields = msgpack.unpackb(packed)
    if fields is None:
        return Spilled(id_, offset, None, False)
    return Spilled(id_, offset, _record(fields), True)


def _record(fields: list[Any]) -> Record:
    offset, timestamp, key, value, headers = fields
    pairs = None if headers is None else [(name, text) for name, text in headers]
    return Record(offset, timestamp, key, value, pairs)


class Intake:
    """What a shard does with the records of its two topics."""

    def __init__(self, engine: ShardEngine, topic_id: bytes, partitions: int) -> None:
        self._engine = engine
        self._topic_id = topic_id
        self._partitions = partitions
        names = engine.directory.names
        self._invocations = names.invocations(engine.shard.service)
        self._signals = names.signals(engine.shard.service)
        self._keyed = engine.directory.services[engine.shard.service].kind != "service"

    # -- invocations

    def read(self, records: Sequence[Record]) -> list[tuple[Record, Invocation | PoisonRecord]]:
        """Decode a batch; what cannot be read stands there as its error."""
        return [(record, self._decode(record)) for record in records]

    def _decode(self, record: Record) -> Invocation | PoisonRecord:
        try:
            if record.headers and raw.is_raw(record.headers):
                return raw.parse_raw(
                    self._engine.shard.service,
                    record.key,
                    record.value,
                    record.headers,
                    keyed=self._keyed,
                    topic_id=self._topic_id,
                    partition=self._engine.shard.partition,
                    offset=record.offset,
                )
            invocation = codec.decode_invocation(record.value or b"")
        except PoisonRecord as poison:
            return poison
        return invocation

    def on_invocations(
        self, batch: Sequence[tuple[Record, Invocation | PoisonRecord]], spilled: Collection[bytes] = ()
    ) -> None:
        """Take a batch that `read` decoded. `spilled`: those of its ids that wait in the store alone."""
        engine = self._engine
        for record, invocation in batch:
            engine.next_invocation = record.offset + 1
            if isinstance(invocation, PoisonRecord):
                self._poison(record, self._invocations, invocation)
            else:
                self._admit(record, invocation, spilled)
        engine.offsets_moved = True
        engine.run_ready()

    def _admit(self, record: Record, invocation: Invocation, spilled: Collection[bytes]) -> None:
        engine = self._engine
        id_ = invocation.id
        label = invocation.label
        verdict = Verdict.NEW if label is None else engine.marks.judge(_INVOCATIONS, label)
        live = engine.live.get(id_)
        if live is not None:
            self._join(live, invocation)
        elif (kept := engine.ring.get(id_)) is not None:
            engine.counts["answered again"] += 1
            for waiter in _waiters(invocation):
                engine.sender.outcome(waiter, id_, kept.result, kept.failure)
        elif id_ in spilled or id_ in engine.spilling or verdict is Verdict.SEEN:
            engine.counts["duplicates dropped"] += 1
        elif verdict is Verdict.STALE:
            detail = f"its label {label} is older than anything this shard remembers of its sender"
            self._refuse(record, invocation, "stale-label", detail)
        elif invocation.service != engine.shard.service or (invocation.key is not None) != self._keyed:
            detail = f"this is {self._invocations}, but the record is for {_target(invocation)}"
            self._refuse(record, invocation, UNADDRESSED, detail)
        elif InvocationId(id_).partition(self._partitions) != engine.shard.partition:
            engine.counts["sent on"] += 1
            engine.sender.redirect(invocation)
        else:
            self._accept(record, invocation)

    def _accept(self, record: Record, invocation: Invocation) -> None:
        engine = self._engine
        key = invocation.key
        kinds = engine.directory.services[engine.shard.service].handlers  # which another deployment may have changed
        exclusive = key is not None and kinds.get(invocation.handler) == "exclusive"
        if exclusive:
            assert key is not None
            lane = engine.lanes.get(key)
            if lane is not None and engine.lanes.must_spill(lane):
                self._spill(lane, invocation.id, record)
                return
        engine.accept(self._live(invocation, key, exclusive))

    def _live(self, invocation: Invocation, key: str | None, exclusive: bool) -> Live:
        engine = self._engine
        engine.accepted += 1
        live = Live(invocation.id, invocation.service, invocation.handler, key, exclusive, engine.accepted, engine.now)
        live.payload = invocation.payload
        live.headers = invocation.headers
        live.idempotency_key = invocation.idempotency_key
        live.waiters = _waiters(invocation)
        return live

    def _join(self, live: Live, invocation: Invocation) -> None:
        self._engine.counts["joined"] += 1
        for waiter in _waiters(invocation):
            if waiter not in live.waiters:
                live.waiters.append(waiter)
                self._engine.change_header(live)

    def _refuse(self, record: Record, invocation: Invocation, reason: str, detail: str) -> None:
        """Dead-letter an invocation that can be read, and tell those who wait for it (R16)."""
        self._poison(record, self._invocations, PoisonRecord(reason, detail))
        for waiter in _waiters(invocation):
            self._engine.sender.outcome(waiter, invocation.id, None, Failure(500, f"dead letter: {detail}"))

    def _poison(self, record: Record, topic: str, poison: PoisonRecord) -> None:
        engine = self._engine
        engine.counts["dead letters"] += 1
        engine.sender.dead_letter(letter_of(record, topic, engine.shard.partition, poison.reason, poison.detail))

    # -- work that waits in the store (R11)

    def _spill(self, lane: Lane, id_: bytes, record: Record) -> None:
        """Let it wait in the store, with its record while that has room, else with the offset where Kafka has it."""
        engine = self._engine
        engine.lanes.spill(lane)
        engine.spilled_in = engine.next_commit
        size = len(record.value or b"")
        room = engine.spilled_bytes + size <= engine.limits.spilled_bytes
        engine.spilled_bytes += size if room else 0
        engine.spilling[id_] = engine.next_commit
        if not room and not lane.elsewhere_since:
            lane.elsewhere_since = record.timestamp
        engine.spill_ops += (
            ("RPUSH", keys.spilled(lane.key), pack((id_, record.offset, tuple(record) if room else None))),
            ("HSET", keys.SPILL, id_, record.offset),
            _standing(lane),
        )

    def on_refilled(self, key: str, entries: Sequence[Spilled]) -> None:
        """The first spilled entries of a key, their records read again where the store did not have them."""
        engine = self._engine
        lane = engine.lanes.get(key)
        assert lane is not None
        if not entries and lane.asked_at >= engine.spilled_in:
            return  # the store has lost them: the next commit or check finds that it fell back, and this engine ends
        lane.refilling = False
        if not entries:  # they were not in the store yet when it was asked
            if engine.spilled_in > engine.number:
                engine.unread[key] = engine.spilled_in
            engine.refill(key)
            return
        engine.unread[key] = engine.next_commit  # until these have left the list, it would give them out again
        engine.lanes.unspill(lane, len(entries))
        engine.spill_ops += (
            ("LTRIM", keys.spilled(key), len(entries), -1),
            ("HDEL", keys.SPILL, *(entry.id for entry in entries)),
            _standing(lane),
        )
        elsewhere = [entry.id for entry in entries if not entry.stored]
        if elsewhere:
            engine.spill_ops.append(("HDEL", keys.SPILL_RECORDS, *elsewhere))
        for entry in entries:
            if entry.stored and entry.record is not None:
                engine.spilled_bytes -= len(entry.record.value or b"")
            self._requeue(lane, entry)
        engine.claim_refilled(lane)

    def on_preserved(self, key: str, records: Sequence[tuple[bytes, Record]], since: int) -> None:
        """Records of spilled work by its id, for the store to keep; `since`: the oldest that Kafka alone still has."""
        engine = self._engine
        lane = engine.lanes.get(key)
        assert lane is not None
        lane.refilling = False
        lane.elsewhere_since = since
        kept = [part for id_, record in records for part in (id_, pack(tuple(record)))]
        if kept:
            engine.spill_ops.append(("HSET", keys.SPILL_RECORDS, *kept))
        engine.spill_ops.append(_standing(lane))
        if lane.head is None:  # its turn came meanwhile
            engine.refill(key)

    def _requeue(self, lane: Lane, entry: Spilled) -> None:
        engine = self._engine
        invocation = None if entry.record is None else self._decode(entry.record)
        if isinstance(invocation, Invocation):
            # One that came twice before the first was in the store has two entries (R10).
            if invocation.id in engine.live or engine.ring.get(invocation.id) is not None:
                engine.counts["duplicates dropped"] += 1
            else:
                engine.requeue(lane, self._live(invocation, lane.key, True))
            return
        engine.counts["spilled inputs lost"] += 1
        record = entry.record or Record(entry.offset, 0, lane.key.encode(), None, None)
        where = f"offset {entry.offset}"
        detail = f"the input of {InvocationId(entry.id)} waited for its key until retention removed it at {where}"
        engine.sender.dead_letter(letter_of(record, self._invocations, engine.shard.partition, "expired", detail))

    # -- signals

    def on_signals(self, records: Sequence[Record]) -> None:
        """Take a batch of the signals topic."""
        engine = self._engine
        for record in records:
            engine.next_signal = record.offset + 1
            try:
                signal = codec.decode_signal(record.value or b"")
            except PoisonRecord as poison:
                self._poison(record, self._signals, poison)
                continue
            self._signal(record, signal)
        engine.offsets_moved = True
        engine.run_ready()

    def _signal(self, record: Record, signal: Signal) -> None:
        engine = self._engine
        if signal.label is not None:
            verdict = engine.marks.judge(_SIGNALS, signal.label)
            if verdict is Verdict.SEEN:
                engine.counts["duplicates dropped"] += 1
                return
            if verdict is Verdict.STALE:
                detail = f"its label {signal.label} is older than anything this shard remembers of its sender"
                self._poison(record, self._signals, PoisonRecord("stale-label", detail))
                return
        if signal.kind is not SignalKind.COMPLETION or signal.position is None:
            self._poison(
                record, self._signals, PoisonRecord("unknown-signal", f"{signal.kind.value} is not served yet")
            )
            return
        live = engine.live.get(signal.invocation)
        if live is None or (live.attempt is not None and not live.attempt.expects(signal.position, signal.call_id)):
            engine.counts["results dropped"] += 1  # R9
            return
        engine.notify(live, _entry(signal))


def _entry(signal: Signal) -> j.Entry:
    if signal.failure is not None:
        failure = signal.failure
        return [j.FAILURE, signal.position, signal.call_id, failure.code, failure.message, failure.metadata]
    return [j.RESULT, signal.position, signal.call_id, signal.result or b""]


def _waiters(invocation: Invocation) -> list[Caller | ReplyTo]:
    waiters: list[Any] = [w for w in (invocation.caller, invocation.reply_to) if w is not None]
    return waiters


def _target(invocation: Invocation) -> str:
    key = "" if invocation.key is None else f" with key {invocation.key!r}"
    return f"{invocation.service}/{invocation.handler}{key}"
