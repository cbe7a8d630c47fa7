"""What a test sends to its workers, as a client that only speaks Kafka does, and what comes back.

Everything sent is remembered with the result that it must have, so that the checks need nothing else.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Invocation, Reply, ReplyTo
from barnabas.contract.topics import TopicNames
from tests.chaos.app import copy_of

PARTITIONS = 4
LOG_KEYS = 8
ACCOUNTS = 5


@dataclass(frozen=True, slots=True)
class Request:
    """One invocation that was sent, and the JSON value that must come back; None: whatever comes."""

    id: InvocationId
    service: str
    handler: str
    key: str | None
    expected: Any
    value: bytes  # the record, for sending it again


class Traffic:
    """The client of one test."""

    def __init__(self, kafka: str, names: TopicNames, random: Random) -> None:
        self.client = f"chaos-{uuid4().hex[:8]}"
        self.requests: dict[bytes, Request] = {}
        self.replies: defaultdict[bytes, list[Reply]] = defaultdict(list)
        self.appended: Counter[str] = Counter()  # log key -> how many numbers were sent to it, forwarded ones included
        self.errands: list[Request] = []
        self._forwarded: Counter[str] = Counter()
        self._names = names
        self._random = random
        self._producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 2})
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": self.client, "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(names.replies, 0, 0)])

    # -- sending

    def send(self, service: str, handler: str, key: str | None, argument: Any, expected: Any = None) -> Request:
        """Produce one invocation that asks for its result on the replies topic."""
        id_ = random_id(service, key)
        payload = json.dumps(argument).encode()
        invocation = Invocation(id_, service, handler, key, payload, reply_to=ReplyTo(self.client, bytes(id_)))
        request = Request(id_, service, handler, key, expected, codec.encode_invocation(invocation))
        self.requests[bytes(id_)] = request
        self.produce(request)
        return request

    def produce(self, request: Request) -> None:
        """Write the record of a request; a second time, it is the duplicate that a retrying client makes."""
        self._producer.produce(
            self._names.invocations(request.service),
            request.value,
            request.key or request.id.service_partition_key,
            partition=request.id.partition(PARTITIONS),
            on_delivery=_must_be_delivered,
        )
        self._producer.poll(0)

    def append(self, key: str) -> Request:
        """The next number of a log."""
        self.appended[key] += 1
        return self.send("Log", "append", key, self.appended[key], self.appended[key])

    def forward(self, key: str) -> Request:
        """The next number that a log sends on to its copy."""
        self._forwarded[key] += 1
        self.appended[copy_of(key)] += 1
        return self.send("Log", "forward", key, self._forwarded[key], self._forwarded[key])

    def errand(self, handler: str = "errand") -> Request:
        """Three steps."""
        number = len(self.errands)
        request = self.send("Desk", handler, None, number, number)
        self.errands.append(request)
        return request

    def transfer(self) -> Request:
        """Some money from one account to another."""
        source, target = self._random.sample(range(ACCOUNTS), 2)
        move = {"source": f"a{source}", "target": f"a{target}", "amount": self._random.randint(1, 100)}
        return self.send("Desk", "transfer", None, move, "moved")

    def stumble(self) -> Request:
        """Fails first, then does not."""
        return self.send("Desk", "stumble", None, 7, 7)

    def mixed(self, count: int) -> None:
        """That many requests of all kinds."""
        for _ in range(count):
            match self._random.randrange(10):
                case 0 | 1 | 2:
                    self.append(f"log {self._random.randrange(LOG_KEYS)}")
                case 3 | 4 | 5:
                    self.forward(f"log {self._random.randrange(LOG_KEYS)}")
                case 6 | 7:
                    self.errand()
                case 8:
                    self.transfer()
                case _:
                    self.stumble() if self._random.random() < 0.2 else self.errand()
        self.flush()

    def flush(self) -> None:
        """Until everything sent so far is in the log."""
        left = self._producer.flush(30)
        assert left == 0, f"{left} records were not acknowledged by the broker"

    # -- what came back

    def poll(self, seconds: float = 0.2) -> None:
        """Take the replies that are there, or those that come within that time."""
        for message in self._consumer.consume(1000, seconds):
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            reply = codec.decode_reply(message.value())
            if reply.client == self.client:
                self.replies[reply.request].append(reply)

    def unanswered(self) -> list[Request]:
        """Requests without a reply so far."""
        return [request for id_, request in self.requests.items() if id_ not in self.replies]

    def collect(self, seconds: float) -> list[Request]:
        """Wait until every request has a reply; what has none after that time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.poll()
            if len(self.replies) >= len(self.requests) and not self.unanswered():
                break
        return self.unanswered()

    def wait_answered(self, count: int, seconds: float) -> bool:
        """Until that many requests have a reply."""
        deadline = time.monotonic() + seconds
        while len(self.replies) < count and time.monotonic() < deadline:
            self.poll(0.02)
        return len(self.replies) >= count

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        self._producer.purge()


def _must_be_delivered(error: KafkaError | None, _: object) -> None:
    if error is not None:
        raise KafkaException(error)
