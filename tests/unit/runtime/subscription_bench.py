"""One partition of a subscribed topic in the hands of one tenure, over log and store in memory, step by step.

`SubscriptionBench` executes effects as they come. Between any two steps, and within a list of records to produce, lies
a boundary; `crash_at` names the one at which the process dies, by its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from barnabas import Subscription
from barnabas.contract import codec
from barnabas.contract.records import DeadLetter, Invocation
from barnabas.contract.topics import TopicNames
from barnabas.log.memory import MemoryLogCore
from barnabas.log.port import OutRecord, UndeliverableError
from barnabas.runtime import effects as fx
from barnabas.runtime.directory import Directory
from barnabas.runtime.marks import Marks, Verdict
from barnabas.runtime.subscribing.effects import Halt
from barnabas.runtime.subscribing.formats import format_of
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.schemas import Schemas
from barnabas.runtime.subscribing.source import Source, family_of
from barnabas.runtime.subscribing.subscriber import QUESTIONS, Subscriber
from barnabas.runtime.tenure import Tenure
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Service, Shard

NAMES = TopicNames("t")
TOPIC = "orders"
TOPIC_ID = b"orders".ljust(16)
KINDS = {"object": "exclusive", "service": "service", "workflow": "workflow"}


class Crash(BaseException):
    """The process dies here."""


class SubscriptionBench:
    """A subscription of `orders` to `Shop/place`, which is a handler of an object unless `kind` says otherwise."""

    def __init__(
        self,
        subscription: Subscription | None = None,
        *,
        kind: str = "object",
        start: int | None = None,
        topic_id: bytes = TOPIC_ID,
        store: MemoryCore | None = None,
        log: MemoryLogCore | None = None,
        batch: int = 3,
    ) -> None:
        self.subscription = subscription or Subscription(TOPIC, "Shop/place")
        self.schemas = Schemas()
        self.store = store or MemoryCore()
        self.log = log or _log()
        self.directory = Directory(NAMES, {"Shop": service(kind)}, 1, 1)
        starts = {} if start is None else {0: start}
        self.source = Source(self.subscription, topic_id, 1, format_of(self.subscription, self.schemas), starts)
        self.shard = Shard(family_of(self.subscription), 0)
        self.random = Random(5)
        self.now = 1_000_000
        self.batch = batch
        self.crash_at: int | None = None
        self.boundaries = 0
        self.halted: str | None = None
        self.reading: int | None = None
        self.tenure = self._make_tenure()

    def _make_tenure(self) -> Tenure:
        def make() -> tuple[Subscriber, SubscriptionIntake]:
            engine = Subscriber(self.shard, self.directory, self.source)
            return engine, SubscriptionIntake(engine, value_bytes=10_000)

        return Tenure(self.shard, make, self.random, self.now, QUESTIONS)

    @property
    def engine(self) -> Subscriber:
        assert isinstance(self.tenure.engine, Subscriber), self.tenure.state
        return self.tenure.engine

    @property
    def intake(self) -> SubscriptionIntake:
        assert isinstance(self.tenure.intake, SubscriptionIntake)
        return self.tenure.intake

    # -- what comes in

    def put(self, value: Any, key: bytes | None = b"k", headers: list[tuple[str, bytes]] | None = None) -> int:
        """A record of the topic; what is no bytes is written as JSON. Its offset."""
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        return self.log.append(OutRecord(TOPIC, 0, key, raw, headers), self.now)

    def run(self) -> None:
        """Everything there is to do, until nothing is left."""
        while True:
            self.tenure.on_tick(self.now)
            if self._execute():
                continue
            self.tenure.gather(self.now)
            if self._execute() or self._read():
                continue
            self.now += 1_000  # what lingers
            self.tenure.gather(self.now)
            if not self._execute():
                return

    def restart(self) -> None:
        """The process is gone; another one takes the shard."""
        if self.tenure.engine is not None:
            self.tenure.engine.close()
        self.reading = None
        self.tenure = self._make_tenure()

    def _read(self) -> bool:
        if self.reading is None or self.tenure.engine is None:
            return False
        low, high = self.log.bounds(TOPIC, 0)
        position = max(low, self.reading)
        records = self.log.read(TOPIC, 0, position, self.batch) if position < high else []
        if not records:
            return False
        self._boundary()
        self.engine.now = self.now
        self.intake.on_records(records)
        self.reading = records[-1].offset + 1
        return True

    def _boundary(self) -> None:
        self.boundaries += 1
        if self.boundaries == self.crash_at:
            raise Crash

    def _execute(self) -> bool:
        effects = self.tenure.drain()
        for effect in effects:
            self._boundary()
            self._do(effect)
        return bool(effects)

    def _do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Take(lease):
                taken = self.store.take(self.shard, lease, "me")
                self._boundary()
                self.tenure.on_taken(lease, taken, self.now)
            case fx.Load(lease, questions):
                self.tenure.on_loaded(lease, [self.store.read(self.shard, one) for one in questions], self.now)
            case fx.SendCommit(commit):
                outcome = self.store.commit(commit)
                self._boundary()
                self.tenure.on_commit(commit, outcome, self.now)
            case fx.ReadFrom(position, _, _):
                self.reading = 0 if position is None else position
            case fx.StopReading():
                self.reading = None
            case fx.Produce(entries):
                for number, record in entries:
                    self._boundary()
                    try:
                        self.log.append(record, self.now)
                    except UndeliverableError as error:
                        self.engine.on_undeliverable(number, str(error))
                        continue
                    self._boundary()
                    self.engine.on_delivered([number])
            case Halt(why):
                self.halted = why
                self.tenure.halt()
            case _:
                raise AssertionError(effect)

    # -- what comes out

    def accepted(self) -> list[Invocation]:
        """What the target takes: it drops the records whose labels it has seen."""
        marks = Marks()
        found = [codec.decode_invocation(one.value) for one in self._all(NAMES.invocations("Shop"))]
        assert all(one.label is not None for one in found), "a subscription's records are never from outside"
        return [one for one in found if one.label and marks.judge("i", one.label) is Verdict.NEW]

    def payloads(self) -> list[Any]:
        return [json.loads(one.payload) for one in self.accepted()]

    def letters(self) -> list[DeadLetter]:
        return [codec.decode_dead_letter(one.value) for one in self._all(NAMES.dead_letters)]

    def _all(self, topic: str) -> list[Any]:
        first, end = self.log.bounds(topic, 0)
        return self.log.read(topic, 0, first, end - first)

    def stored(self, *query: Any) -> Any:
        return self.store.read(self.shard, query)


def service(kind: str, **about: Any) -> Service:
    return Service("Shop", kind, 1, "g", {"place": KINDS[kind]}, about)


def _log() -> MemoryLogCore:
    log = MemoryLogCore()
    for topic in (TOPIC, NAMES.invocations("Shop"), NAMES.dead_letters, NAMES.replies):
        log.create(topic, 1)
    return log


def at_every_boundary(make: Callable[[], SubscriptionBench]) -> list[SubscriptionBench]:
    """What `make` gives, run once for each boundary there is, dying there and going on as another process."""
    whole = make()
    whole.run()
    runs = [whole]
    for boundary in range(1, whole.boundaries + 1):
        bench = make()
        bench.crash_at = boundary
        try:
            bench.run()
        except Crash:
            bench.restart()
            bench.run()
        runs.append(bench)
    return runs
