"""The thread that owns one librdkafka consumer. Used by the consumers of `kafka_consumer`, by nobody else.

Everything that touches the consumer happens on this thread: commands from the loop are drained between polls, callbacks
of librdkafka run inside polls. What it has to say goes to the loop through `Reports`, in order of occurrence.

Two things bound the memory: librdkafka's own prefetch, and at most `HANDOVERS` lists of batches that the loop has not
taken yet. A loop that stands still therefore ends the polling too, and the group gives the partitions to others after
`max.poll.interval.ms`: a process that hangs loses its shards.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import Consumer as Driver
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from barnabas.log.kafka_complaints import Complaints, is_fatal, library_logger
from barnabas.log.kafka_records import record_of
from barnabas.log.port import Batch, Gap, Position, Record

logger = logging.getLogger("barnabas.log")

POLL_SECONDS = 0.02  # the longest that a command waits
HANDOVERS = 2
_WATERMARK_SECONDS = 5.0

_OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE})
_REVOKED_MEANWHILE = frozenset({KafkaError._STATE, KafkaError._ASSIGNMENT_LOST})

TopicAndPartition = tuple[str, int]


class Reports(Protocol):
    """What the thread tells its consumer; each is called on the loop."""

    def batches(self, batches: list[Batch]) -> None: ...

    def assigned(self, partitions: list[TopicAndPartition]) -> None: ...

    def revoked(self, partitions: list[TopicAndPartition], lost: bool) -> None: ...

    def out_of_range(self, position: Position, epoch: int, low: int, high: int) -> None: ...

    def failed(self, error: BaseException) -> None: ...


@dataclass(slots=True)
class _Fetching:
    """One partition as the thread sees it."""

    epoch: int | None = None  # None: nothing is wanted from it
    offset: int = 0  # of the next record to hand over
    paused: bool = False


class PollingThread:
    """Runs one consumer: of a group if there are `topics`, else one that reads only what `read_from` names."""

    def __init__(
        self,
        config: dict[str, object],
        topics: Sequence[str],
        max_batch: int,
        reports: Reports,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._topics = list(topics)
        self._max_batch = max_batch
        self._reports = reports
        self._loop = loop
        self._commands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._credits = threading.Semaphore(HANDOVERS)
        self._partitions: dict[TopicAndPartition, _Fetching] = {}
        self._callback_error: BaseException | None = None
        self._complaints = Complaints("consumer")
        self.failed_advice = 0
        self._driver = Driver(
            {
                **config,
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
                "logger": library_logger,
            }
        )
        self._thread = threading.Thread(target=self._run, name="barnabas-consumer", daemon=True)
        self._thread.start()

    # Called on the loop.

    def submit(self, command: Callable[[], None]) -> None:
        """Run `command` on the thread, after those before it."""
        self._commands.append(command)

    def took(self) -> None:
        """The loop has taken one list of batches."""
        self._credits.release()

    def stop(self) -> None:
        """End, after the commands given before."""
        self.submit(self._stop)

    def join(self, seconds: float) -> bool:
        """Wait for the end, blocking; False if it has not come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # Commands; they run on the thread.

    def read_from(self, position: Position, epoch: int) -> None:
        """Assign the partition anew at the offset: unlike a seek this also works after an error stopped the fetcher."""
        key = (position.topic, position.partition)
        state = self._partitions.get(key)
        if state is None:
            if self._topics:
                return  # of the group's, and not ours: its revocation is on its way to the loop
            state = self._partitions[key] = _Fetching()
            self._place(key, position.offset, assigned=False)
        else:
            self._place(key, position.offset, assigned=True)
        state.epoch, state.offset, state.paused = epoch, position.offset, False

    def stop_reading(self, key: TopicAndPartition) -> None:
        state = self._partitions.get(key)
        if state is None:
            return
        if self._topics:
            self._driver.pause([TopicPartition(*key)])
            self._partitions[key] = _Fetching()
        else:
            del self._partitions[key]
            self._driver.incremental_unassign([TopicPartition(*key)])

    def pause(self, partitions: Sequence[TopicAndPartition]) -> None:
        wanted = [key for key in partitions if (state := self._reading(key)) is not None and not state.paused]
        if wanted:
            self._driver.pause([TopicPartition(*key) for key in wanted])
        for key in wanted:
            self._partitions[key].paused = True

    def resume(self, partitions: Sequence[TopicAndPartition]) -> None:
        """Go on at our own position rather than at the one that librdkafka kept: no gap or repeat can come about."""
        for key in partitions:
            state = self._reading(key)
            if state is not None and state.paused:
                self._place(key, state.offset, assigned=True)
                state.paused = False

    def advise(self, offsets: Sequence[Position]) -> None:
        ours = [p for p in offsets if (p.topic, p.partition) in self._partitions]
        if not ours:
            return
        try:
            self._driver.commit(
                offsets=[TopicPartition(p.topic, p.partition, p.offset) for p in ours], asynchronous=True
            )
        except KafkaException:
            self.failed_advice += 1

    def _stop(self) -> None:
        self._stopping = True

    def _reading(self, key: TopicAndPartition) -> _Fetching | None:
        state = self._partitions.get(key)
        return state if state is not None and state.epoch is not None else None

    def _place(self, key: TopicAndPartition, offset: int, *, assigned: bool) -> None:
        try:
            if assigned:
                self._driver.incremental_unassign([TopicPartition(*key)])
            self._driver.incremental_assign([TopicPartition(*key, offset)])
            self._driver.resume([TopicPartition(*key)])
        except KafkaException as error:
            if not self._topics or error.args[0].code() not in _REVOKED_MEANWHILE:
                raise
            logger.warning("cannot place %s[%d] at %d, the group is taking it away: %s", *key, offset, error)

    # The thread.

    def _run(self) -> None:
        try:
            self._poll_until_stopped()
        except BaseException as error:
            logger.exception("the consumer's thread has died")
            self._post(self._reports.failed, error)
        finally:
            self._driver.close()

    def _poll_until_stopped(self) -> None:
        if self._topics:
            self._driver.subscribe(
                self._topics,
                on_assign=self._guarded(self._on_assigned),
                on_revoke=self._guarded(partial(self._on_revoked, lost=False)),
                on_lost=self._guarded(partial(self._on_revoked, lost=True)),
            )
        credit = False
        while not self._stopping:
            while self._commands:
                self._commands.popleft()()
            credit = credit or self._credits.acquire(timeout=POLL_SECONDS)
            if credit and (batches := self._fetch()):
                self._post(self._reports.batches, batches)
                credit = False

    def _fetch(self) -> list[Batch]:
        """What is there now, or else what comes first within `POLL_SECONDS` and everything with it."""
        messages = self._driver.consume(self._max_batch, 0)
        if not messages:
            first = self._driver.poll(POLL_SECONDS)
            if first is not None:
                messages = [first, *self._driver.consume(self._max_batch - 1, 0)]
        if self._callback_error is not None:
            raise self._callback_error
        return self._batches(messages) if messages else []

    def _batches(self, messages: list[Message]) -> list[Batch]:
        """Group by partition. Records whose partition a callback took away after they left librdkafka are dropped."""
        batches: dict[TopicAndPartition, Batch] = {}
        topic: str | None = None
        partition: int | None = None
        state: _Fetching | None = None
        records: list[Record] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._on_end(batches, message)
                else:
                    self._on_message_error(error, message)
                topic = None
                continue
            if message.partition() != partition or message.topic() != topic:
                topic, partition = message.topic(), message.partition()
                assert topic is not None
                assert partition is not None
                state = self._reading((topic, partition))
                records = self._records(batches, (topic, partition), state)
            offset = message.offset()
            if state is None or offset is None or offset < state.offset:
                continue
            state.offset = offset + 1
            records.append(record_of(message))
        if self._complaints and batches:
            self._complaints.going_on(topic for topic, _ in batches)
        return [batch for batch in batches.values() if batch.records]

    def _on_end(self, batches: dict[TopicAndPartition, Batch], message: Message) -> None:
        """The end of a partition, which may lie behind what is no record: aborted ones, the marks of transactions."""
        topic, partition, end = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert end is not None
        state = self._reading((topic, partition))
        if state is not None and end > state.offset >= 0:
            state.offset = end
            records = self._records(batches, (topic, partition), state)
            records.append(Gap(end - 1, -1, None, None, None))

    @staticmethod
    def _records(
        batches: dict[TopicAndPartition, Batch], key: TopicAndPartition, state: _Fetching | None
    ) -> list[Record]:
        if state is None or state.epoch is None:
            return []
        batch = batches.get(key)
        if batch is None:
            batch = batches[key] = Batch(*key, state.epoch, [])
        return batch.records

    def _post(self, report: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(report, *values)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stopping = True

    # Callbacks of librdkafka; they run inside poll and consume, and an exception must not reach C.

    def _guarded(
        self, callback: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Driver, list[TopicPartition]], None]:
        def call(_: Driver, partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except BaseException as error:
                self._callback_error = error

        return call

    def _on_assigned(self, partitions: list[TopicPartition]) -> None:
        # Offset 0 stands for any: they are paused at once, what slips through finds no epoch, `read_from` assigns anew.
        self._driver.incremental_assign([TopicPartition(p.topic, p.partition, 0) for p in partitions])
        if not partitions:
            return
        self._driver.pause(partitions)
        keys = [(p.topic, p.partition) for p in partitions]
        self._partitions.update((key, _Fetching()) for key in keys)
        self._post(self._reports.assigned, keys)

    def _on_revoked(self, partitions: list[TopicPartition], lost: bool) -> None:
        keys = [(p.topic, p.partition) for p in partitions]
        for key in keys:
            self._partitions.pop(key, None)
        if keys:
            self._post(self._reports.revoked, keys, lost)
        self._driver.incremental_unassign(partitions)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if error is not None or any(p.error is not None for p in partitions):
            self.failed_advice += 1

    def _on_error(self, error: KafkaError) -> None:
        try:
            if is_fatal(error):
                self._callback_error = KafkaException(error)
            else:
                self._complaints.tell(error)
        except BaseException as unexpected:
            self._callback_error = unexpected

    # Errors that come in place of a record.

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        topic, partition = message.topic(), message.partition()
        if is_fatal(error):
            raise KafkaException(error)
        if error.code() in _OUT_OF_RANGE and topic is not None and partition is not None:
            self._on_out_of_range((topic, partition))
        else:
            self._complaints.tell(error, topic)

    def _on_out_of_range(self, key: TopicAndPartition) -> None:
        state = self._reading(key)
        if state is None or state.epoch is None:
            return
        try:
            low, high = self._driver.get_watermark_offsets(TopicPartition(*key), timeout=_WATERMARK_SECONDS)
        except KafkaException as error:
            logger.warning("cannot ask for the range of %s[%d], trying again: %s", *key, error)
            self._place(key, state.offset, assigned=True)  # the broker will refuse the offset again
            return
        if low <= state.offset <= high:  # an old leader did not know the offset yet, or has caught up meanwhile
            self._place(key, state.offset, assigned=True)
            return
        logger.error(
            "%s[%d]: offset %d is outside the log (%d..%d); the partition has stopped", *key, state.offset, low, high
        )
        epoch, state.epoch = state.epoch, None
        self._post(self._reports.out_of_range, Position(*key, state.offset), epoch, low, high)
