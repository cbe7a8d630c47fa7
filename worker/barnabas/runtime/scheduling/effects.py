"""What the scheduler's engine asks of its loader (`scheduler/loading.py`), beside the effects of every engine.

Each carries the token of its read (`Window.asked`), which its answer gives back.
"""

from __future__ import annotations

from dataclasses import dataclass

from barnabas.runtime.effects import Read


@dataclass(frozen=True, slots=True)
class ReadWindow(Read):
    """Read the first `count` of those that wait, with their headers -> `Scheduler.on_window`."""

    token: int
    count: int


@dataclass(frozen=True, slots=True)
class ReadRecords(Read):
    """Read the records of these -> `Scheduler.on_records_read`."""

    token: int
    ids: list[bytes]


@dataclass(frozen=True, slots=True)
class ReadStranded(Read):
    """Read the first `count` of those that waited for this service to be registered -> `Scheduler.on_stranded`."""

    token: int
    service: str
    count: int
