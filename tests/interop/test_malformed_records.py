"""F21, F22, F24 on the topics: thousands of records that are wrong, on every topic that a process of ours reads.

Each has one dead letter or one answer, processes live, other traffic flows. MALFORMED_SEED repeats a run;
MALFORMED_COUNT is how many there are on each topic (2000).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from barnabas.contract import codec
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.topics import TopicNames
from tests.interop.doors import Doors, doors
from tests.interop.good_calls import good_calls
from tests.interop.malformed_records import Made, Maker
from tests.scenario.installation import Servers

COUNT = int(os.environ.get("MALFORMED_COUNT", "2000"))
SEED = int(os.environ.get("MALFORMED_SEED") or secrets.randbelow(2**32))
SECONDS = 150.0
#: Of dead letters that are looked at: the latest, among which are those that are none.
PAGES = 6
#: Of each service, a handler that takes nothing and returns at once.
SERVICES = {"Greeter": "hello", "Counter": "total", "Trip": "chosen"}

Place = tuple[str, int, int]


class Topics:
    """Writes to the installation's topics, and reads what comes of it."""

    def __init__(self, kafka: str, namespace: str, source: str) -> None:
        self.names = names = TopicNames(namespace)
        self.client = f"interop-{uuid4().hex[:8]}"
        self._producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5})
        self._kafka = kafka
        self.produced: dict[Place, Made] = {}
        self.letters: Counter[Place] = Counter()
        self.answers: Counter[bytes] = Counter()
        self._watched = (names.dead_letters, names.replies)
        topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=30).topics
        self._partitions = {name: len(topic.partitions) for name, topic in topics.items()}
        self.makers = [self._maker(names.delays, "delays"), self._maker(source, "source")]
        for service in SERVICES:
            self.makers.append(self._maker(names.invocations(service), "invocations", service))
            self.makers.append(self._maker(names.signals(service), "signals", service))
        self.makers += [self._maker(names.replies, "replies"), self._maker(names.dead_letters, "dead-letters")]

    def _maker(self, topic: str, role: str, service: str = "Greeter") -> Maker:
        partitions, handler = self._partitions[topic], SERVICES[service]
        return Maker(SEED, topic, partitions, role, service, handler, self.client, keyed=service != "Greeter")

    def produce_all(self) -> None:
        """All records of all makers."""
        for maker in self.makers:
            self.produce(maker, COUNT)

    def produce(self, maker: Maker, count: int) -> None:
        """So many records of one maker; returns when Kafka has them."""
        for made in maker.records(count):
            self._produce(made)
        self._producer.flush(60)

    def _produce(self, made: Made) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            place = (made.topic, made.partition, message.offset() or 0)
            self.produced[place] = made

        headers = [(name, value) for name, value in made.headers]
        self._producer.produce(
            made.topic, made.value, made.key, partition=made.partition, headers=headers or None, on_delivery=delivered
        )
        self._producer.poll(0)

    def watch(self, seconds: float) -> None:
        """Read dead letters and answers until all that are due are there."""
        consumer = Consumer({"bootstrap.servers": self._kafka, "group.id": self.client, "enable.auto.commit": False})
        consumer.assign(
            [TopicPartition(name, number, 0) for name in self._watched for number in range(self._partitions[name])]
        )
        deadline = time.monotonic() + seconds
        try:
            while self.missing() and time.monotonic() < deadline:
                for message in consumer.consume(1_000, 0.2):
                    if message.error() is None:
                        self._take(message)
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        try:
            if message.topic() == self.names.replies:
                reply = codec.decode_reply(message.value())
                if reply.client == self.client:
                    self.answers[reply.request] += 1
            else:
                letter = codec.decode_dead_letter(message.value())
                self.letters[(letter.topic, letter.partition, letter.offset)] += 1
        except PoisonRecord:
            pass  # of those that this test has written

    def missing(self) -> list[str]:
        """Poison without a dead letter, and requests without an answer or a dead letter."""
        return [
            f"{made.kind} at {place}: {made}"
            for place, made in self.produced.items()
            if place not in self.letters
            and (made.poison or (made.request is not None and made.request not in self.answers))
        ]


@pytest.fixture
def fed(barnabas_stack: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Doors, Topics]]:
    """An installation of its own, with a subscription."""
    source = f"source-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": barnabas_stack.kafka})
    admin.create_topics([NewTopic(source, 2, 1)])[source].result(30)
    monkeypatch.setenv("INTEROP_SOURCE", source)
    with doors(barnabas_stack, "tests.interop.fed_app:app") as found:
        yield found, Topics(barnabas_stack.kafka, found.place.namespace, source)
        found.assert_alive()


@pytest.mark.timeout(400)
async def test_wrong_records(fed: tuple[Doors, Topics]) -> None:
    sys.stdout.write(f"MALFORMED_SEED={SEED}\n")
    place, topics = fed
    async with good_calls(place.ingress) as good:
        await asyncio.to_thread(topics.produce_all)
        assert len(topics.produced) == COUNT * len(topics.makers)
        await asyncio.to_thread(topics.watch, SECONDS)
        before = good["answered"]
        missing = topics.missing()
        assert not missing, f"MALFORMED_SEED={SEED}: {len(missing)} have neither answer nor dead letter:\n" + "\n".join(
            missing[:10]
        )
    assert before >= 3
    assert good["wrong"] == 0
    twice = {key: count for key, count in topics.letters.items() if count > 1 and key in topics.produced}
    assert not twice, f"MALFORMED_SEED={SEED}: more than one dead letter: {list(twice.items())[:10]}"
    innocent = [made for key, made in topics.produced.items() if key in topics.letters and not _may_be_refused(made)]
    assert not innocent, f"MALFORMED_SEED={SEED}: dead letters of what can be read: {innocent[:10]}"
    place.assert_alive()
    topics.produce(topics.makers[-1], 100)  # into the dead letters, so that they are the latest
    _everything_works(place)


def _may_be_refused(made: Made) -> bool:
    """What was only changed a little may still be for another service, or from a sender that nobody remembers."""
    return made.poison or made.kind == "mutated"


def _everything_works(place: Doors) -> None:
    """Delays, workflows, and the lists of an admin API whose dead letters nobody can read."""
    with httpx.Client(base_url=place.ingress, timeout=30) as http:
        sent = http.post("/Greeter/greet/send?delay=100ms", json="Ada").json()
        assert http.get(f"/restate/attach/{sent['invocationId']}").json() == "Hello Ada"
        assert http.post("/Trip/k/choose", json="1A").status_code == 200
        assert http.post("/Trip/k/run", json="Oslo").json() == "Oslo 1A"
    with httpx.Client(base_url=place.admin, timeout=30) as http:
        parameters: dict[str, str | int] = {"limit": 500}
        reasons = set()
        for _ in range(PAGES):
            page = http.get("/dead-letters", params=parameters)
            assert page.status_code == 200, page.text
            reasons |= {letter["reason"] for letter in page.json()["dead_letters"]}
            parameters["before"] = page.json()["before"]
        assert {"undecodable", "unreadable"} <= reasons
        assert http.get("/shards").status_code == 200
        assert http.get("/invocations").status_code == 200
