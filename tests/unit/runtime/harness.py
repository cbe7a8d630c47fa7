"""One shard in the hands of one tenure, over the store in memory: what a worker does, step by step and without a loop.

`Bench` executes effects as they come, in `work`. Tests that want to stand between two effects set `commits_wait`,
`steps_wait`, `reads_wait` or `acks_wait`; what would have been done then lies in a list of that name without `_wait`.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from barnabas import app
from barnabas.contract import codec
from barnabas.contract.ids import random_id
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.log.port import OutRecord, Record
from barnabas.runtime import effects as fx
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.kept import Found, unpack_kept
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import Live, Step
from barnabas.runtime.recovery import QUESTIONS
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.spilled import unpack_spilled
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Applied, Commit, Refused, Service, Shard, StoreUnavailable

NAMES = TopicNames("t")
TOPIC_ID = b"t" * 16
START = 1_000_000


class Bench:
    """A worker with one shard. `service` is the one it serves; the others of `services` are only known."""

    def __init__(
        self,
        *services: Any,
        limits: Limits | None = None,
        partitions: int = 1,
        partition: int = 0,
        core: MemoryCore | None = None,
    ) -> None:
        self.definitions = app(services).services
        self.definition = services[0]
        self.limits = limits or Limits()
        self.shard = Shard(self.definition.name, partition)
        self.core = core or MemoryCore()
        registered = {
            name: Service(name, one.kind, partitions, "g", {h.name: h.kind or "service" for h in one.handlers.values()})
            for name, one in self.definitions.items()
        }
        self.directory = Directory(NAMES, registered, 1, 1)
        self.now = START
        self.random = Random(7)
        self.produced: list[tuple[int, OutRecord]] = []
        self.commits_wait = self.steps_wait = self.reads_wait = self.acks_wait = False
        self.takes_wait = False
        self.takes: list[bytes] = []
        self.commits: list[Commit] = []
        self.steps: list[Step] = []
        self.reads: list[Any] = []
        self.reading: list[fx.ReadFrom | fx.StopReading] = []
        self.offset = 0
        self.signal_offset = 0
        self.hidden = 0  # records of the invocations topic that were appended and not fed yet
        self.tenure = self.make_tenure()
        self.work()

    def make_tenure(self) -> Tenure:
        def make() -> tuple[ShardEngine, Intake]:
            engine = ShardEngine(self.shard, self.definition.handlers, self.directory, self.limits)
            return engine, Intake(engine, TOPIC_ID, self.directory.services[self.shard.service].partitions)

        return Tenure(self.shard, make, self.random, self.now)

    @property
    def engine(self) -> ShardEngine:
        engine = self.tenure.engine
        assert engine is not None, f"no engine: {self.tenure.state}"
        return engine

    @property
    def intake(self) -> Intake:
        assert self.tenure.intake is not None
        return self.tenure.intake

    # -- what comes in

    def call(
        self,
        handler: str,
        arg: Any = None,
        key: str | None = None,
        *,
        id_: bytes | None = None,
        label: Label | None = None,
        caller: Caller | None = None,
        work: bool = True,
    ) -> bytes:
        """A client's call; its reply is found in `replies`."""
        id_ = id_ or random_id(self.shard.service, key)
        payload = b"" if arg is None else json.dumps(arg).encode()
        reply_to = None if caller else ReplyTo("client", id_)
        self.feed(
            Invocation(id_, self.shard.service, handler, key, payload, {}, caller, reply_to, label=label), work=work
        )
        return id_

    def feed(self, *invocations: Invocation, spilled: Any = None, work: bool = True) -> None:
        """Records of the invocations topic, as one batch."""
        self.feed_records([self.record(one) for one in invocations], spilled=spilled, work=work)

    def record(self, invocation: Invocation) -> Record:
        self.offset += 1
        return Record(
            self.offset - 1, self.now, (invocation.key or "").encode(), codec.encode_invocation(invocation), None
        )

    def feed_records(self, records: list[Record], *, spilled: Any = None, work: bool = True) -> None:
        self.kept = [*getattr(self, "kept", []), *records]
        decoded = self.intake.read(records)
        self.engine.now = self.now
        found = self.found(*self.intake.wanted(decoded)) if spilled is None else Found(set(spilled), {})
        self.intake.on_invocations(decoded, found)
        if work:
            self.work()

    def found(self, spilled: list[bytes], kept: list[bytes]) -> Found:
        """What the store knows of these ids."""
        waiting = self.core.read(self.shard, ("HMGET", keys.SPILL, *spilled)) if spilled else []
        outcomes = self.core.read(self.shard, ("HMGET", keys.KEPT, *kept)) if kept else []
        known = {id_ for id_, value in zip(spilled, waiting, strict=True) if value is not None}
        return Found(
            known | set(self.engine.spilling),
            {id_: unpack_kept(value) for id_, value in zip(kept, outcomes, strict=True) if value is not None},
        )

    def answer(
        self, invocation: Invocation, result: Any = None, failure: Failure | None = None, *, work: bool = True
    ) -> None:
        """The end of a call that a handler made."""
        assert invocation.caller is not None
        raw = None if failure is not None else json.dumps(result).encode()
        signal = Signal(
            SignalKind.COMPLETION, invocation.caller.id, invocation.caller.position, invocation.id, raw, failure
        )
        self.signal(signal, work=work)

    def signal(self, *signals: Signal, work: bool = True) -> None:
        records = []
        for signal in signals:
            records.append(Record(self.signal_offset, self.now, b"", codec.encode_signal(signal), None))
            self.signal_offset += 1
        self.tenure.on_signals(self.tenure.epoch, records, self.now)
        if work:
            self.work()

    @property
    def end(self) -> int:
        """Where the invocations topic ends."""
        return self.offset + self.hidden

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.work()

    # -- what is done about it

    def work(self) -> None:
        """Execute everything that can be, until nothing is left to do."""
        while True:
            self.tenure.on_tick(self.now)
            if not self._execute():
                self.tenure.gather(self.now)
                if not self._execute():
                    return

    def _execute(self) -> bool:
        effects = self.tenure.drain()
        for effect in effects:
            self._do(effect)
        return bool(effects)

    def _do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Take(lease):
                if self.takes_wait:
                    self.takes.append(lease)
                else:
                    self.taken(lease)
            case fx.Load(lease):
                self.tenure.on_loaded(lease, [self.core.read(self.shard, one) for one in QUESTIONS], self.now)
            case fx.SendCommit(commit):
                self.commits.append(commit)
                if not self.commits_wait:
                    self.commit()
            case fx.ReadFrom() | fx.StopReading():
                self.reading.append(effect)
            case fx.Produce(entries):
                self.produced += entries
                if not self.acks_wait:
                    self.engine.on_delivered([number for number, _ in entries])
            case fx.StartStep(step):
                self.steps.append(step)
                if not self.steps_wait:
                    self.run_step()
            case _:
                self.reads.append(effect)
                if not self.reads_wait:
                    self.read()

    def taken(self, lease: bytes) -> None:
        self.tenure.on_taken(lease, self.core.take(self.shard, lease, "me"), self.now)

    def commit(self, outcome: Applied | Refused | StoreUnavailable | None = None) -> Commit:
        """Carry out the oldest commit that waits, or pretend this outcome."""
        commit = self.commits.pop(0)
        self.tenure.on_commit(commit, self.core.commit(commit) if outcome is None else outcome, self.now)
        return commit

    def run_step(self) -> None:
        """Run the oldest step that waits."""
        step = self.steps.pop(0)
        raw, error = None, None
        try:
            raw = bytes(step.serde.serialize(step.action(*step.args, **step.kwargs)))
        except Exception as failed:
            error = failed
        self.engine.on_step_done(step, raw, error)

    def read(self) -> None:
        """Answer the oldest question that waits."""
        effect = self.reads.pop(0)
        match effect:
            case fx.LoadStates(names):
                self.engine.on_states(
                    {name: self.core.read(self.shard, ("HGETALL", keys.state(name))) for name in names},
                    {name: self.core.read(self.shard, ("HGETALL", keys.promises(name))) for name in names},
                )
            case fx.LoadInvocation(live):
                found = self.core.read(self.shard, ("HGET", keys.INPUTS, live.id))
                self.engine.on_invocation_loaded(live, found, self.journal(live.id))
            case fx.Refill(key, count):
                packed = self.core.read(self.shard, ("LRANGE", keys.spilled(key), 0, count - 1))
                records = {record.offset: record for record in self.kept}
                entries = [unpack_spilled(one) for one in packed]
                entries = [one if one.stored else one._replace(record=records.get(one.offset)) for one in entries]
                self.intake.on_refilled(key, entries)
            case fx.TraceSignals(numbers):
                ids = [signal.invocation for number in numbers if (signal := self.engine.parked.get(number))]
                found = self.found(ids, ids)
                self.engine.signals.on_traced(numbers, found, self.end)
                self.engine.run_ready()
            case fx.ReadRing(signal):
                self.engine.operating.on_ring(signal, self.core.read(self.shard, ("LRANGE", keys.RING, 0, -1)))
                self.engine.run_ready()
            case fx.ReadEnd():
                self.engine.keeping.on_end(self.now, self.end)
            case fx.Expire(before):
                entries = self.core.read(self.shard, ("ZRANGE", keys.EXPIRY, 0, -1))
                gone = [id_ for id_, expires in entries if expires <= before]
                kept = self.found([], gone).kept
                later = [int(expires) for _, expires in entries if expires > before]
                self.engine.keeping.on_expired({id_: kept.get(id_) for id_ in gone}, later[0] if later else None)

    def crash(self, *, work: bool = True) -> None:
        """The process dies, and another takes the shard."""
        if self.tenure.engine is not None:
            self.tenure.engine.close()
        self.commits, self.steps, self.reads, self.takes = [], [], [], []
        self.tenure = self.make_tenure()
        if work:
            self.work()

    # -- what comes out

    def journal(self, id_: bytes) -> list[bytes]:
        found: list[bytes] = self.core.read(self.shard, ("LRANGE", keys.journal(id_), 0, -1))
        return found

    def live(self, id_: bytes) -> Live:
        return self.engine.live[id_]

    @property
    def replies(self) -> dict[bytes, Any]:
        """Results (from JSON) or failures, by invocation id."""
        replies = [codec.decode_reply(record.value) for _, record in self.produced if record.topic == NAMES.replies]
        return {reply.invocation: _outcome(reply) for reply in replies}

    @property
    def sent(self) -> list[Invocation]:
        """Calls and sends of handlers that were produced, in order, as a receiver takes them: each label once."""
        found = [r for _, r in self.produced if (NAMES.service_of(r.topic) or ("", ""))[1] == "invocations"]
        taken: dict[tuple[bytes, int], Invocation] = {}
        for record in found:
            invocation = codec.decode_invocation(record.value)
            assert invocation.label is not None
            taken.setdefault((invocation.label.lease, invocation.label.number), invocation)
        return list(taken.values())

    @property
    def signals(self) -> list[Signal]:
        found = [r for _, r in self.produced if (NAMES.service_of(r.topic) or ("", ""))[1] == "signals"]
        return [codec.decode_signal(record.value) for record in found]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return [codec.decode_dead_letter(r.value) for _, r in self.produced if r.topic == NAMES.dead_letters]

    def stored(self, *query: Any) -> Any:
        return self.core.read(self.shard, query)


def _outcome(reply: Reply) -> Any:
    if reply.failure is not None:
        return reply.failure
    return json.loads(reply.result) if reply.result else None
