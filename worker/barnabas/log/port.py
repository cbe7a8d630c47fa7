"""What the worker asks of the log. Adapters: `kafka` (librdkafka), `memory`; one contract suite for both.

Batches in, batches out: adapters do their blocking work on threads of their own and hand over whole batches by calling
the given callbacks **on the event loop**. Nothing here awaits per record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

#: An offset that stands for the first record there is.
BEGINNING = -2


class Record(NamedTuple):
    """One record as it was fetched."""

    offset: int
    timestamp: int  # append time, ms
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None  # None too if the driver cannot read them


class Gap(Record):
    """No record at all: up to and with its offset there is nothing more to read. For those who ask for it."""

    __slots__ = ()


@dataclass(slots=True)
class Batch:
    """Consecutive records of one partition, with the assignment they were fetched under (R17). Gaps are legal."""

    topic: str
    partition: int
    epoch: int  # as given to `read_from`
    records: list[Record]


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read: a partition and the offset of the first record wanted."""

    topic: str
    partition: int
    offset: int


class ConsumerEvents(Protocol):
    """What a consumer tells its owner; every method is called on the event loop, in order of occurrence."""

    def on_batches(self, batches: list[Batch]) -> None: ...

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        """The group gave these to this member. Nothing is fetched from them before `read_from`."""

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        """They are no longer this member's; `lost`: another member may have them already."""

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        """The wanted offset is outside the log (low..high): the partition has stopped, loudly (R17)."""

    def on_failure(self, error: BaseException) -> None:
        """The consumer's thread has died; the process should end and be started again."""


class Consumer(Protocol):
    """A consumer on a thread of its own. Methods may be called from the event loop and return at once."""

    def read_from(self, position: Position, epoch: int) -> None:
        """Fetch from `position` on; everything fetched before for this partition is dropped. Also resumes.

        On the group's consumer the partition must be assigned (else it is ignored: a revocation is on its way); on the
        group-less one this assigns it.
        """
        ...

    def stop_reading(self, topic: str, partition: int) -> None:
        """Fetch no more from it (group-less: unassign)."""
        ...

    def pause(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Backpressure: keep the position and the assignment, fetch nothing."""
        ...

    def resume(self, partitions: Sequence[tuple[str, int]]) -> None: ...

    def advise(self, offsets: Sequence[Position]) -> None:
        """Commit these next offsets to the group, for lag dashboards alone; failures are only counted."""
        ...

    async def aclose(self) -> None:
        """Leave the group and end the thread, within a few seconds."""
        ...


class OutRecord(NamedTuple):
    """A record to produce; the partition is always explicit."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None


class UndeliverableError(Exception):
    """This record can never be delivered: too large, or its topic or partition does not exist."""


class BatchRefusedError(Exception):
    """The broker refused a batch of several records, and which of them it was cannot be told.

    Open the next session with `one_by_one=True`: there it shows as an `UndeliverableError`. Sessions after that one
    batch again. Comes about only where `batch_bytes` exceeds `max.message.bytes` of a topic, or content is refused.
    """


class LogUnavailableError(Exception):
    """The log gave no answer in time, or none that can be used. Nothing is known about the request: try again later."""


class ProducerEvents(Protocol):
    """What a producer session tells its owner, on the event loop."""

    def on_delivered(self, tokens: list[object]) -> None:
        """Acknowledged by the broker, in order per partition."""

    def on_session_over(self, undeliverable: list[tuple[object, UndeliverableError]], error: BaseException) -> None:
        """The session has ended at a delivery failure (R2): nothing further is sent, nothing further is reported.

        What was not reported as delivered may or may not be in the log. `undeliverable`: the records that can never be
        delivered. `error` may be a `BatchRefusedError`.
        """


class Producer(Protocol):
    """One session of an idempotent producer (acks=all, no delivery time-out).

    Per partition a gapless prefix of what was given to it is in the log, in order.
    """

    def produce(self, record: OutRecord, token: object) -> bool:
        """Take a record for delivery.

        False: not taken. Try the same one again after the next `on_delivered` (the queue is full); or the session is
        over, and `on_session_over` has come or is about to.
        """
        ...

    async def aclose(self, flush_seconds: float) -> None:
        """Deliver what was taken, for at most that long, then end."""
        ...


class Admin(Protocol):
    """Topics and their facts."""

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Partition counts of those of `topics` that exist."""
        ...

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, bytes]:
        """The 16-byte ids that the broker gave to the topics; a topic deleted and made again has another."""
        ...

    async def create(self, topic: str, partitions: int, config: Mapping[str, str], copies: int | None = None) -> None:
        """`copies`: on how many brokers each partition is kept; None is the cluster's default."""
        ...

    async def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]: ...

    async def set_configs(self, topic: str, config: Mapping[str, str]) -> None:
        """Change these settings of a topic; its others stay. Raises ValueError for what the log will not have."""
        ...

    async def brokers(self) -> int:
        """How many brokers the cluster has now."""
        ...

    async def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """(first offset, end offset) of each partition."""
        ...

    async def offsets_at(self, partitions: Sequence[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int]:
        """The offset of the first record of each partition with this timestamp or a later one; else the end."""
        ...


class Reader(Protocol):
    """Reads single records again, by offset (inputs of queued work that the store no longer holds, R11)."""

    async def read(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, Record]:
        """The records at those offsets; one that retention has removed is missing from the answer."""
        ...

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record appended to this partition will get (R7, R13)."""
        ...
