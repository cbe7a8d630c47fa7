"""Key queues: exclusive handlers of one key run one at a time, in order of acceptance.

A key has a lane only while it is busy. What waits in a lane is in memory up to a limit per shard; beyond it the lane
*spills*: the store keeps id and offset, and the input is read again from Kafka when its turn comes near (R11).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from barnabas.runtime.live import Live
from barnabas.store import keys
from barnabas.store.port import Op

#: The queue of every lane in which nobody has waited yet: an empty deque takes 600 bytes, and busy keys are many.
_NOBODY: Final[deque[Live]] = deque()


@dataclass(slots=True)
class Lane:
    """One busy key: who runs, who waits in memory, and how many wait in the store."""

    key: str
    head: Live | None  # None: the next one is being read from the store
    queue: deque[Live] = field(default_factory=lambda: _NOBODY)
    spilled: int = 0
    refilling: bool = False  # the store is being asked about its spilled work
    elsewhere_since: int = 0  # append time of the oldest spilled record that Kafka alone has; 0: there is none
    asked_at: int = 0  # the last commit known to be in the store when they were asked for


class Lanes:
    """The lanes of one shard."""

    def __init__(self, max_queued: int) -> None:
        self._max_queued = max_queued
        self._lanes: dict[str, Lane] = {}
        self._heads: dict[str, bytes | None] = {}  # keys that others wait for, by who runs; None: nobody waits any more
        self.queued = 0  # in memory, over all lanes
        self.spilled = 0  # in the store alone, over all lanes

    def get(self, key: str) -> Lane | None:
        """The key's lane, if it is busy."""
        return self._lanes.get(key)

    def values(self) -> list[Lane]:
        """All lanes."""
        return list(self._lanes.values())

    def open(self, key: str, head: Live | None) -> Lane:
        """The key is busy from now on, with this invocation."""
        lane = self._lanes[key] = Lane(key, head)
        return lane

    def must_spill(self, lane: Lane) -> bool:
        """Whether the next arrival for this lane goes to the store alone.

        Once a lane spills, all that follows does: order.
        """
        return lane.spilled > 0 or self.queued >= self._max_queued

    def enqueue(self, lane: Lane, live: Live) -> None:
        """Wait behind everything accepted before for this key."""
        if lane.queue is _NOBODY:
            lane.queue = deque()
        lane.queue.append(live)
        self.queued += 1
        self._note_head(lane)

    def waits(self, live: Live) -> bool:
        """Whether it waits behind another of its key, in memory."""
        lane = self._lanes.get(live.key or "") if live.exclusive else None
        return lane is not None and lane.head is not live and live in lane.queue

    def withdraw(self, live: Live) -> None:
        """It waits no longer, and is not the one that runs."""
        lane = self._lanes.get(live.key or "")
        if lane is not None and self.waits(live):
            lane.queue.remove(live)
            self.queued -= 1
            self._note_head(lane)

    def _note_head(self, lane: Lane) -> None:
        waited_for = lane.head is not None and (lane.queue or lane.spilled)
        self._heads[lane.key] = lane.head.id if waited_for and lane.head is not None else None

    def seal(self) -> list[Op]:
        """The operations that store who is waited for, as far as that has changed since the last call."""
        if not self._heads:
            return []
        put: list[Any] = []
        gone: list[str] = []
        for key, head in self._heads.items():
            if head is None:
                gone.append(key)
            else:
                put += (key, head)
        self._heads = {}
        ops: list[Op] = [("HSET", keys.HEADS, *put)] if put else []
        return [*ops, ("HDEL", keys.HEADS, *gone)] if gone else ops

    def spill(self, lane: Lane, count: int = 1) -> None:
        """Note that more wait in the store."""
        lane.spilled += count
        self.spilled += count
        self._note_head(lane)

    def unspill(self, lane: Lane, count: int) -> None:
        """Note that fewer wait in the store."""
        lane.spilled -= count
        self.spilled -= count
        if lane.spilled == 0:
            lane.elsewhere_since = 0

    def wants_refill(self, lane: Lane) -> bool:
        """Whether spilled work of this lane should be read again now: when it has nothing left to claim."""
        return lane.spilled > 0 and not lane.refilling and not lane.queue

    def release(self, live: Live) -> Live | None:
        """The invocation is over: claim the next of its key. None: nobody waits in memory."""
        assert live.key is not None
        lane = self._lanes.get(live.key)
        if lane is None or lane.head is not live:
            return None
        return self.claim(lane)

    def claim(self, lane: Lane) -> Live | None:
        """Make the next one that waits in memory the lane's head. A lane that nobody waits in is closed."""
        if lane.queue:
            self.queued -= 1
            lane.head = lane.queue.popleft()
            self._note_head(lane)
            return lane.head
        if lane.key in self._heads or lane.spilled:
            self._heads[lane.key] = None
        lane.head = None
        if lane.spilled == 0:
            del self._lanes[lane.key]
        return None
