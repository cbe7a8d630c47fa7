"""From records to accepted invocations and delivered results: decode, recognise what was seen before, send on what lies
wrong.

The order of the looks matters: R10 (is this id live or kept?) comes before R14 (is its label older than anything
known?), and the mark is raised in either case, so that each record is judged once.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern
from typing import TYPE_CHECKING, Any

from barnabas.contract import codec, raw
from barnabas.contract.errors import UNADDRESSED, PoisonRecord
from barnabas.contract.ids import InvocationId, workflow_id
from barnabas.contract.records import LATEST_DUE, Caller, Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.log.port import Record
from barnabas.runtime.kept import NOTHING, Found, KeptOutcome
from barnabas.runtime.lanes import Lane
from barnabas.runtime.live import Live
from barnabas.runtime.marks import Verdict
from barnabas.runtime.operating import STATE_PATCH
from barnabas.runtime.outsiders import is_shut_out, refusal
from barnabas.runtime.sender import letter_of
from barnabas.runtime.spilled import Spilled, pack_record, pack_spilled, standing
from barnabas.store import keys

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

_INVOCATIONS = "i"
_SIGNALS = "s"


class Intake:
    """What a shard does with the records of its two topics."""

    def __init__(self, engine: ShardEngine, topic_id: bytes, partitions: int) -> None:
        self._engine = engine
        self._topic_id = topic_id
        self._partitions = partitions
        names = engine.directory.names
        self._invocations = names.invocations(engine.shard.service)
        self._signals = names.signals(engine.shard.service)
        kind = engine.directory.services[engine.shard.service].kind
        self._keyed = kind != "service"
        self._is_workflow = kind == "workflow"
        self._looks_up = False  # the store is being asked about a batch
        self._refilled: set[bytes] = set()  # no longer spilled, whatever the answer says

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
        if self._is_workflow and self._is_run(invocation.handler) and invocation.key is not None:
            # A raw record, or whoever has called it by its names alone and did not know that it is a workflow.
            invocation.id = workflow_id(self._engine.shard.service, invocation.key)
        return invocation

    def wanted(self, batch: Sequence[tuple[Record, Invocation | PoisonRecord]]) -> tuple[list[bytes], list[bytes]]:
        """The ids that the store must be asked about before this batch is taken: among the spilled, among the kept.

        Until `on_invocations` takes the batch, nothing is forgotten that the answer may not show, or show too late.
        """
        invocations = [invocation for _, invocation in batch if isinstance(invocation, Invocation)]
        spilled = [invocation.id for invocation in invocations] if self._engine.lanes.spilled else []
        kept = [invocation.id for invocation in invocations if self._is_kept(invocation)]
        if spilled or kept:
            self._looks_up = True
            self._engine.kept.hold()
        return spilled, kept

    def _is_kept(self, invocation: Invocation) -> bool:
        return invocation.idempotency_key is not None or (self._is_workflow and self._is_run(invocation.handler))

    def _is_run(self, handler: str) -> bool:
        return self._engine.directory.services[self._engine.shard.service].handlers.get(handler) == "workflow"

    def on_invocations(self, batch: Sequence[tuple[Record, Invocation | PoisonRecord]], found: Found = NOTHING) -> None:
        """Take a batch that `read` decoded. `found`: what the store knows of the ids that are `wanted` of it."""
        engine = self._engine
        for record, invocation in batch:
            engine.next_invocation = record.offset + 1
            if isinstance(invocation, PoisonRecord):
                self._poison(record, self._invocations, invocation)
            else:
                self._admit(record, invocation, found)
        if self._looks_up:
            self._looks_up = False
            self._refilled.clear()
            engine.kept.release()
        if batch:
            engine.keeping.read(batch[-1][0].timestamp)
        engine.offsets_moved = True
        if len(engine.parked):
            engine.signals.drop_overdue()
        engine.run_ready()

    def _admit(self, record: Record, invocation: Invocation, found: Found) -> None:
        engine = self._engine
        id_ = invocation.id
        label = invocation.label
        verdict = Verdict.NEW if label is None else engine.marks.judge(_INVOCATIONS, label)
        live = engine.live.get(id_)
        if is_shut_out(engine.directory.services, invocation) and not _is_repeat(live, invocation):
            self._refuse(record, invocation, *refusal(invocation))
        elif live is not None:
            self._join(live, invocation)
        elif (kept := engine.ring.get(id_)) is not None:
            engine.counts["answered again"] += 1
            for waiter in _waiters(invocation):
                engine.sender.outcome(waiter, id_, kept.result, kept.failure)
        elif (outcome := engine.kept.fresh.get(id_) or found.kept.get(id_)) is not None:
            self._answer_again(invocation, outcome)
        elif verdict is Verdict.SEEN:
            engine.counts["duplicates dropped"] += 1
        elif id_ in engine.spilling or (id_ in found.spilled and id_ not in self._refilled):
            self._join_spilled(invocation)
        elif verdict is Verdict.STALE:
            detail = f"its label {label} is older than anything this shard remembers of its sender"
            self._refuse(record, invocation, PoisonRecord("stale-label", detail))
        elif invocation.service != engine.shard.service or (invocation.key is not None) != self._keyed:
            detail = f"this is {self._invocations}, but the record is for {_target(invocation)}"
            self._refuse(record, invocation, PoisonRecord(UNADDRESSED, detail))
        elif InvocationId(id_).partition(self._partitions) != engine.shard.partition:
            engine.counts["sent on"] += 1
            engine.sender.redirect(invocation)
        else:
            self._accept(record, invocation)

    def _accept(self, record: Record, invocation: Invocation) -> None:
        engine = self._engine
        key = invocation.key
        kinds = engine.directory.services[engine.shard.service].handlers  # which another deployment may have changed
        kind = kinds.get(invocation.handler)
        exclusive = key is not None and (is_exclusive(kind) or invocation.handler == STATE_PATCH)
        if exclusive and not self._waits(invocation):
            assert key is not None
            lane = engine.lanes.get(key)
            if lane is not None and engine.lanes.must_spill(lane):
                self._spill(lane, invocation, record)
                return
        engine.accept(self._live(invocation, key, exclusive))

    def _waits(self, invocation: Invocation) -> bool:
        return invocation.due is not None and invocation.due > self._engine.now

    def _live(self, invocation: Invocation, key: str | None, exclusive: bool) -> Live:
        engine = self._engine
        engine.accepted += 1
        # Many that wait share their names; each came as a text of its own.
        handler = intern(invocation.handler)
        live = Live(invocation.id, engine.shard.service, handler, key, exclusive, engine.accepted, engine.now)
        live.payload = invocation.payload
        live.headers = invocation.headers
        live.idempotency_key = invocation.idempotency_key
        live.waiters = _waiters(invocation)
        for waiter in live.waiters:
            if isinstance(waiter, ReplyTo):
                waiter.client = intern(waiter.client)
        live.keep = self._is_kept(invocation)
        if self._waits(invocation):
            live.due = min(invocation.due or 0, LATEST_DUE)
        return live

    def _join(self, live: Live, invocation: Invocation) -> None:
        engine = self._engine
        engine.counts["joined"] += 1
        for waiter in _waiters(invocation):
            if self._is_run(invocation.handler) and waiter not in live.waiters:
                engine.sender.outcome(waiter, live.id, None, submitted_before(live.service, live.key, live.id))
            elif live.add_waiter(waiter):
                engine.change_header(live)

    def _join_spilled(self, invocation: Invocation) -> None:
        """It waits for its key in the store: who asks for it once more attaches to it when it comes."""
        engine = self._engine
        engine.counts["joined"] += 1
        for waiter in _waiters(invocation):
            signal = Signal(SignalKind.ATTACH, invocation.id)
            if isinstance(waiter, Caller):
                signal.caller = waiter
            else:
                signal.reply_to = waiter
            engine.parked.will_come(engine.parked.add(signal))

    def _answer_again(self, invocation: Invocation, outcome: KeptOutcome) -> None:
        """A repeat gets the outcome; a workflow's run is answered to those who submitted it the first time alone."""
        engine = self._engine
        engine.counts["answered again"] += 1
        for waiter in _waiters(invocation):
            if self._is_run(invocation.handler) and waiter not in outcome.waiters:
                failure = submitted_before(invocation.service, invocation.key, invocation.id)
                engine.sender.outcome(waiter, invocation.id, None, failure)
            else:
                engine.sender.outcome(waiter, invocation.id, outcome.result, outcome.failure)

    def _refuse(
        self, record: Record, invocation: Invocation, poison: PoisonRecord, failure: Failure | None = None
    ) -> None:
        """Dead-letter an invocation that can be read, and tell those who wait for it (R16)."""
        self._poison(record, self._invocations, poison)
        for waiter in _waiters(invocation):
            failure = failure or Failure(500, f"dead letter: {poison.detail}")
            self._engine.sender.outcome(waiter, invocation.id, None, failure)

    def _poison(self, record: Record, topic: str, poison: PoisonRecord) -> None:
        engine = self._engine
        engine.counts["dead letters"] += 1
        engine.sender.dead_letter(letter_of(record, topic, engine.shard.partition, poison.reason, poison.detail))

    # -- work that waits in the store (R11)

    def _spill(self, lane: Lane, invocation: Invocation, record: Record) -> None:
        """Let it wait in the store, with its record while that has room, else with the offset where Kafka has it."""
        engine = self._engine
        id_ = invocation.id
        engine.lanes.spill(lane)
        engine.spilled_in = engine.next_commit
        size = len(record.value or b"")
        room = engine.spilled_bytes + size <= engine.limits.spilled_bytes
        engine.spilled_bytes += size if room else 0
        engine.spilling[id_] = engine.next_commit
        for number in engine.parked.of([id_]):
            engine.parked.will_come(number)
        if not room and not lane.elsewhere_since:
            lane.elsewhere_since = record.timestamp
        engine.ops += (
            ("RPUSH", keys.spilled(lane.key), pack_spilled(id_, record, stored=room)),
            ("HSET", keys.SPILL, id_, record.offset),
            standing(lane),
        )
        if engine.deadlocks.concern(invocation.handler, _waiters(invocation)):
            engine.deadlocks.spilled(self._live(invocation, lane.key, True))

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
        if self._looks_up:
            self._refilled.update(entry.id for entry in entries)
        engine.unread[key] = engine.next_commit  # until these have left the list, it would give them out again
        engine.lanes.unspill(lane, len(entries))
        engine.ops += (
            ("LTRIM", keys.spilled(key), len(entries), -1),
            ("HDEL", keys.SPILL, *(entry.id for entry in entries)),
            standing(lane),
        )
        elsewhere = [entry.id for entry in entries if not entry.stored]
        if elsewhere:
            engine.ops.append(("HDEL", keys.SPILL_RECORDS, *elsewhere))
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
        kept = [part for id_, record in records for part in (id_, pack_record(record))]
        if kept:
            engine.ops.append(("HSET", keys.SPILL_RECORDS, *kept))
        engine.ops.append(standing(lane))
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
        engine.signals.trace_again([entry.id])

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
        engine.signals.trace()
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
        engine.signals.take(signal)


def is_exclusive(kind: str | None) -> bool:
    """Whether handlers of this kind run one at a time per key."""
    return kind in ("exclusive", "workflow")


def submitted_before(service: str, key: str | None, id_: bytes) -> Failure:
    """The answer to someone who submits a workflow that somebody else has submitted before."""
    return Failure(409, f"workflow {service} with key {key!r} was submitted before, as {InvocationId(id_)}")


def _is_repeat(live: Live | None, invocation: Invocation) -> bool:
    """Whether the record says nothing that is not known of a live one, so that nobody gets at it by this."""
    return live is not None and all(waiter in live.waiters for waiter in _waiters(invocation))


def _waiters(invocation: Invocation) -> list[Caller | ReplyTo]:
    waiters: list[Any] = [w for w in (invocation.caller, invocation.reply_to) if w is not None]
    return waiters + invocation.waiters


def _target(invocation: Invocation) -> str:
    key = "" if invocation.key is None else f" with key {invocation.key!r}"
    return f"{invocation.service}/{invocation.handler}{key}"
