"""Subscriptions with real servers and processes: every format, key rules, places to begin, kills, topics made again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import barnabas
from barnabas.contract.codec import decode_dead_letter
from barnabas.contract.records import DeadLetter
from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_reader import KafkaReader
from barnabas.log.settings import KafkaSettings
from barnabas.serde import AvroSerde
from tests.scenario.installation import Servers
from tests.scenario.subscriptions_app import seen
from tests.unit.subscriptions.mock_registry import MockRegistry, mock_registry

ROOT = Path(__file__).parents[2]
TARGET = "tests.scenario.subscriptions_app:app"
SECONDS = 40
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "who", "type": "string"}, {"name": "n", "type": "int"}],
}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Place:
    """A namespace, topics of somebody else in the same cluster, and workers that a test starts and kills."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.tag = uuid4().hex[:8]
        self.names = TopicNames(f"sub-{self.tag}")
        self.kafka = KafkaSettings(bootstrap=servers.kafka)
        self.admin = KafkaAdmin(self.kafka)
        self.producer = Producer({"bootstrap.servers": servers.kafka, "log_level": 0})
        self.environment = os.environ | {
            "BARNABAS_KAFKA": servers.kafka,
            "BARNABAS_REDIS": servers.redis,
            "BARNABAS_NAMESPACE": self.names.namespace,
            "BARNABAS_SESSION_TIMEOUT_MS": "1500",
            "PYTHONPATH": os.pathsep.join([str(Path(barnabas.__file__).parents[1]), str(ROOT)]),
        }
        self.file = folder / "subscriptions.yaml"
        self.client = barnabas.Client(servers.kafka, self.names.namespace)
        applied = self.run("topics", "apply", TARGET, "--partitions", "2")
        assert applied.returncode == 0, applied.stderr

    async def topic(self, name: str = "orders", partitions: int = 2) -> str:
        await self.admin.create(f"{name}-{self.tag}", partitions, {})
        return f"{name}-{self.tag}"

    def put(self, topic: str, *values: Any, key: Any = "k", headers: Any = None, partition: int = 0) -> None:
        for value in values:
            raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
            self.producer.produce(topic, raw, key, partition, headers=headers)
        assert self.producer.flush(20) == 0

    def subscribe(self, *subscriptions: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(subscriptions))  # which is YAML as well

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "barnabas.cli.main", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """A worker with the subscriptions of the file, ready or killed by a failpoint; its log is in `words`."""
        arguments = ["worker", TARGET, "--log-level", "warning"]
        if self.file.exists():
            arguments += ["--subscriptions", str(self.file)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=ROOT,
                env=self.environment | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("ready") or "BARNABAS_FAILPOINTS" in environment, self.words()
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def words(self) -> str:
        return self.log.read_text()

    async def seen(self, key: str, count: int) -> list[Any]:
        """What the ledger of this key was given, when it has that many entries."""
        return await self.until(lambda found: len(found) >= count, key)

    async def until(self, condition: Callable[[list[Any]], bool], key: str) -> list[Any]:
        deadline = time.monotonic() + SECONDS
        while True:
            found = await self.client.object_call(seen, key=key, arg=None, timeout=SECONDS)
            if condition(found):
                return found
            assert time.monotonic() < deadline, f"{key}: {found}\n{self.words()}"
            await asyncio.sleep(0.05)

    async def letters(self, count: int) -> list[DeadLetter]:
        reader, found = KafkaReader(self.kafka), []
        partitions = (await self.admin.partitions([self.names.dead_letters]))[self.names.dead_letters]
        deadline = time.monotonic() + SECONDS
        try:
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} dead letters\n{self.words()}"
                found = []
                for partition in range(partitions):
                    end = await reader.end(self.names.dead_letters, partition)
                    records = await reader.read(self.names.dead_letters, partition, range(end))
                    found += [decode_dead_letter(record.value) for record in records.values()]
        finally:
            await reader.aclose()
        return sorted(found, key=lambda letter: letter.offset)

    async def waited_for(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.words():
            assert time.monotonic() < deadline, f"it does not say {text!r}\n{self.words()}"
            await asyncio.sleep(0.05)


def contents(entries: list[Any]) -> list[Any]:
    return [entry["content"] for entry in entries]


@pytest.fixture
async def place(barnabas_stack: Servers, tmp_path: Path) -> AsyncIterator[Place]:
    place = await asyncio.to_thread(Place, barnabas_stack, tmp_path)
    async with place.client:
        yield place


@pytest.fixture
def registry() -> Iterator[MockRegistry]:
    with mock_registry() as registry:
        yield registry


async def test_json_records_with_keys_headers_and_poison(place: Place) -> None:
    topic = await place.topic()
    place.subscribe(
        {"topic": topic, "handler": "Ledger/note", "name": "by-key"},
        {"topic": topic, "handler": "Ledger/note", "name": "by-field", "key": "$.customer.id"},
        {"topic": topic, "handler": "Ledger/note", "name": "by-header", "key": "header:who"},
        {"topic": topic, "handler": "Inbox/pass_on", "name": "service"},
    )
    order = {"who": "x", "customer": {"id": "c1"}, "n": 1}
    with place.worker(SUBSCRIBED=topic):
        place.put(topic, order, key="k1", headers=[("who", b"h1"), ("traceparent", TRACE.encode())], partition=1)
        [entry] = await place.seen("k1", 1)
        assert entry["content"] == order
        headers = entry["headers"]
        assert headers.pop("kafka.timestamp").isdecimal()
        assert headers == {
            "kafka.topic": topic,
            "kafka.partition": "1",
            "kafka.offset": "0",
            "kafka.key": "k1",
            "traceparent": TRACE,
        }
        for key in ("c1", "h1", "x"):
            assert contents(await place.seen(key, 1)) == [order]
        place.put(topic, b"{broken", order, key="k1", headers=[("who", b"h1")], partition=1)
        assert contents(await place.seen("k1", 2)) == [order, order]
        letters = await place.letters(5)
        assert {(letter.topic, letter.partition, letter.offset, letter.value) for letter in letters} == {
            (topic, 1, 1, b"{broken")
        }
        assert {letter.reason for letter in letters} == {"undecodable"}


async def test_avro_by_file_and_raw_bytes(place: Place) -> None:
    avro, raw = await place.topic("avro"), await place.topic("raw")
    (place.folder / "order.avsc").write_text(json.dumps(SCHEMA))
    place.subscribe(
        {"topic": avro, "handler": "Ledger/note", "key": "$.who", "format": "avro", "schema": "order.avsc"},
        {"topic": raw, "handler": "Ledger/note_bytes", "format": "raw"},
    )
    bare = AvroSerde[Any](SCHEMA).serialize({"who": "ann", "n": 7})
    with place.worker():
        place.put(avro, bare, b"\xff\xff", bare)
        place.put(raw, b"\x00\xff", key="bytes")
        assert contents(await place.seen("ann", 2)) == [{"who": "ann", "n": 7}] * 2
        assert contents(await place.seen("bytes", 1)) == ["00ff"]
        assert [letter.offset for letter in await place.letters(1)] == [1]


async def test_avro_by_a_registry_that_is_away_for_a_while(place: Place, registry: MockRegistry) -> None:
    """Confluent's serializer writes, ours reads; 503 holds records back, an unknown id is a dead letter."""
    topic = await place.topic()
    place.subscribe({"topic": topic, "handler": "Ledger/note", "key": "$.who", "format": "avro", "name": "avro"})
    serialize = registry.serializer(SCHEMA)
    registry.status = 503
    with place.worker(BARNABAS_REGISTRY=registry.url):
        for n in range(3):
            place.put(topic, serialize({"who": "ann", "n": n}))
        place.put(topic, b"\x00\x00\x00\x10\x00abc", serialize({"who": "ann", "n": 3}))
        await place.waited_for("answered 503")
        registry.status = None
        assert [entry["n"] for entry in contents(await place.seen("ann", 4))] == [0, 1, 2, 3]
        [letter] = await place.letters(1)
        assert (letter.reason, letter.offset) == ("unknown-schema", 3)


@pytest.mark.skipif("BARNABAS_REGISTRY" not in os.environ, reason="BARNABAS_REGISTRY names a real registry")
async def test_avro_by_a_real_registry(place: Place) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    topic = await place.topic()
    client = SchemaRegistryClient({"url": os.environ["BARNABAS_REGISTRY"]})
    serialize = AvroSerializer(client, json.dumps(SCHEMA))
    place.subscribe({"topic": topic, "handler": "Ledger/note", "key": "$.who", "format": "avro", "name": "avro"})
    with place.worker():
        value = serialize({"who": "ann", "n": 1}, SerializationContext(topic, MessageField.VALUE))
        place.put(topic, value)
        assert contents(await place.seen("ann", 1)) == [{"who": "ann", "n": 1}]


async def test_places_to_begin(place: Place) -> None:
    topic = await place.topic(partitions=1)
    place.put(topic, 0, 1)
    await asyncio.sleep(0.01)  # the records after it have a later timestamp
    moment = datetime.now(UTC)
    await asyncio.sleep(0.01)
    place.put(topic, 2, 3)
    start = {"earliest": "earliest", "latest": "latest", "moment": moment.isoformat()}
    place.subscribe(
        *({"topic": topic, "handler": "Ledger/note", "name": f"{name}", "start": at} for name, at in start.items())
    )
    wanted = {"earliest": [0, 1, 2, 3, 4, 5], "moment": [2, 3, 4, 5], "latest": [4, 5]}

    def complete(entries: list[Any]) -> bool:
        return len(entries) >= sum(map(len, wanted.values()))

    with place.worker() as worker:
        place.put(topic, 4)
        await place.until(lambda entries: contents(entries).count(4) == 3, "k")
    assert worker.returncode == 0, "drained"
    with place.worker():  # the places are kept: nothing begins anew
        place.put(topic, 5)
        found = contents(await place.until(complete, "k"))
    assert sorted(found) == sorted(number for numbers in wanted.values() for number in numbers)


KILLS = [("batch.taken", 4), ("take.replied", 3), ("commit.ready", 8), ("commit.replied", 8), ("produce.ready", 6)]


@pytest.mark.timeout(200)
async def test_kills_in_the_middle_lose_nothing_and_double_nothing(place: Place) -> None:
    """F9 for subscriptions: SIGKILL at points of the protocol, and from outside; each record is one invocation."""
    topic = await place.topic()
    place.subscribe({"topic": topic, "handler": "Ledger/note", "name": "killed"})
    random, count = Random(11), 0

    def more(number: int) -> int:
        for n in range(count, count + number):
            place.put(topic, n, key=f"k{n % 3}", partition=n % 2)
        return count + number

    for point, most in KILLS:
        visit = random.randint(1, most)
        with place.worker(BARNABAS_FAILPOINTS=f"{point}=kill@{visit}", BARNABAS_INSTANCE_ID="one") as worker:
            deadline = time.monotonic() + SECONDS
            while worker.poll() is None:
                assert time.monotonic() < deadline, f"{point} was not reached {visit} times"
                count = more(5)
                await asyncio.sleep(0.05)
            assert worker.returncode == -signal.SIGKILL
    with place.worker(BARNABAS_INSTANCE_ID="one") as worker:
        count = more(200)
        worker.kill()
    with place.worker(BARNABAS_INSTANCE_ID="one"):
        count = more(50)
        for key in range(3):
            wanted = list(range(key, count, 3))
            found = contents(await place.seen(f"k{key}", len(wanted)))
            assert sorted(found) == wanted, "lost or doubled"
            for parity in (0, 1):
                of_partition = [n for n in found if n % 2 == parity]
                assert of_partition == sorted(of_partition), "a partition's records of one key are in order"


async def test_a_handler_that_nobody_serves_yet(place: Place) -> None:
    topic = await place.topic()
    place.subscribe({"topic": topic, "handler": "Nobody/there", "name": "early"})
    with place.worker():
        place.put(topic, 1)
        await place.waited_for("waits, nothing is lost: no service 'Nobody' is registered")
        listed = place.run("subscriptions", "list", TARGET, "--subscriptions", str(place.file), "--json")
        [entry] = json.loads(listed.stdout)
        assert sum(one["behind"] for one in entry["partitions"]) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"handler": "Hidden/keep"}, "Hidden/keep is private"),
        ({"handler": "Ledger/note", "format": "avro"}, "BARNABAS_REGISTRY"),
        ({"handler": "Ledger/note", "topic": "nowhere"}, "there is no topic nowhere"),
        ({"handler": "Ledger/note", "key": "what"}, "says nothing"),
    ],
)
def test_what_cannot_start_says_so(barnabas_stack: Servers, tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    place = Place(barnabas_stack, tmp_path)
    topic = asyncio.run(place.topic())
    place.subscribe({"topic": topic, **fields})
    ended = place.run("worker", TARGET, "--subscriptions", str(place.file))
    assert ended.returncode == 2
    assert why in ended.stderr
    assert "ready" not in ended.stdout


def test_topics_of_barnabas_cannot_be_subscribed(barnabas_stack: Servers, tmp_path: Path) -> None:
    place = Place(barnabas_stack, tmp_path)
    for topic in (place.names.dead_letters, place.names.invocations("Ledger")):
        place.subscribe({"topic": topic, "handler": "Ledger/note", "format": "raw"})
        ended = place.run("worker", TARGET, "--subscriptions", str(place.file))
        assert ended.returncode == 2
        assert "a topic of Barnabas itself" in ended.stderr


async def test_a_topic_made_again_stops_until_a_person_says_where_to_go_on(place: Place) -> None:
    """F41: noticed while it runs, and at the next start; reset goes on, and runs the new records."""
    topic = await place.topic(partitions=1)
    place.subscribe({"topic": topic, "handler": "Ledger/note", "name": "again"})
    admin = AdminClient({"bootstrap.servers": place.servers.kafka})
    with place.worker():
        place.put(topic, 1)
        assert contents(await place.seen("k", 1)) == [1]
        await asyncio.to_thread(admin.delete_topics([topic])[topic].result)
        deadline = time.monotonic() + SECONDS
        while await place.admin.partitions([topic]):
            assert time.monotonic() < deadline
        await place.admin.create(topic, 1, {})
        await place.waited_for("was deleted and made again")  # by its id, or by an offset beyond its end
    ended = place.run("worker", TARGET, "--subscriptions", str(place.file))
    assert ended.returncode == 2
    assert "barnabas subscriptions reset" in ended.stderr
    place.put(topic, 2)
    reset = ["subscriptions", "reset", TARGET, "again", "--subscriptions", str(place.file), "--to"]
    assert place.run(*reset, "earliest").stdout == "again goes on from [0] 0\n"
    with place.worker():
        assert contents(await place.seen("k", 2)) == [1, 2]
        assert place.run(*reset, "earliest").returncode == 0  # while it is worked on: what was run is run again
        assert contents(await place.seen("k", 3)) == [1, 2, 2]


async def test_a_topic_that_is_written_in_transactions(place: Place) -> None:
    """What is not committed is not read. What is no record may go by retention: nothing was lost, nothing stops."""
    topic = await place.topic(partitions=1)
    place.subscribe({"topic": topic, "handler": "Ledger/note", "name": "committed"})
    producer = Producer({"bootstrap.servers": place.servers.kafka, "transactional.id": place.tag, "log_level": 0})
    producer.init_transactions()

    def transact(value: int, *, abort: bool = False) -> None:
        producer.begin_transaction()
        producer.produce(topic, str(value).encode(), b"k", 0)
        assert producer.flush(20) == 0
        producer.abort_transaction() if abort else producer.commit_transaction()

    def behind() -> int:
        listed = place.run("subscriptions", "list", TARGET, "--subscriptions", str(place.file), "--json")
        [entry] = json.loads(listed.stdout)
        return sum(one["behind"] for one in entry["partitions"])

    with place.worker():
        for value, abort in ((1, False), (2, True), (3, False), (4, True)):
            await asyncio.to_thread(transact, value, abort=abort)
        assert contents(await place.seen("k", 2)) == [1, 3]
        deadline = time.monotonic() + SECONDS
        while await asyncio.to_thread(behind):
            assert time.monotonic() < deadline, "it is not known that all was read"
    admin = AdminClient({"bootstrap.servers": place.servers.kafka})
    for future in admin.delete_records([TopicPartition(topic, 0, -1)]).values():  # all there is
        await asyncio.to_thread(future.result)
    with place.worker():
        await asyncio.to_thread(transact, 5)
        assert contents(await place.seen("k", 3)) == [1, 3, 5]


async def test_offsets_that_retention_took_stop_the_shard(place: Place) -> None:
    topic = await place.topic(partitions=1)
    place.subscribe({"topic": topic, "handler": "Ledger/note", "name": "slow"})
    with place.worker():
        place.put(topic, 1)
        await place.seen("k", 1)
    place.put(topic, 2, 3)
    admin = AdminClient({"bootstrap.servers": place.servers.kafka})
    futures = admin.delete_records([TopicPartition(topic, 0, 2)])
    await asyncio.gather(*(asyncio.to_thread(one.result) for one in futures.values()))
    with place.worker():
        await place.waited_for("1 to 1 were removed before they were read")
        assert "barnabas subscriptions reset" in place.words()
