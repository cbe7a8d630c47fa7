"""Delayed messages without workers: what a client writes to `delays`, and what schedulers write to the target's topics.

Used by the tests of the scheduler here and in `tests/scenario`. The target is a registered service that nobody serves:
the tests read its topics themselves, and look at labels as its shards would.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from redis import Redis

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Invocation, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.devstack.process import wait_until
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.scheduling.scheduler import FAMILY
from barnabas.store import keys
from barnabas.store.keys import Keys
from barnabas.store.port import Service, Shard
from barnabas.store.redis import RedisStore
from tests.chaos.processes import Crew, WorkerProcess

PARTITIONS = 8  # of delays
TARGETS = 2  # partitions of the target
SERVICE = "Bell"
SHARDS = [Shard(FAMILY, partition) for partition in range(PARTITIONS)]
KEYS = [f"key {n}" for n in range(50)]
DAY_MS = 86_400_000

#: What a shard of the scheduler with nothing to do has nothing of.
LEFT_OVER = (keys.WAITING, keys.WAITING_INPUTS, keys.OUTBOX, keys.DEFERRED)


class Released:
    """One copy of a released message as it lies in the target's topic."""

    def __init__(self, invocation: Invocation, appended_at: int) -> None:
        self.invocation = invocation
        self.appended_at = appended_at


class Delays:
    """A namespace of its own on the session's servers. `retention_ms`: how long `delays` keeps records."""

    def __init__(self, addresses: Addresses, folder: Path, random: Random, retention_ms: int = DAY_MS) -> None:
        self.names = TopicNames(f"late-{uuid4().hex[:8]}")
        self.random = random
        self.addresses = addresses
        self._keys = Keys(self.names.namespace)
        asyncio.run(self._prepare(addresses, retention_ms))
        self.redis = Redis.from_url(addresses.redis)
        self.crew = Crew(
            {
                "BARNABAS_KAFKA": addresses.kafka,
                "BARNABAS_REDIS": addresses.redis,
                "BARNABAS_NAMESPACE": self.names.namespace,
            },
            folder,
        )
        self.due: dict[bytes, int] = {}
        self.released: dict[bytes, list[Released]] = {}
        self.signals: list[Signal] = []
        self.replies: dict[bytes, list[Reply]] = {}
        self._marks: dict[tuple[int, str, bytes], int] = {}  # as the receiving shards have them
        self.accepted: list[InvocationId] = []  # in the order in which the target takes them
        self._producer = Producer(
            {"bootstrap.servers": addresses.kafka, "enable.idempotence": True, "queue.buffering.max.messages": 2**21}
        )
        self._consumer = Consumer(
            {"bootstrap.servers": addresses.kafka, "group.id": str(uuid4()), "enable.auto.commit": False}
        )
        topics = [(self.names.invocations(SERVICE), TARGETS), (self.names.signals(SERVICE), TARGETS)]
        places = [TopicPartition(topic, n, 0) for topic, count in topics for n in range(count)]
        self._consumer.assign([*places, TopicPartition(self.names.replies, 0, 0)])

    async def _prepare(self, addresses: Addresses, retention_ms: int) -> None:
        admin = KafkaAdmin(KafkaSettings(bootstrap=addresses.kafka))
        names = self.names
        time_of_append = {"message.timestamp.type": "LogAppendTime"}
        await admin.create(names.invocations(SERVICE), TARGETS, time_of_append)
        await admin.create(names.signals(SERVICE), TARGETS, time_of_append)
        await admin.create(names.delays, PARTITIONS, {"retention.ms": str(retention_ms), **time_of_append})
        await admin.create(names.replies, 1, {})
        await admin.create(names.dead_letters, 1, {})
        store = RedisStore(addresses.redis, names.namespace)
        try:
            await store.register([Service(SERVICE, "object", TARGETS, "nobody", {"ring": "exclusive"})])
        finally:
            await store.aclose()

    def start(
        self, failpoints: str = "", *, armed: bool = True, instance: str | None = None, session_ms: int = 6000
    ) -> WorkerProcess:
        """A scheduler that is ready (or was killed at a failpoint before)."""
        return self.crew.start(failpoints, armed=armed, instance=instance, session_ms=session_ms, target=None)

    # -- what the client says

    def send(self, in_ms: int, *, key: str | None = None, reply: bool = False) -> InvocationId:
        """A message that is due so many ms from now."""
        key = key or self.random.choice(KEYS)
        id_ = random_id(SERVICE, key, delayed=True)
        due = now_ms() + in_ms
        self.due[id_] = due
        reply_to = ReplyTo("client", id_) if reply else None
        self.write(
            id_, codec.encode_invocation(Invocation(id_, SERVICE, "ring", key, b"", {}, None, reply_to, due=due))
        )
        return id_

    def cancel(self, id_: InvocationId) -> None:
        self.write(id_, codec.encode_signal(Signal(SignalKind.CANCEL, id_)))

    def attach(self, id_: InvocationId) -> None:
        """Somebody else wants the outcome."""
        self.write(id_, codec.encode_signal(Signal(SignalKind.ATTACH, id_, reply_to=ReplyTo("other", id_))))

    def write(self, id_: InvocationId, value: bytes) -> None:
        """A record of `delays`, where one about this id belongs."""
        self._producer.produce(self.names.delays, value, b"", partition=id_.partition(PARTITIONS))
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(60) == 0

    # -- what comes of it

    def collect(self, wanted: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Read what schedulers have written until it is enough."""
        deadline = time.monotonic() + seconds
        while not wanted():
            self.poll()
            assert time.monotonic() < deadline, f"not after {seconds} s: {what}\n{self.crew.words()}"

    def poll(self, seconds: float = 0.05) -> None:
        """Read what is there."""
        for message in self._consumer.consume(1_000, seconds):
            assert message.error() is None, message.error()
            value = message.value()
            assert value is not None
            if message.topic() == self.names.replies:
                reply = codec.decode_reply(value)
                self.replies.setdefault(reply.invocation, []).append(reply)
            elif message.topic() == self.names.signals(SERVICE):
                self.signals.append(codec.decode_signal(value))
            else:
                self._take(message.partition() or 0, codec.decode_invocation(value), message.timestamp()[1])

    def _take(self, partition: int, invocation: Invocation, appended_at: int) -> None:
        label = invocation.label
        assert label is not None
        self.released.setdefault(invocation.id, []).append(Released(invocation, appended_at))
        mark = (partition, label.shard, label.lease)
        if label.number > self._marks.get(mark, 0):
            self._marks[mark] = label.number
            self.accepted.append(InvocationId(invocation.id))

    def wait_released(self, *ids: bytes, seconds: float = 60.0) -> None:
        """Until the target has all of these."""
        self.collect(lambda: all(id_ in self.released for id_ in ids), "all of them released", seconds)

    def lateness(self, ids: list[InvocationId]) -> list[int]:
        """From due time to append in the target's topic, in ms, rising."""
        return sorted(self.released[id_][0].appended_at - self.due[id_] for id_ in ids)

    def waiting(self) -> int:
        """How many wait in the store."""
        return sum(self.redis.hlen(self._keys.prefix(shard) + keys.WAITING) for shard in SHARDS)  # type: ignore[misc]

    def wait_waiting(self, count: int, seconds: float = 120.0) -> None:
        found = wait_until(lambda: self.waiting() == count, seconds)
        assert found, f"{self.waiting()} wait instead of {count}\n{self.crew.words()}"

    def owners(self) -> set[str]:
        """Who took the shards last, by process id."""
        owners = [self.redis.hget(self._keys.prefix(shard) + keys.META, "owner") or b"/" for shard in SHARDS]
        return {owner.decode().rsplit("/", 1)[1] for owner in owners}  # type: ignore[union-attr]

    def wait_owners(self, *pids: int, seconds: float = 20.0) -> None:
        """Until the store says that all shards belong to these processes, each having some."""
        wanted = {str(pid) for pid in pids}
        assert wait_until(lambda: self.owners() == wanted, seconds), f"{self.owners()}\n{self.crew.words()}"

    def check_once(self, ids: list[InvocationId]) -> None:
        """Each of them was taken by the target once, in order of due times per key; nothing is left over."""
        assert len(self.accepted) == len(set(self.accepted)), "the target takes some twice"
        assert set(ids) <= set(self.accepted), "lost"
        order = {id_: at for at, id_ in enumerate(self.accepted)}
        by_key: dict[str | None, list[InvocationId]] = {}
        for id_ in ids:
            by_key.setdefault(self.released[id_][0].invocation.key, []).append(id_)
        for of_key in by_key.values():
            taken = sorted(of_key, key=order.__getitem__)
            for one, other in pairwise(taken):
                assert self.due[one] <= self.due[other], self._tell_apart(one, other)

    def _tell_apart(self, *ids: InvocationId) -> str:
        lines = ["out of order:"]
        for id_ in ids:
            for copy in self.released[id_]:
                at = copy.appended_at - self.due[id_]
                lines.append(f"{id_} due {self.due[id_]}, late {at} ms, {copy.invocation.label}")
        return "\n".join(lines)

    def check_nothing_left(self, seconds: float = 10.0) -> None:
        """No shard of the scheduler has anything that it should not have."""

        def left() -> list[str]:
            prefixes = {shard: self._keys.prefix(shard) for shard in SHARDS}
            hashes = [f"{s} {n!r}" for s, p in prefixes.items() for n in LEFT_OVER if self.redis.hlen(p + n)]
            return hashes + [str(s) for s, p in prefixes.items() if self.redis.zcard(p + keys.DUE)]

        assert wait_until(lambda: not left(), seconds), left()

    def close(self) -> None:
        self.crew.close()
        self._consumer.close()
        self.redis.close()


class Bare:
    """What a write to the store and then one to the log take by themselves while a test runs: the machine's pace."""

    def __init__(self, addresses: Addresses, topic: str) -> None:
        self.took_ms: list[int] = []
        self._redis = Redis.from_url(addresses.redis)
        self._producer = Producer({"bootstrap.servers": addresses.kafka, "acks": "all", "linger.ms": 0})
        self._topic = topic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Bare:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            began = time.monotonic()
            self._redis.set("bare", "x")
            self._producer.produce(self._topic, b"x")
            self._producer.flush(30)
            self.took_ms.append(round((time.monotonic() - began) * 1000))


def now_ms() -> int:
    """The clock of this machine, which is the servers' too."""
    return time.time_ns() // 1_000_000


def percentile(rising: list[int], share: float) -> int:
    return rising[min(len(rising) - 1, int(len(rising) * share))]
