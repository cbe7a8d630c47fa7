"""What the ports of the log promise, on memory and on real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from barnabas.log.port import OutRecord, Position, UndeliverableError
from tests.contract.log.backends import (
    SECONDS,
    Backend,
    ConsumerEars,
    KafkaBackend,
    MemoryBackend,
    ProducerEars,
    fill,
    fresh_name,
    numbered,
)


@pytest.fixture(params=["memory", "kafka"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    opened: Backend
    if request.param == "memory":
        opened = MemoryBackend()
    else:
        opened = KafkaBackend(request.getfixturevalue("barnabas_stack").kafka)
    yield opened
    await opened.aclose()


async def test_records_come_complete_and_in_order_per_partition(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    before = time.time_ns() // 1_000_000 - 60_000
    await fill(backend, topic, 700, partition=0)
    await fill(backend, topic, 300, partition=1)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    consumer.read_from(Position(topic, 1, 0), epoch=2)
    await ears.until(lambda: len(ears.records(0)) + len(ears.records(1)) >= 1_000, "1,000 records")
    assert ears.offsets(0, epoch=1) == list(range(700))
    assert ears.offsets(1, epoch=2) == list(range(300))
    offset, timestamp, key, value, headers = ears.records(1)[299]
    assert (offset, key, value, headers) == (299, b"key 299", b"value 299", [("number", b"299")])
    assert timestamp > before
    await consumer.aclose()


async def test_a_record_of_nothing_stays_nothing(backend: Backend) -> None:
    topic = await backend.topic()
    ears, said = ConsumerEars(), ProducerEars()
    backend.producer(said).produce(OutRecord(topic, 0, None, None, None), "token")
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    await ears.until(lambda: bool(ears.batches), "a record")
    assert ears.records()[0][2:] == (None, None, None)
    await consumer.aclose()


async def test_reading_again_elsewhere_drops_what_was_fetched_before(backend: Backend) -> None:
    """R17: after `read_from` nothing comes but what was fetched for it."""
    topic = await backend.topic()
    await fill(backend, topic, 3_000)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    for epoch, start in enumerate((0, 1_500, 10, 2_999, 700, 0), start=1):
        heard_before = len(ears.batches)
        consumer.read_from(Position(topic, 0, start), epoch)
        wanted = min(3_000 - start, 400)
        await ears.until(lambda e=epoch, n=wanted: len(ears.offsets(epoch=e)) >= n, f"records of epoch {epoch}")
        assert {batch.epoch for batch in ears.batches[heard_before:]} == {epoch}
        got = ears.offsets(epoch=epoch)
        assert got == list(range(start, start + len(got)))
    await consumer.aclose()


async def test_a_paused_partition_gives_nothing_and_goes_on_where_it_was(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    consumer.read_from(Position(topic, 1, 0), epoch=1)
    for turn in range(5):
        await fill(backend, topic, 500, partition=0, start=turn * 600)
        consumer.pause([(topic, 0)])
        await _settle(backend, ears, topic, start=turn * 4)
        standing = len(ears.records(0))  # anything from none to all, depending on when the pause came
        await fill(backend, topic, 100, partition=0, start=turn * 600 + 500)
        await _settle(backend, ears, topic, start=turn * 4 + 2)
        assert len(ears.records(0)) == standing
        consumer.resume([(topic, 0)])
        await ears.until(lambda n=turn: len(ears.records(0)) >= (n + 1) * 600, "what was written meanwhile")
    assert ears.offsets(0) == list(range(3_000))
    await consumer.aclose()


async def _settle(backend: Backend, ears: ConsumerEars, topic: str, start: int) -> None:
    """Send two rounds through the partition that is not paused: commands given before have taken effect by then."""
    for number in (start, start + 1):
        await fill(backend, topic, 1, partition=1, start=number)
        await ears.until(lambda n=number: len(ears.records(1)) > n, "the other partition")


async def test_a_partition_that_is_read_no_more_is_silent_until_told_again(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    await fill(backend, topic, 5)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    consumer.read_from(Position(topic, 1, 0), epoch=1)
    await ears.until(lambda: len(ears.records(0)) == 5, "five records")
    consumer.stop_reading(topic, 0)
    consumer.resume([(topic, 0)])
    await fill(backend, topic, 5, start=5)
    await _settle(backend, ears, topic, start=0)
    assert len(ears.records(0)) == 5
    consumer.read_from(Position(topic, 0, 7), epoch=2)
    await ears.until(lambda: ears.offsets(0, epoch=2) == [7, 8, 9], "the rest")
    await consumer.aclose()


@pytest.mark.expects_errors("outside the log")
@pytest.mark.parametrize("offset", [2, 21])
async def test_an_offset_outside_the_log_stops_the_partition_loudly(backend: Backend, offset: int) -> None:
    """R17: no silent jump to either end."""
    topic = await backend.topic(partitions=2)
    await fill(backend, topic, 20)
    await backend.truncate_before(topic, 0, 5)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 1, 0), epoch=1)
    consumer.read_from(Position(topic, 0, offset), epoch=1)
    await ears.until(lambda: bool(ears.said), "an alarm")
    await _settle(backend, ears, topic, start=0)
    assert ears.said == [("out of range", topic, 0, offset, 5, 20)]
    assert ears.records(0) == []
    consumer.read_from(Position(topic, 0, 5), epoch=2)
    await ears.until(lambda: ears.offsets(0) == list(range(5, 20)), "what is left, once asked for")
    await consumer.aclose()


async def test_the_end_of_the_log_is_a_place_to_read_from(backend: Backend) -> None:
    topic = await backend.topic()
    await fill(backend, topic, 3)
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 3), epoch=1)
    await fill(backend, topic, 2, start=3)
    await ears.until(lambda: ears.offsets() == [3, 4], "what was written after")
    assert ears.said == []
    await consumer.aclose()


async def test_deliveries_are_reported_in_order_per_partition(backend: Backend) -> None:
    topic = await backend.topic(partitions=3)
    ears = ProducerEars()
    producer = backend.producer(ears)
    for number in range(3_000):
        assert producer.produce(numbered(topic, number % 3, number), (number % 3, number))
        if number % 100 == 0:  # in bursts and in trickles
            await ears.until(lambda n=number: len(ears.delivered) > n, "all so far")
    await producer.aclose(SECONDS)
    for partition in range(3):
        assert [n for p, n in ears.delivered if p == partition] == list(range(partition, 3_000, 3))
    ends = await backend.admin.end_offsets([(topic, partition) for partition in range(3)])
    assert ends == {(topic, partition): (0, 1_000) for partition in range(3)}
    assert ears.over == []


@pytest.mark.expects_errors("MSG_SIZE_TOO_LARGE", "Gap-less")
async def test_a_refused_record_ends_the_session_and_leaves_a_gapless_prefix(backend: Backend) -> None:
    """F59: one record of many is too large for its topic. R2: nothing after it may be in the log before it has gone."""
    topic = await backend.topic(partitions=2, config={"max.message.bytes": "5000"})
    ears = ProducerEars()
    producer = backend.producer(ears)
    for number in range(400):
        record = numbered(topic, 0, number)
        if number == 150:
            record = record._replace(value=b"x" * 9_000)
        producer.produce(record, number)
    await ears.until(lambda: bool(ears.over), "the end of the session")
    assert len(ears.over) == 1
    undeliverable, error = ears.over[0]
    assert [token for token, _ in undeliverable] == [150]
    assert isinstance(undeliverable[0][1], UndeliverableError)
    assert isinstance(error, UndeliverableError)
    assert ears.delivered == list(range(len(ears.delivered)))
    assert not producer.produce(numbered(topic, 0, 400), 400)
    await producer.aclose(SECONDS)
    assert len(ears.over) == 1
    assert len(ears.delivered) == ears.delivered_at_end
    low, high = (await backend.admin.end_offsets([(topic, 0)]))[topic, 0]
    assert len(ears.delivered) <= high <= 150
    records = await backend.reader.read(topic, 0, range(low, high))
    assert [records[offset].value for offset in range(high)] == [b"value %d" % n for n in range(high)]


@pytest.mark.expects_errors("UNKNOWN_PARTITION")
async def test_a_record_for_a_partition_that_does_not_exist_is_undeliverable(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    ears = ProducerEars()
    producer = backend.producer(ears)
    producer.produce(numbered(topic, 0, 0), "good")
    await ears.until(lambda: ears.delivered == ["good"], "the first record")
    producer.produce(numbered(topic, 7, 1), "bad")
    await ears.until(lambda: bool(ears.over), "the end of the session")
    assert [token for token, _ in ears.over[0][0]] == ["bad"]
    await producer.aclose(1)


async def test_the_reader_finds_single_records_again(backend: Backend) -> None:
    topic = await backend.topic()
    await fill(backend, topic, 3_000)
    wanted = [2_999, 0, 1, 40, 1_700, 1_702]
    records = await backend.reader.read(topic, 0, wanted)
    assert {offset: record.value for offset, record in records.items()} == {n: b"value %d" % n for n in wanted}
    assert records[40].headers == [("number", b"40")]
    await backend.truncate_before(topic, 0, 50)
    records = await backend.reader.read(topic, 0, [10, 49, 50, 2_999, 3_000, 9_999])
    assert sorted(records) == [50, 2_999]


async def test_the_admin_finds_offsets_by_time(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    await fill(backend, topic, 3, partition=1)
    records = await backend.reader.read(topic, 1, range(3))
    places = [(topic, 0), (topic, 1)]
    last = max(record.timestamp for record in records.values())
    assert await backend.admin.offsets_at(places, 0) == {(topic, 0): 0, (topic, 1): 0}
    assert await backend.admin.offsets_at(places, last + 1) == {(topic, 0): 0, (topic, 1): 3}
    first_of_last = min(offset for offset, record in records.items() if record.timestamp == last)
    assert await backend.admin.offsets_at([(topic, 1)], last) == {(topic, 1): first_of_last}


async def test_the_admin_tells_the_facts_of_topics(backend: Backend) -> None:
    topic = await backend.topic(partitions=3, config={"retention.ms": "1234567"})
    other = await backend.topic()
    missing = fresh_name()
    assert await backend.admin.partitions([topic, other, missing]) == {topic: 3, other: 1}
    ids = await backend.admin.topic_ids([topic, other, missing])
    assert sorted(ids) == sorted([topic, other])
    assert ids[topic] != ids[other]
    assert {len(id) for id in ids.values()} == {16}
    assert ids == await backend.admin.topic_ids([topic, other])
    configs = await backend.admin.configs([topic, missing])
    assert list(configs) == [topic]
    assert configs[topic]["retention.ms"] == "1234567"
    await fill(backend, topic, 4, partition=2)
    await backend.truncate_before(topic, 2, 1)
    assert await backend.admin.end_offsets([(topic, 0), (topic, 2)]) == {(topic, 0): (0, 0), (topic, 2): (1, 4)}


async def test_settings_of_a_topic_are_changed_one_by_one(backend: Backend) -> None:
    topic = await backend.topic(1, {"retention.ms": "1234567", "cleanup.policy": "delete"})
    await backend.admin.set_configs(topic, {"retention.ms": "7654321"})
    config = (await backend.admin.configs([topic]))[topic]
    assert (config["retention.ms"], config["cleanup.policy"]) == ("7654321", "delete")
    assert await backend.admin.brokers() >= 1


async def test_a_topic_can_be_created_again_only_as_it_is(backend: Backend) -> None:
    topic = await backend.topic(partitions=2)
    await backend.admin.create(topic, 2, {})
    with pytest.raises(ValueError, match="2 partitions, not 3"):
        await backend.admin.create(topic, 3, {})


async def test_a_closed_consumer_says_nothing_more(backend: Backend) -> None:
    topic = await backend.topic()
    ears = ConsumerEars()
    consumer = backend.consumer(ears)
    consumer.read_from(Position(topic, 0, 0), epoch=1)
    await fill(backend, topic, 1)
    await ears.until(lambda: len(ears.records()) == 1, "a record")
    await consumer.aclose()
    await fill(backend, topic, 1)
    await asyncio.sleep(0)
    assert len(ears.records()) == 1
    assert ears.failures == []
