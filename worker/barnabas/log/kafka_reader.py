"""Reads single records again, by offset. Used for queued work whose input only Kafka still holds (R11).

One group-less consumer, opened at the first read; reads queue up behind each other. Wanted offsets that lie near each
other are reached by reading on, far ones by assigning anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer as Driver
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from barnabas.log.kafka_records import record_of
from barnabas.log.port import LogUnavailableError, Record
from barnabas.log.settings import KafkaSettings

_NEAR = 500  # offsets; reading on over so many is cheaper than a new fetch
_POLL_SECONDS = 0.5
_OUTSIDE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


class KafkaReader:
    """Implements the port `Reader`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._driver: Driver | None = None
        self._lock = asyncio.Lock()

    async def read(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, Record]:
        """Raises `LogUnavailableError` if Kafka does not give all of them within `request_seconds`."""
        if not offsets:
            return {}
        async with self._lock:
            return await asyncio.to_thread(self._read, topic, partition, sorted(set(offsets)))

    async def end(self, topic: str, partition: int) -> int:
        """Raises `LogUnavailableError` if Kafka does not say within `request_seconds`."""
        async with self._lock:
            return await asyncio.to_thread(self._end, topic, partition)

    async def aclose(self) -> None:
        async with self._lock:
            if self._driver is not None:
                await asyncio.to_thread(self._driver.close)
                self._driver = None

    # Blocking, on a thread.

    def _read(self, topic: str, partition: int, wanted: list[int]) -> dict[int, Record]:
        driver = self._driver = self._driver or Driver(_config(self._settings))
        deadline = time.monotonic() + self._settings.request_seconds
        found: dict[int, Record] = {}
        try:
            while rest := self._within(driver, topic, partition, [offset for offset in wanted if offset not in found]):
                for run in _runs(rest):
                    driver.assign([TopicPartition(topic, partition, run[0])])
                    if not self._collect(driver, run, found, deadline):
                        break
                else:
                    return found  # those that are still missing are gaps
        finally:
            driver.unassign()
        return found

    def _end(self, topic: str, partition: int) -> int:
        driver = self._driver = self._driver or Driver(_config(self._settings))
        try:
            _, high = driver.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=self._settings.request_seconds
            )
        except KafkaException as error:
            raise LogUnavailableError(
                f"cannot ask for the end of {topic}[{partition}]: {error.args[0].str()}"
            ) from error
        return high

    def _within(self, driver: Driver, topic: str, partition: int, offsets: list[int]) -> list[int]:
        """Those of `offsets` that the log spans now."""
        try:
            low, high = driver.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=self._settings.request_seconds
            )
        except KafkaException as error:
            if error.args[0].code() in _MISSING:
                return []
            raise LogUnavailableError(f"cannot read {topic}[{partition}] again: {error.args[0].str()}") from error
        return [offset for offset in offsets if low <= offset < high]

    def _collect(self, driver: Driver, run: list[int], found: dict[int, Record], deadline: float) -> bool:
        """Read on from the first of `run` to its last. False: retention has overtaken us, ask for the range again."""
        wanted = set(run)
        while time.monotonic() < deadline:
            first = driver.poll(_POLL_SECONDS)
            if first is None:
                continue
            for message in (first, *driver.consume(_NEAR, 0)):
                error, offset = message.error(), message.offset()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return True
                if error is not None and error.code() in _OUTSIDE:
                    return False
                if error is not None or offset is None:
                    continue
                if offset in wanted:
                    found[offset] = record_of(message)
                if offset >= run[-1]:
                    return True
        raise LogUnavailableError(f"Kafka did not give {len(wanted - found.keys())} records in time")


def _runs(offsets: list[int]) -> Iterator[list[int]]:
    """Split ascending offsets where the next one is far away."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > _NEAR:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run


def _config(settings: KafkaSettings) -> dict[str, object]:
    return {
        **settings.common(),
        "log_level": 2,  # what goes wrong is raised
        **settings.options,
        "group.id": settings.group or "barnabas-no-group",  # joins nothing, commits nothing
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,  # a wanted offset near the end may be a gap
        "allow.auto.create.topics": False,
        "queued.min.messages": 1_000,
        "queued.max.messages.kbytes": 2_048,
        "fetch.wait.max.ms": 50,
    }
