"""The dead letters of a namespace, read from their topic: a list, the latest first, and single ones.

Functions raise LogUnavailableError. Called by the admin API and the command line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from barnabas.contract.codec import decode_dead_letter
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.records import DeadLetter
from barnabas.introspection.listing import MalformedCursor
from barnabas.log.port import Admin, Reader, Record

#: The reason that is shown for what lies on the topic and is no dead letter.
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter, and where on its topic it lies."""

    partition: int
    offset: int
    written_at: int  # ms
    letter: DeadLetter

    @property
    def name(self) -> str:
        """What people call it by: `partition-offset`."""
        return f"{self.partition}-{self.offset}"


class LetterPage(NamedTuple):
    """Some dead letters, and where older ones begin; None: there are none."""

    letters: list[Found]
    before: str | None


async def list_dead_letters(
    admin: Admin, reader: Reader, topic: str, limit: int, before: str | None = None
) -> LetterPage:
    """At most `limit`, the latest first, from before the place where a former page ended. Raises MalformedCursor."""
    partitions = (await admin.partitions([topic])).get(topic, 0)
    bounds = await admin.end_offsets([(topic, partition) for partition in range(partitions)])
    ends = [bounds[topic, partition][1] for partition in range(partitions)]
    if before is not None:
        ends = [min(end, told) for end, told in zip(ends, _parsed(before, partitions), strict=True)]
    found: list[Found] = []
    for partition, end in enumerate(ends):
        first = max(bounds[topic, partition][0], end - limit)
        records = await reader.read(topic, partition, range(first, end))
        found += [_found(partition, record) for record in records.values()]
    found.sort(key=lambda one: (one.written_at, one.partition, one.offset), reverse=True)
    for one in found[:limit]:
        ends[one.partition] = min(ends[one.partition], one.offset)
    more = any(end > bounds[topic, partition][0] for partition, end in enumerate(ends))
    return LetterPage(found[:limit], json.dumps(ends, separators=(",", ":")) if more and found else None)


async def read_dead_letter(admin: Admin, reader: Reader, topic: str, partition: int, offset: int) -> Found | None:
    """One of them; None: there is none at this place, or none any more."""
    if not 0 <= partition < (await admin.partitions([topic])).get(topic, 0):
        return None
    record = (await reader.read(topic, partition, [offset])).get(offset)
    return None if record is None else _found(partition, record)


def parse_name(text: str) -> tuple[int, int]:
    """Partition and offset of `partition-offset`. Raises ValueError."""
    partition, dash, offset = text.partition("-")
    if not dash or not partition.isdecimal() or not offset.isdecimal():
        raise ValueError(f"'{text}' names no dead letter: write PARTITION-OFFSET, as the list shows it")
    return int(partition), int(offset)


def _found(partition: int, record: Record) -> Found:
    try:
        letter = decode_dead_letter(record.value)
    except PoisonRecord as error:
        letter = DeadLetter(
            UNREADABLE, str(error), "", -1, -1, record.timestamp, record.key, record.value, record.headers or []
        )
    return Found(partition, record.offset, record.timestamp, letter)


def _parsed(text: str, partitions: int) -> Sequence[int]:
    try:
        ends = json.loads(text)
    except ValueError:
        ends = None
    if not isinstance(ends, list) or len(ends) != partitions or any(type(end) is not int or end < 0 for end in ends):
        raise MalformedCursor("this is no place among the dead letters: leave it out, or give what a former page says")
    return ends
