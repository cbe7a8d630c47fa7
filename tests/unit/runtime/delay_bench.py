"""One shard of the scheduler in the hands of one tenure, over the store in memory, step by step and without a loop.

`DelayBench` executes effects as they come, in `work`. Tests that want to stand between two effects set `commits_wait`,
`reads_wait` or `acks_wait`; what would have been done then lies in `commits`, `reads` or `unacknowledged`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from barnabas.contract import codec
from barnabas.contract.ids import random_id
from barnabas.contract.records import DeadLetter, Invocation, Label, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.log.port import OutRecord, Record
from barnabas.runtime import effects as fx
from barnabas.runtime.directory import Directory
from barnabas.runtime.scheduling.effects import ReadRecords, ReadStranded, ReadWindow
from barnabas.runtime.scheduling.intake import Decoded, DelayIntake
from barnabas.runtime.scheduling.scheduler import FAMILY, WINDOW, Scheduler
from barnabas.runtime.scheduling.storing import QUESTIONS
from barnabas.runtime.scheduling.waiting import Waiting, id_of_member, unpack_waiting
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Applied, Commit, Refused, Service, Shard, StoreUnavailable

NAMES = TopicNames("t")
START = 1_000_000


class DelayBench:
    """A scheduler with one shard; the service "Greeter" is registered, with the handler "greet"."""

    def __init__(
        self,
        *,
        window: int = WINDOW,
        partitions: int = 1,
        core: MemoryCore | None = None,
        make_engine: Callable[..., Scheduler] = Scheduler,
    ) -> None:
        self.make_engine = make_engine
        self.shard = Shard(FAMILY, 0)
        self.window = window
        self.partitions = partitions
        self.core = core or MemoryCore()
        self.directory = Directory(NAMES, {"Greeter": _service("Greeter")}, 1, 1, partitions)
        self.now = START
        self.random = Random(7)
        self.produced: list[tuple[int, OutRecord]] = []
        self.commits_wait = self.reads_wait = self.acks_wait = False
        self.commits: list[Commit] = []
        self.reads: list[Callable[[], Callable[[], None]]] = []  # call once to read, the answer to deliver it
        self.unacknowledged: list[int] = []
        self.reading: list[fx.ReadFrom | fx.StopReading] = []
        self.log: list[Record] = []
        self.tenure = self.make_tenure()
        self.work()

    def make_tenure(self) -> Tenure:
        def make() -> tuple[Scheduler, DelayIntake]:
            engine = self.make_engine(self.shard, self.directory, self.partitions, self.window)
            return engine, DelayIntake(engine)

        return Tenure(self.shard, make, self.random, self.now, QUESTIONS)

    def register(self, service: str) -> None:
        self.directory.services[service] = _service(service)

    @property
    def engine(self) -> Scheduler:
        engine = self.tenure.engine
        assert isinstance(engine, Scheduler), f"no engine: {self.tenure.state}"
        return engine

    @property
    def intake(self) -> DelayIntake:
        assert isinstance(self.tenure.intake, DelayIntake)
        return self.tenure.intake

    # -- what comes in

    def send(
        self,
        due: int | None,
        *,
        service: str = "Greeter",
        key: str | None = None,
        id_: bytes | None = None,
        payload: bytes = b"",
        reply: bool = True,
        label: Label | None = None,
        work: bool = True,
    ) -> bytes:
        """A delayed message of a client, due in so many ms; its outcome is found in `replies`. None: no due time."""
        id_ = id_ or random_id(service, key, delayed=True)
        reply_to = ReplyTo("client", id_) if reply else None
        at = None if due is None else self.now + due
        self.feed(Invocation(id_, service, "greet", key, payload, {}, None, reply_to, None, at, label), work=work)
        return id_

    def signal(self, kind: SignalKind, id_: bytes, *, work: bool = True, **fields: Any) -> None:
        self.feed(Signal(kind, id_, **fields), work=work)

    def feed(self, *contents: Invocation | Signal | bytes, work: bool = True) -> None:
        """Records of the topic, as one batch."""
        records = []
        for content in contents:
            records.append(Record(len(self.log), self.now, b"", _encoded(content), None))
            self.log += records[-1:]
        self.take_in(records)
        if work:
            self.work()

    def take_in(self, records: list[Record]) -> None:
        self.engine.now = self.now
        decoded = self.intake.read(records)
        self.intake.on_records(decoded, self.found(decoded))

    def found(self, decoded: Decoded) -> dict[bytes, Waiting]:
        """What the store knows of the ids that the intake asks for."""
        return self._headers(self.intake.ids_to_look_up(decoded))

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.work()

    # -- what is done about it

    def work(self) -> None:
        """Execute everything that can be, until nothing is left to do."""
        while True:
            self.tenure.on_tick(self.now)
            if not self.execute():
                self.tenure.gather(self.now)
                if not self.execute():
                    return

    def execute(self) -> bool:
        effects = self.tenure.drain()
        for effect in effects:
            self._do(effect)
        return bool(effects)

    def _do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Take(lease):
                self.tenure.on_taken(lease, self.core.take(self.shard, lease, "me"), self.now)
            case fx.Load(lease, questions):
                self.tenure.on_loaded(lease, [self.core.read(self.shard, one) for one in questions], self.now)
            case fx.SendCommit(commit):
                self.commits.append(commit)
                if not self.commits_wait:
                    self.commit()
            case fx.ReadFrom() | fx.StopReading():
                self.reading.append(effect)
            case fx.Produce(entries):
                self.produced += entries
                numbers = [number for number, _ in entries]
                if self.acks_wait:
                    self.unacknowledged += numbers
                else:
                    self.engine.on_delivered(numbers)
            case fx.Read():
                self.reads.append(self._reader(self.engine, effect))
                if not self.reads_wait:
                    self.reads.pop()()()

    def commit(self, outcome: Applied | Refused | StoreUnavailable | None = None) -> Commit:
        """Carry out the oldest commit that waits, or pretend this outcome."""
        commit = self.commits.pop(0)
        self.tenure.on_commit(commit, self.core.commit(commit) if outcome is None else outcome, self.now)
        return commit

    def acknowledge(self, count: int = 1) -> None:
        numbers, self.unacknowledged = self.unacknowledged[:count], self.unacknowledged[count:]
        self.engine.on_delivered(numbers)

    def _reader(self, engine: Scheduler, effect: fx.Read) -> Callable[[], Callable[[], None]]:
        def read() -> Callable[[], None]:
            match effect:
                case ReadWindow(token, count):
                    whole, page = self._page(keys.DUE, count)
                    return lambda: None if engine.closed else engine.on_window(token, page, whole=whole)
                case ReadStranded(token, service, count):
                    _, page = self._page(keys.stranded(service), count)
                    return lambda: None if engine.closed else engine.on_stranded(token, service, page)
                case ReadRecords(token, ids):
                    values = self.core.read(self.shard, ("HMGET", keys.WAITING_INPUTS, *ids))
                    records = dict(zip(ids, values, strict=True))
                    return lambda: None if engine.closed else engine.on_records_read(token, records)
            raise AssertionError(effect)

        return read

    def _page(self, place: bytes, count: int) -> tuple[bool, list[Waiting]]:
        members = [member for member, _ in self.core.read(self.shard, ("ZRANGE", place, 0, count - 1))]
        headers = self._headers([id_of_member(member) for member in members])
        return len(members) < count, [headers[id_of_member(member)] for member in members]

    def _headers(self, ids: list[bytes]) -> dict[bytes, Waiting]:
        if not ids:
            return {}
        headers = self.core.read(self.shard, ("HMGET", keys.WAITING, *ids))
        return {id_: unpack_waiting(id_, header) for id_, header in zip(ids, headers, strict=True) if header}

    def crash(self) -> None:
        """The process dies, and another takes the shard and reads on where the store says."""
        if self.tenure.engine is not None:
            self.tenure.engine.close()
        self.commits, self.reads, self.unacknowledged = [], [], []
        self.tenure = self.make_tenure()
        self.work()
        self.read_on()

    def read_on(self) -> None:
        """Give the engine what lies in the log from its offset on."""
        rest = self.log[self.engine.next_invocation or 0 :]
        if rest:
            self.take_in(rest)
            self.work()

    # -- what comes out

    def stored(self, *query: Any) -> Any:
        return self.core.read(self.shard, query)

    @property
    def released(self) -> list[Invocation]:
        """What the target gets, in order: each label once."""
        found = [record for _, record in self.produced if record.topic.endswith(".invocations")]
        taken: dict[tuple[bytes, int], Invocation] = {}
        for record in found:
            invocation = codec.decode_invocation(record.value)
            assert invocation.label is not None
            taken.setdefault((invocation.label.lease, invocation.label.number), invocation)
        return list(taken.values())

    @property
    def released_ids(self) -> list[bytes]:
        return [invocation.id for invocation in self.released]

    @property
    def signals(self) -> list[Signal]:
        """What the target gets as signals, in order."""
        found = [codec.decode_signal(r.value) for _, r in self.produced if r.topic.endswith(".signals")]
        taken: dict[tuple[bytes, int], Signal] = {}
        for signal in found:
            assert signal.label is not None
            taken.setdefault((signal.label.lease, signal.label.number), signal)
        return list(taken.values())

    @property
    def replies(self) -> dict[bytes, Reply]:
        found = [codec.decode_reply(record.value) for _, record in self.produced if record.topic == NAMES.replies]
        return {reply.request: reply for reply in found}

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return [codec.decode_dead_letter(r.value) for _, r in self.produced if r.topic == NAMES.dead_letters]

    def in_store(self) -> int:
        """How many wait in the store."""
        count: int = self.stored("HLEN", keys.WAITING)
        assert count == self.stored("HLEN", keys.WAITING_INPUTS)
        return count


def _service(name: str) -> Service:
    return Service(name, "object", 1, "g", {"greet": "exclusive"})


def _encoded(content: Invocation | Signal | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    return codec.encode_invocation(content) if isinstance(content, Invocation) else codec.encode_signal(content)
