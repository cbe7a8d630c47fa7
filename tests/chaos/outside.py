"""Anybody with a Kafka client: invocations, signals and what comes back, past the client library.

Unlike `barnabas.Client` it says when and in which order records are written, to which topic, and how often. Used by
`stage.py`. Everything that asked for an answer is remembered with all the answers that came.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, idempotent_id, parse_awakeable_id, random_id, workflow_id
from barnabas.contract.records import Failure, Invocation, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames


@dataclass(frozen=True, slots=True)
class Asked:
    """An invocation or an attach, and what its answer is found by."""

    id: InvocationId
    request: bytes
    topic: str
    partition: int
    key: bytes
    record: bytes  # as it was produced, for producing it again

    @property
    def invocation_id(self) -> str:
        """The id as text."""
        return str(self.id)


class Outside:
    """Producers and one reader of replies. `services`: name -> kind; `counts`: of partitions, by topic."""

    def __init__(self, kafka: str, names: TopicNames, services: Mapping[str, str], counts: Mapping[str, int]) -> None:
        self.client = f"outside-{uuid4().hex[:8]}"
        self.names = names
        self.asked: dict[bytes, Asked] = {}
        self.replies: defaultdict[bytes, list[Reply]] = defaultdict(list)
        self._services = services
        self._counts = counts
        self._numbers = itertools.count(1)
        self._kafka = kafka
        self._producer = self.producer()
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": self.client, "enable.auto.commit": False})
        self._consumer.assign(
            [TopicPartition(names.replies, partition, 0) for partition in range(counts[names.replies])]
        )

    # -- sending

    def producer(self) -> Producer:
        """One more connection to the brokers."""
        return Producer({"bootstrap.servers": self._kafka, "enable.idempotence": True, "linger.ms": 0})

    def make(
        self,
        target: str,
        key: str | None = None,
        arg: Any = None,
        *,
        id_: InvocationId | None = None,
        idempotency_key: str | None = None,
        delay_ms: int | None = None,
        payload: bytes | None = None,
    ) -> Asked:
        """An invocation of "Service/handler", not produced yet. A workflow's `run` has the id that it must have."""
        service, _, handler = target.partition("/")
        due = None if delay_ms is None else round(time.time() * 1000) + delay_ms
        if id_ is None:
            id_ = self._id(service, handler, key, idempotency_key, due)
        request = next(self._numbers).to_bytes(8, "big")
        raw = payload if payload is not None else b"" if arg is None else json.dumps(arg).encode()
        invocation = Invocation(
            id_, service, handler, key, raw, {}, None, ReplyTo(self.client, request), idempotency_key, due
        )
        by_delays = id_.delayed
        topic = self.names.delays if by_delays else self.names.invocations(service)
        partition = id_.partition(self._counts[topic])
        record_key = (key or id_.service_partition_key).encode()
        return Asked(id_, request, topic, partition, record_key, codec.encode_invocation(invocation))

    def _id(
        self, service: str, handler: str, key: str | None, idempotency_key: str | None, due: int | None
    ) -> InvocationId:
        if self._services[service] == "workflow" and handler == "run":
            return workflow_id(service, key or "")
        if idempotency_key is not None:
            return idempotent_id(service, handler, key, idempotency_key)
        return random_id(service, key, delayed=due is not None)

    def produce(self, asked: Asked, producer: Producer | None = None) -> Asked:
        """Write its record; a second time, it is the duplicate of a client that tried again."""
        self.asked[asked.request] = asked
        producer = producer or self._producer
        producer.produce(
            asked.topic, asked.record, asked.key, partition=asked.partition, on_delivery=_must_be_delivered
        )
        producer.poll(0)
        return asked

    def produce_unheard(self, asked: Asked) -> None:
        """As `produce`, for one of very many, whose answer nobody looks at."""
        while True:
            try:
                self._producer.produce(asked.topic, asked.record, asked.key, partition=asked.partition)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def call(self, target: str, key: str | None = None, arg: Any = None, **more: Any) -> Asked:
        """Make and produce."""
        return self.produce(self.make(target, key, arg, **more))

    def send_raw(self, service: str, handler: str, key: str | None, value: bytes) -> None:
        """A record as any Kafka client writes one: a header says which handler."""
        topic = self.names.invocations(service)
        partition = random_id(service, key).partition(self._counts[topic])
        headers: list[tuple[str, str | bytes | None]] = [("barnabas-handler", handler.encode())]
        record_key = None if key is None else key.encode()
        self._producer.produce(
            topic, value, record_key, partition=partition, headers=headers, on_delivery=_must_be_delivered
        )

    def signal(self, kind: SignalKind, id_: InvocationId, **content: Any) -> None:
        """A signal about an invocation, to its service's topic or to `delays`, as its id says."""
        self._signal(Signal(kind, bytes(id_), **content))

    def attach(self, id_: InvocationId) -> Asked:
        """Ask for the outcome of an invocation."""
        request = next(self._numbers).to_bytes(8, "big")
        asked = Asked(id_, request, "", 0, b"", b"")
        self.asked[request] = asked
        self._signal(Signal(SignalKind.ATTACH, bytes(id_), reply_to=ReplyTo(self.client, request)))
        return asked

    def cancel(self, id_: InvocationId) -> None:
        """Ask it to end."""
        self.signal(SignalKind.CANCEL, id_)

    def kill(self, id_: InvocationId) -> None:
        """End it."""
        self.signal(SignalKind.KILL, id_)

    def resolve(self, awakeable: str, value: Any) -> None:
        """Set the value of an awakeable."""
        id_, position = parse_awakeable_id(awakeable)
        self.signal(SignalKind.RESOLVE, id_, position=position, result=json.dumps(value).encode())

    def resolve_signal(self, id_: InvocationId, name: str, value: Any) -> None:
        """Send a value under a name."""
        self.signal(SignalKind.RESOLVE, id_, name=name, result=json.dumps(value).encode())

    def _signal(self, signal: Signal) -> None:
        id_ = InvocationId(signal.invocation)
        by_delays = id_.delayed and signal.position is None  # an awakeable's id says that its invocation runs already
        service = next(name for name in self._services if id_.of_service(name))
        topic = self.names.delays if by_delays else self.names.signals(service)
        self._producer.produce(
            topic,
            codec.encode_signal(signal),
            id_.service_partition_key.encode(),
            partition=id_.partition(self._counts[topic]),
            on_delivery=_must_be_delivered,
        )
        self._producer.poll(0)

    def flush(self) -> None:
        """Until everything sent so far is in the log."""
        left = self._producer.flush(30)
        assert left == 0, f"{left} records were not acknowledged by the broker"

    # -- what came back

    def poll(self, seconds: float = 0.05) -> None:
        """Take the replies that are there, or those that come within that time."""
        for message in self._consumer.consume(1000, seconds):
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            reply = codec.decode_reply(message.value())
            if reply.client == self.client:
                self.replies[reply.request].append(reply)

    def unanswered(self, asked: Iterable[Asked] | None = None) -> list[Asked]:
        """What has no answer so far."""
        return [one for one in (self.asked.values() if asked is None else asked) if one.request not in self.replies]

    def collect(self, asked: Iterable[Asked] | None = None, seconds: float = 30.0) -> list[Asked]:
        """Wait for the answers to these, or to everything; what has none after that time."""
        left = self.unanswered(asked)
        deadline = time.monotonic() + seconds
        self.flush()
        while left and time.monotonic() < deadline:
            self.poll()
            left = self.unanswered(left)
        return left

    def wait_answered(self, count: int, seconds: float) -> bool:
        """Until that many have an answer."""
        deadline = time.monotonic() + seconds
        while len(self.replies) < count and time.monotonic() < deadline:
            self.poll(0.02)
        return len(self.replies) >= count

    def outcomes(self, asked: Asked) -> list[Any]:
        """The different answers that came: values, or failures as (code, message)."""
        found: list[Any] = []
        for reply in self.replies.get(asked.request, ()):
            one = plain(reply)
            if one not in found:
                found.append(one)
        return found

    def outcome(self, asked: Asked) -> Any:
        """The one answer; that there is exactly one is checked."""
        found = self.outcomes(asked)
        assert len(found) == 1, f"{asked.id} has {len(found)} outcomes: {str(found)[:2000]}"
        return found[0]

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        self._producer.purge()


def plain(reply: Reply) -> Any:
    """The value, or the failure as (code, message)."""
    failure: Failure | None = reply.failure
    if failure is not None:
        return (failure.code, failure.message)
    return json.loads(reply.result) if reply.result else None


def _must_be_delivered(error: KafkaError | None, _: object) -> None:
    if error is not None:
        raise KafkaException(error)
