"""What only real Kafka can show: consumer groups, sessions that end, librdkafka's own promises that ours lean on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import aiokafka
import aiokafka.producer.message_accumulator
import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import Producer as Driver

from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_consumer import AssignedConsumer, GroupConsumer
from barnabas.log.kafka_polling import HANDOVERS
from barnabas.log.kafka_producer import ProducerSession
from barnabas.log.port import Batch, BatchRefusedError, Gap, LogUnavailableError, OutRecord, Position
from barnabas.log.settings import KafkaSettings
from tests.contract.log.backends import (
    SECONDS,
    ConsumerEars,
    KafkaBackend,
    ProducerEars,
    fill,
    fresh_name,
    numbered,
)


@pytest.fixture
async def kafka(request: pytest.FixtureRequest) -> AsyncIterator[KafkaBackend]:
    backend = KafkaBackend(request.getfixturevalue("barnabas_stack").kafka)
    yield backend
    await backend.aclose()


def read_when_assigned(ears: ConsumerEars, consumer: GroupConsumer, epochs: list[int], start: int = 0) -> None:
    """As an owner does: each assignment is read under an epoch of its own."""

    def read(partitions: list[tuple[str, int]]) -> None:
        epochs.append(len(epochs) + 1)
        for topic, partition in partitions:
            consumer.read_from(Position(topic, partition, start), epochs[-1])

    ears.on_assignment = read


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_member_reads_nothing_before_it_is_told_where(kafka: KafkaBackend, protocol: str) -> None:
    topic = await kafka.topic(partitions=2)
    await fill(kafka, topic, 50)
    await kafka.truncate_before(topic, 0, 10)  # offset 0, which the thread assigns at first, is out of range: no alarm
    ears = ConsumerEars()
    member = kafka.member(ears, [topic], fresh_name(), group_protocol=protocol)
    await ears.until(lambda: len(ears.assigned) == 2, "both partitions")
    member.read_from(Position(topic, 1, 0), epoch=1)
    await fill(kafka, topic, 20, partition=1)
    await ears.until(lambda: len(ears.records(1)) == 20, "the partition that is read")
    assert ears.records(0) == []
    member.read_from(Position(topic, 0, 10), epoch=7)
    await ears.until(lambda: ears.offsets(0, epoch=7) == list(range(10, 50)), "the other one")
    assert ears.said == [("assigned", (topic, 0), (topic, 1))]
    await member.aclose()


class OddText(str):
    """A name that no text has, for aiokafka's encoder in Python."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


@pytest.fixture
async def odd_producer(
    kafka: KafkaBackend, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiokafka.AIOKafkaProducer]:
    for module in (aiokafka.producer.producer, aiokafka.producer.message_accumulator):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.settings.bootstrap) as producer:
        yield producer


async def test_a_header_whose_name_is_no_text_hides_the_headers_and_ends_nothing(
    kafka: KafkaBackend, odd_producer: aiokafka.AIOKafkaProducer, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await kafka.topic()
    await fill(
        kafka, topic, 100
    )  # code that has run often misses the driver's error in other ways than code that has not
    for number, name in enumerate(["plain", OddText("x"), OddText("y"), "plain"]):
        await odd_producer.send_and_wait(topic, b"%d" % number, headers=[("first", b"1"), (name, b"2")])
    ears = ConsumerEars()
    consumer = kafka.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    await ears.until(lambda: len(ears.records()) == 104, "all records")
    again = await kafka.reader.read(topic, 0, range(104))
    for records in (ears.records(), list(again.values())):
        assert [record.value for record in records[100:]] == [b"0", b"1", b"2", b"3"]
        plain = [("first", b"1"), ("plain", b"2")]
        assert [record.headers for record in records[100:]] == [plain, None, None, plain]
        assert all(record.headers for record in records[:100])
    assert ears.failures == []
    assert [line.getMessage() for line in caplog.records if "not UTF-8" in line.getMessage()] == [
        f"{topic}[0]: the record at 101 has a header whose name is not UTF-8, so none of its headers are read; "
        "others of this topic will not be told of"
    ]


async def test_what_is_no_record_at_the_end_of_a_partition_is_told_to_who_wants_it(kafka: KafkaBackend) -> None:
    """Marks of transactions, and records of those that were aborted: retention removes them, and nothing is lost."""
    topic = await kafka.topic()
    producer = Driver({"bootstrap.servers": kafka.settings.bootstrap, "transactional.id": fresh_name()})
    producer.init_transactions()
    ears, without = ConsumerEars(), ConsumerEars()
    told = kafka.member(ears, [topic], fresh_name(), gaps=True)
    untold = kafka.member(without, [topic], fresh_name())
    for listener, consumer in ((ears, told), (without, untold)):
        read_when_assigned(listener, consumer, [])

    def transact(value: bytes, *, abort: bool = False) -> None:
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        assert producer.flush(SECONDS) == 0
        producer.abort_transaction() if abort else producer.commit_transaction()

    await asyncio.to_thread(transact, b"0")
    await ears.until(lambda: ears.offsets() == [0, 1], "the record and the mark of its transaction")
    await asyncio.to_thread(transact, b"2", abort=True)
    await ears.until(lambda: ears.offsets() == [0, 1, 3], "what was aborted, and its mark")
    await asyncio.to_thread(transact, b"4")
    await ears.until(lambda: ears.offsets() == [0, 1, 3, 4, 5], "all")
    assert [record.offset for record in ears.records() if not isinstance(record, Gap)] == [0, 4]
    await without.until(lambda: without.offsets() == [0, 4], "the records alone")
    await told.aclose()
    await untold.aclose()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_what_goes_to_another_member_and_comes_back_is_read_afresh(kafka: KafkaBackend, protocol: str) -> None:
    """F13, R17: revoked and returned while records flow; nothing prefetched under the first assignment comes later."""
    topic, group = await kafka.topic(partitions=4), fresh_name()
    for partition in range(4):
        await fill(kafka, topic, 1_000, partition=partition)
    first_ears, second_ears, epochs = ConsumerEars(), ConsumerEars(), []
    first = kafka.member(first_ears, [topic], group, group_protocol=protocol)
    read_when_assigned(first_ears, first, epochs)
    await first_ears.until(lambda: bool(first_ears.batches), "records of the first assignment")
    second = kafka.member(second_ears, [topic], group, group_protocol=protocol)
    await second_ears.until(lambda: len(second_ears.assigned) == 2, "half of the partitions at the second member")
    await first_ears.until(lambda: len(first_ears.assigned) == 2, "half of them at the first")
    assert first_ears.assigned.isdisjoint(second_ears.assigned)
    moved = set(second_ears.assigned)
    assert second_ears.batches == []
    gone_at = len(first_ears.batches)
    for key in moved:
        first.read_from(Position(*key, 0), epoch=99)  # an owner that has not heard of it yet reads nothing
        second.read_from(Position(*key, 0), epoch=1)
    await second_ears.until(lambda: all(len(second_ears.offsets(p)) == 1_000 for _, p in moved), "all of what moved")
    await second.aclose()
    await first_ears.until(lambda: len(first_ears.assigned) == 4, "all of them back")
    for partition in range(4):
        await first_ears.until(
            lambda p=partition: len(first_ears.offsets(p, epochs[-1] if (topic, p) in moved else 1)) >= 1_000,
            f"all of partition {partition}",
        )
    for batch in first_ears.batches[gone_at:]:
        assert (batch.topic, batch.partition) not in moved or batch.epoch == epochs[-1] != 99
    for partition in range(4):
        epoch = epochs[-1] if (topic, partition) in moved else 1
        assert first_ears.offsets(partition, epoch) == list(range(1_000))
    await first.aclose()


async def test_a_command_for_a_partition_of_another_member_does_nothing(kafka: KafkaBackend) -> None:
    topic = await kafka.topic(partitions=2)
    await fill(kafka, topic, 5)
    ears = ConsumerEars()
    member = kafka.member(ears, [topic], fresh_name())
    stranger = fresh_name()
    member.read_from(Position(stranger, 0, 0), epoch=1)
    member.pause([(stranger, 0)])
    member.resume([(stranger, 0)])
    member.stop_reading(stranger, 0)
    member.advise([Position(stranger, 0, 5)])
    await ears.until(lambda: bool(ears.assigned), "partitions")
    member.read_from(Position(topic, 0, 0), epoch=1)
    await ears.until(lambda: len(ears.records()) == 5, "records")
    assert ears.failures == []
    await member.aclose()


async def test_advice_reaches_the_group(kafka: KafkaBackend) -> None:
    topic, group = await kafka.topic(), fresh_name()
    await fill(kafka, topic, 5)
    ears = ConsumerEars()
    member = kafka.member(ears, [topic], group)
    read_when_assigned(ears, member, [])
    await ears.until(lambda: len(ears.records()) == 5, "records")
    member.advise([Position(topic, 0, 4)])
    await member.aclose()
    assert await asyncio.to_thread(_committed, kafka, group) == {(topic, 0): 4}
    assert member.failed_advice == 0


def _committed(kafka: KafkaBackend, group: str) -> dict[tuple[str, int], int]:
    answer = kafka.driver.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(SECONDS)
    return {(p.topic, p.partition): p.offset for p in answer.topic_partitions}


@pytest.mark.expects_errors("UNKNOWN_TOPIC_OR_PART")
async def test_a_missing_topic_is_told_once_and_harms_no_other(
    kafka: KafkaBackend, caplog: pytest.LogCaptureFixture
) -> None:
    topic, missing = await kafka.topic(), fresh_name()
    await fill(kafka, topic, 5)
    ears = ConsumerEars()
    with caplog.at_level(logging.INFO, "barnabas.log"):
        member = kafka.member(ears, [topic, missing], fresh_name())
        read_when_assigned(ears, member, [])
        await ears.until(lambda: len(ears.records()) == 5, "records of the topic that exists")
        await fill(kafka, topic, 5, start=5)
        await ears.until(lambda: len(ears.records()) == 10, "more of them")
        await member.aclose()
    assert len([line for line in caplog.records if missing in line.getMessage()]) == 1
    assert ears.failures == []


@pytest.mark.expects_errors("UNKNOWN_TOPIC_OR_PART")
async def test_a_deleted_topic_harms_no_other(kafka: KafkaBackend) -> None:
    topic, doomed = await kafka.topic(), await kafka.topic()
    await fill(kafka, doomed, 5)
    ears = ConsumerEars()
    member = kafka.member(ears, [topic, doomed], fresh_name(), options={"topic.metadata.refresh.interval.ms": 500})
    read_when_assigned(ears, member, [])
    await ears.until(lambda: len(ears.records(topic=doomed)) == 5, "records of the topic that will go")
    await kafka.delete(doomed)
    await ears.until(lambda: (doomed, 0) not in ears.assigned, "the end of the assignment")
    await fill(kafka, topic, 5)
    await ears.until(lambda: len(ears.records(topic=topic)) == 5, "records of the other topic")
    assert ears.failures == []
    await member.aclose()


@pytest.mark.expects_errors("fenced", "the consumer's thread has died")
async def test_a_member_whose_place_is_taken_reports_its_end(kafka: KafkaBackend) -> None:
    """Two processes with one static id: the older one learns that it is fenced, and its process can end."""
    topic, group = await kafka.topic(), fresh_name()
    ears, other = ConsumerEars(), ConsumerEars()
    kafka.member(ears, [topic], group, instance_id="one")
    await ears.until(lambda: bool(ears.assigned), "the partition")
    kafka.member(other, [topic], group, instance_id="one")
    await ears.until(lambda: bool(ears.failures), "the failure")
    failure = ears.failures[0]
    assert isinstance(failure, KafkaException)
    assert failure.args[0].code() == KafkaError._FATAL


async def test_a_slow_loop_is_not_flooded(kafka: KafkaBackend) -> None:
    topic = await kafka.topic()
    await fill(kafka, topic, 5_000)
    taken: list[int] = []

    class Slow(ConsumerEars):
        def on_batches(self, batches: list[Batch]) -> None:
            super().on_batches(batches)
            if len(self.batches) == 1:
                time.sleep(0.2)  # long enough for the thread to fetch everything, if it were let
                asyncio.get_running_loop().call_soon(lambda: taken.append(len(self.batches)))

    ears = Slow()
    consumer = kafka.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    await ears.until(lambda: len(ears.records()) == 5_000, "all records")
    assert taken[0] - 1 <= HANDOVERS
    assert len(ears.batches) >= 5_000 / kafka.settings.max_batch
    await consumer.aclose()


async def test_an_owner_that_raises_does_not_stop_the_flow(kafka: KafkaBackend) -> None:
    topic = await kafka.topic()
    await fill(kafka, topic, 2_000)
    caught: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))

    class Clumsy(ConsumerEars):
        def on_batches(self, batches: list[Batch]) -> None:
            super().on_batches(batches)
            raise RuntimeError("clumsy")

    ears = Clumsy()
    consumer = kafka.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    await ears.until(lambda: len(ears.records()) == 2_000, "all records")
    await consumer.aclose()
    assert len(caught) == len(ears.batches)


async def test_the_explicit_partition_is_honoured_by_both_clients(kafka: KafkaBackend) -> None:
    topic = await kafka.topic(partitions=5)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.settings.bootstrap)
    await producer.start()
    for partition in range(5):
        await fill(kafka, topic, 1, partition=partition)
        await producer.send_and_wait(topic, key=b"key 0", value=b"other", partition=partition)
    await producer.stop()
    for partition in range(5):
        records = await kafka.reader.read(topic, partition, [0, 1, 2])
        assert [(record.key, record.value) for record in records.values()] == [
            (b"key 0", b"value 0"),
            (b"key 0", b"other"),
        ]


@pytest.mark.expects_errors("Gap-less")
async def test_a_permanent_failure_is_fatal_to_librdkafka(kafka: KafkaBackend) -> None:
    """The option that R2 leans on is marked experimental: without it, the records after the refused one get through."""
    topic = await kafka.topic(config={"max.message.bytes": "5000"})
    outcomes: dict[bool, list[bool]] = {}
    for gapless in (True, False):
        config = {
            "bootstrap.servers": kafka.settings.bootstrap,
            "enable.idempotence": True,
            "enable.gapless.guarantee": gapless,
            "batch.num.messages": 1,
            "logger": logging.getLogger("barnabas.log.librdkafka"),
        }
        outcomes[gapless] = await asyncio.to_thread(_deliver_with_one_too_large, Driver(config), topic)
    assert outcomes[True] == [True] * 3 + [False] * 7
    assert outcomes[False] == [True] * 3 + [False] + [True] * 6


def _deliver_with_one_too_large(driver: Driver, topic: str) -> list[bool]:
    delivered, fatal = [False] * 10, []

    def report(number: int, error: KafkaError | None) -> None:
        delivered[number] = error is None

    for number in range(10):
        value = b"x" * (9_000 if number == 3 else 10)
        driver.produce(topic, value, partition=0, on_delivery=lambda error, _, n=number: report(n, error))
    deadline = time.monotonic() + SECONDS
    while len(driver) and time.monotonic() < deadline:
        try:
            driver.poll(0.1)
        except KafkaException as error:
            fatal.append(error.args[0].code())
            driver.purge()
    assert set(fatal) <= {KafkaError._GAPLESS_GUARANTEE}
    return delivered


@pytest.mark.expects_errors("MSG_SIZE_TOO_LARGE", "Gap-less")
async def test_a_refused_batch_is_sorted_out_one_by_one(kafka: KafkaBackend) -> None:
    """F59 where the batches are larger than the topic takes: nobody innocent may be called undeliverable."""
    topic = await kafka.topic(config={"max.message.bytes": "5000"})
    records = [numbered(topic, 0, number) for number in range(50)]
    records[20] = records[20]._replace(value=b"x" * 9_000)
    ears = ProducerEars()
    batching = kafka.producer(ears, batch_bytes=500_000, linger_ms=50)
    for number, record in enumerate(records):
        batching.produce(record, number)
    await ears.until(lambda: bool(ears.over), "the end of the first session")
    assert ears.over[0][0] == []
    assert isinstance(ears.over[0][1], BatchRefusedError)
    ears = ProducerEars()
    single = kafka.producer(ears, batch_bytes=500_000, linger_ms=50, one_by_one=True)
    for number, record in enumerate(records):
        single.produce(record, number)
    await ears.until(lambda: bool(ears.over), "the end of the second session")
    assert [token for token, _ in ears.over[0][0]] == [20]


@pytest.mark.expects_errors("MSG_SIZE_TOO_LARGE")
async def test_a_record_too_large_for_the_client_is_undeliverable_at_once(kafka: KafkaBackend) -> None:
    topic = await kafka.topic()
    ears = ProducerEars()
    producer = kafka.producer(ears)
    assert producer.produce(OutRecord(topic, 0, None, b"x" * 2_000_000, None), "huge")
    assert ears.over == []  # told after `produce` has returned
    await ears.until(lambda: bool(ears.over), "the end of the session")
    assert [token for token, _ in ears.over[0][0]] == ["huge"]


@pytest.mark.expects_errors("UNKNOWN_TOPIC")
async def test_a_record_for_a_missing_topic_is_undeliverable(kafka: KafkaBackend) -> None:
    ears = ProducerEars()
    producer = kafka.producer(ears, options={"topic.metadata.propagation.max.ms": 200})
    producer.produce(numbered(fresh_name(), 0, 0), "lost")
    await ears.until(lambda: bool(ears.over), "the end of the session")
    assert [token for token, _ in ears.over[0][0]] == ["lost"]


async def test_a_full_queue_takes_nothing_more_until_deliveries(kafka: KafkaBackend) -> None:
    topic = await kafka.topic()
    ears = ProducerEars()
    producer = kafka.producer(ears, producer_queue=100)
    taken = [producer.produce(numbered(topic, 0, number), number) for number in range(101)]
    assert taken == [True] * 100 + [False]
    await ears.until(lambda: len(ears.delivered) == 100, "deliveries")
    assert producer.produce(numbered(topic, 0, 100), 100)
    await producer.aclose(SECONDS)
    assert ears.delivered == list(range(101))


@pytest.mark.expects_errors("_TRANSPORT", "_ALL_BROKERS_DOWN")
async def test_without_a_broker_nothing_fails_and_closing_keeps_its_time(caplog: pytest.LogCaptureFixture) -> None:
    settings = KafkaSettings(bootstrap="127.0.0.1:1", request_seconds=0.5)
    ears, consumer_ears = ProducerEars(), ConsumerEars()
    loop = asyncio.get_running_loop()
    producer = ProducerSession(settings, ears, loop)
    consumer = AssignedConsumer(settings, consumer_ears, loop)
    consumer.read_from(Position("nowhere", 0, 0), epoch=1)
    assert producer.produce(numbered("nowhere", 0, 0), 0)
    with pytest.raises(LogUnavailableError):
        await KafkaAdmin(settings).partitions(["nowhere"])
    start = time.monotonic()
    await producer.aclose(0.1)
    await consumer.aclose()
    assert time.monotonic() - start < 5
    assert (ears.delivered, ears.over, consumer_ears.failures) == ([], [], [])
    told = [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]
    assert len(told) == len(set(told)) == 4  # each of the two: no connection, no broker left
