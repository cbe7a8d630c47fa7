"""The timers of a shard: sleeps (kept in the store too) and retries (which the invocation's header holds).

Due times are milliseconds of the store's clock. A timer whose invocation is gone is skipped when it comes up.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

#: Position of the timer that retries an invocation as a whole.
RETRY = 0


class Timer(NamedTuple):
    """`position` is that of the sleep or step in the journal, or RETRY."""

    due: int
    id: bytes
    position: int
    step: bool


class Timers:
    """A heap of timers, and what the store must hear about the sleeps among them."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        # Armed sleeps by invocation. There is mostly one: a set would take four times the memory of a tuple.
        self._sleeps: dict[bytes, tuple[int, ...]] = {}
        self._put: dict[bytes, int] = {}
        self._gone: set[bytes] = set()

    def arm_sleep(self, id_: bytes, position: int, due: int) -> None:
        """Wake this position of the journal at `due`."""
        heapq.heappush(self._heap, Timer(due, id_, position, False))
        self._sleeps[id_] = (*self._sleeps.get(id_, ()), position)
        self._put[_member(id_, position)] = due

    def arm_retry(self, id_: bytes, due: int) -> None:
        """Try the invocation again at `due`."""
        heapq.heappush(self._heap, Timer(due, id_, RETRY, False))

    def arm_step(self, id_: bytes, position: int, due: int) -> None:
        """Try the step again at `due`."""
        heapq.heappush(self._heap, Timer(due, id_, position, True))

    def next_due(self) -> int | None:
        """When the next timer is due."""
        return self._heap[0].due if self._heap else None

    def pop_due(self, now: int) -> list[Timer]:
        """Timers whose time has come; sleeps that were ended meanwhile are left out."""
        due: list[Timer] = []
        while self._heap and self._heap[0].due <= now:
            timer = heapq.heappop(self._heap)
            if timer.position == RETRY or timer.step:
                due.append(timer)
            elif timer.position in self._sleeps.get(timer.id, ()):
                due.append(timer)
                self._end(timer.id, timer.position)
        return due

    def forget(self, id_: bytes) -> None:
        """The invocation is over: its sleeps are of no interest any more."""
        for position in self._sleeps.get(id_, ()):
            self._end(id_, position)

    def _end(self, id_: bytes, position: int) -> None:
        positions = tuple(one for one in self._sleeps[id_] if one != position)
        if positions:
            self._sleeps[id_] = positions
        else:
            del self._sleeps[id_]
        member = _member(id_, position)
        if self._put.pop(member, None) is None:
            self._gone.add(member)

    def seal(self) -> tuple[list[bytes | int], list[bytes]]:
        """For the next commit: scores and members alternating to add, and members to remove."""
        put: list[bytes | int] = []
        for member, due in self._put.items():
            put += (due, member)
        gone = list(self._gone)
        self._put = {}
        self._gone = set()
        return put, gone

    def restore(self, members: list[tuple[bytes, float]]) -> None:
        """Take the sleeps as the store has them."""
        for member, due in members:
            id_, position = member[:-4], int.from_bytes(member[-4:], "big")
            heapq.heappush(self._heap, Timer(int(due), id_, position, False))
            self._sleeps[id_] = (*self._sleeps.get(id_, ()), position)


def _member(id_: bytes, position: int) -> bytes:
    return id_ + position.to_bytes(4, "big")
