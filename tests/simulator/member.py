"""A simulated worker process: it does with the real engines what `barnabas.worker` does, without an event loop.

Where the world decides what comes next, things are left lying: batches handed over, requests on the wire, records given
to a producer session, steps to be run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from barnabas.log.port import Batch, OutRecord, UndeliverableError
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.live import Step
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import State, Tenure
from barnabas.store.port import Query, Shard, StoreUnavailable
from barnabas.worker.places import Places
from tests.simulator.faces import Place
from tests.simulator.feeding import FeederReads
from tests.simulator.looking import Looks
from tests.simulator.places import FEEDER, PLACES, SCHEDULER, WORKER
from tests.simulator.reading import Reads, SchedulerReads, WorkerReads

if TYPE_CHECKING:
    from tests.simulator.world import World

TIDY_MS = 1_000


class Crash(Exception):
    """The process is gone, in the middle of what it did."""


@dataclass(eq=False, slots=True)
class Request:
    """Something asked of the store. Its parts are executed one after the other; the answer travels back on its own."""

    member: Member
    what: str
    parts: list[Callable[[], Any]]
    answer: Callable[[list[Any]], None]
    lost: Callable[[], None]
    commits: bool = False
    results: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """Where a consumer reads on."""

    epoch: int
    offset: int


@dataclass(eq=False)
class Session:
    """An idempotent producer session: per partition, a gapless prefix of what it was given is in the log."""

    queues: dict[Place, deque[tuple[OutRecord, Engine, int]]] = field(default_factory=dict)
    written: deque[tuple[Engine, int]] = field(default_factory=deque)

    def give(self, engine: Engine, entries: list[tuple[int, OutRecord]]) -> None:
        for number, record in entries:
            self.queues.setdefault((record.topic, record.partition), deque()).append((record, engine, number))

    def places(self) -> list[Place]:
        return [place for place, queue in self.queues.items() if queue]


class Member:
    """One process, a member of its group: the workers, the schedulers, or those who read a topic of others.

    A restart makes another one.
    """

    def __init__(self, world: World, name: str, kind: str) -> None:
        self.world = world
        self.name = name
        self.kind = kind
        self.places: Places = PLACES[kind]
        self.looks = Looks(self)
        self.reads: Reads = _READS[kind](self)
        self.frozen = False
        self.gone = False
        self.tenures: dict[Shard, Tenure] = {}
        self.told: deque[tuple[str, Any]] = deque()  # by the group's consumer: batches, assigned and revoked shards
        self.signals: deque[Batch] = deque()  # by the signals consumer
        self.inbox: list[Batch] = []
        self.reading: dict[Place, Reading] = {}
        self.session: Session | None = Session()
        self.steps: list[tuple[ShardEngine, Step]] = []
        self.fuse: int | None = None  # effects until the process dies
        self.holding = False
        self._in_turn = False
        self._last_tidy = 0

    # -- turns (worker/driver.py)

    def turn(self) -> None:
        self._in_turn = True
        try:
            self._turn()
        finally:
            self._in_turn = False

    def _turn(self) -> None:
        now = self.world.now
        self.looks.on_tick(now)
        inbox, self.inbox = self.inbox, []
        for batch in inbox:
            self._take_in(batch, now)
        if now - self._last_tidy >= TIDY_MS:
            self._last_tidy = now
            for tenure in self.tenures.values():
                if tenure.engine is not None:
                    tenure.engine.tidy()
        for tenure in self.tenures.values():
            tenure.on_tick(now)
        for shard, tenure in list(self.tenures.items()):
            self._execute(shard, tenure)
            if not self.reads.holds_back(tenure.engine):
                tenure.gather(now)
                self._execute(shard, tenure)
        self.world.rules.adjust(self)

    def look_at_clock(self) -> None:
        """What comes in between turns finds the engines at the right time (driver.between_turns)."""
        for engine in self.engines():
            engine.now = self.world.now

    def _take_in(self, batch: Batch, now: int) -> None:
        place = self.places.of(batch.topic, batch.partition)
        assert place is not None
        tenure = self.tenures.get(place.shard)
        if tenure is None or not tenure.takes_in(batch.epoch):
            return
        if not place.is_intake:
            tenure.on_signals(batch.epoch, batch.records, now)
            return
        assert tenure.engine is not None
        if self.reads.holds_back(tenure.engine):
            self.inbox.append(batch)
            return
        tenure.engine.now = now
        self.reads.take_in(tenure, batch.records)

    def next_due(self) -> int | None:
        due = [at for tenure in self.tenures.values() if (at := tenure.next_due()) is not None]
        return min(due) if due else None

    # -- the group

    def on_assigned(self, shard: Shard) -> None:
        if shard not in self.tenures:
            self.tenures[shard] = self.world.make_tenure(shard)

    def on_revoked(self, shard: Shard) -> None:
        tenure = self.tenures.pop(shard, None)
        if tenure is not None:
            self._abandon(tenure.engine)
            tenure.end()
            self._execute(shard, tenure)

    def _abandon(self, engine: Engine | None) -> None:
        self.steps = [(owner, step) for owner, step in self.steps if owner is not engine]

    # -- effects

    def _execute(self, shard: Shard, tenure: Tenure) -> None:
        while effects := tenure.drain():
            for effect in effects:
                if self.fuse is not None and self._in_turn:
                    self.fuse -= 1
                    if self.fuse < 0:
                        raise Crash
                self._do(shard, tenure, effect)

    def _do(self, shard: Shard, tenure: Tenure, effect: fx.Effect) -> None:
        engine = tenure.engine
        match effect:
            case fx.Produce(entries):
                assert engine is not None
                if self.session is not None:
                    self.session.give(engine, entries)
            case fx.SendCommit(commit):
                self._commit(tenure, commit)
            case fx.StartStep(step):
                assert isinstance(engine, ShardEngine)
                self.steps.append((engine, step))
            case fx.Take(lease):
                self._take(tenure, lease)
            case fx.Load(lease, questions):
                self._load(tenure, lease, questions)
            case fx.ReadFrom(invocations, signals, epoch):
                self.reading[self.places.intake(shard), shard.partition] = Reading(epoch, invocations or 0)
                if (topic := self.places.signals(shard)) is not None:
                    self.reading[topic, shard.partition] = Reading(epoch, signals or 0)
            case fx.StopReading():
                self.reading.pop((self.places.intake(shard), shard.partition), None)
                self.reading.pop((self.places.signals(shard) or "", shard.partition), None)
            case fx.Read():
                self.reads.ask(tenure, effect)

    def send(
        self,
        what: str,
        parts: list[Callable[[], Any]],
        answer: Callable[..., None],
        lost: Callable[[], None],
        commits: bool = False,
    ) -> None:
        self.world.wire.append(Request(self, what, parts, answer, lost, commits))

    def _commit(self, tenure: Tenure, commit: Any) -> None:
        world = self.world
        self.send(
            f"{'commit' if commit.ops else 'check'} {commit.shard}#{commit.number}",
            [lambda: world.store.commit(commit)],
            lambda results: self._committed(tenure, commit, results[0]),
            lambda: self._committed(tenure, commit, StoreUnavailable("no answer")),
            commits=True,
        )

    def _committed(self, tenure: Tenure, commit: Any, outcome: Any) -> None:
        engine = tenure.engine
        tenure.on_commit(commit, outcome, self.world.now)
        if engine is not None and engine.closed:
            self._abandon(engine)

    def _take(self, tenure: Tenure, lease: bytes) -> None:
        world = self.world
        self.send(
            f"take {tenure.shard}",
            [lambda: world.store.take(tenure.shard, lease, self.name)],
            lambda results: tenure.on_taken(lease, results[0], world.now),
            lambda: tenure.on_store_unavailable(lease, world.now),
        )

    def _load(self, tenure: Tenure, lease: bytes, asked: Sequence[Query]) -> None:
        world = self.world
        store, shard = world.store, tenure.shard
        cut = len(asked) if world.random.random() < 0.8 else world.random.randrange(1, len(asked))

        def part(questions: Sequence[Query]) -> Callable[[], Any]:
            return lambda: [store.read(shard, question) for question in questions]

        def answer(results: list[list[Any]]) -> None:
            tenure.on_loaded(lease, [one for result in results for one in result], world.now)

        parts = [part(asked[:cut])] + ([part(asked[cut:])] if cut < len(asked) else [])
        self.send(f"load {shard}", parts, answer, lambda: tenure.on_store_unavailable(lease, world.now))

    # -- steps (worker/steps.py)

    def run_step(self, engine: ShardEngine, step: Step) -> Callable[[], None]:
        """Do what the action does; the returned function tells the engine."""
        raw: bytes | None = None
        error: BaseException | None = None
        try:
            raw = bytes(step.serde.serialize(step.action(*step.args, **step.kwargs)))
        except Exception as failed:
            error = failed

        def tell() -> None:
            if not engine.closed:
                engine.on_step_done(step, raw, error)

        return tell

    # -- production (worker/production.py)

    def on_acknowledged(self, count: int) -> None:
        session = self.session
        assert session is not None
        for _ in range(count):
            engine, number = session.written.popleft()
            if not engine.closed:
                engine.on_delivered([number])

    def on_session_over(self, undeliverable: list[tuple[Engine, int, UndeliverableError]]) -> None:
        self.look_at_clock()
        for engine, number, why in undeliverable:
            if not engine.closed:
                engine.on_undeliverable(number, str(why))
        self.session = None

    def reopen(self) -> None:
        self.session = Session()
        for tenure in self.tenures.values():
            tenure.on_session_over()

    # -- looking at it

    def engines(self) -> Iterator[Engine]:
        return (tenure.engine for tenure in self.tenures.values() if tenure.engine is not None)

    def may_read(self, place: Place) -> bool:
        """Whether the consumers fetch from there now (worker/pressure.py)."""
        known = self.places.of(*place)
        assert known is not None
        if not known.is_intake:
            return True
        tenure = self.tenures.get(known.shard)
        return not self.holding and tenure is not None and tenure.state is State.ACTIVE


_READS: dict[str, Callable[[Member], Reads]] = {
    WORKER: WorkerReads, SCHEDULER: SchedulerReads, FEEDER: FeederReads,
}  # fmt: skip
