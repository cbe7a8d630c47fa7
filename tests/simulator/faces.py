"""The servers as the simulator has them: a log, and a store with its eyes open. Plain data; the world drives both.

The log has gaps in its offsets (legal on Kafka: R17). The store is the shipped in-memory core, watched: every applied
commit is looked at for what only an observer of all workers can see (K8, and which values were ever committed).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from random import Random
from typing import Any

from barnabas.log.port import OutRecord, Record, UndeliverableError
from barnabas.runtime.kept import unpack_kept
from barnabas.store import keys
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Applied, Commit, Refused, Shard, Taken


class Violation(Exception):
    """A promise was broken. `check` names it (K2, P5, ...)."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check


MAX_RECORD_BYTES = 4_000

Place = tuple[str, int]


class Log:
    """Topics by name and partition; offsets rise, now and then by more than one."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.partitions: dict[Place, list[Record]] = {}
        self._next: dict[Place, int] = {}

    def create(self, topic: str, partitions: int) -> None:
        for partition in range(partitions):
            self.partitions[topic, partition] = []
            self._next[topic, partition] = 0

    def append(self, record: OutRecord, now: int) -> Record:
        """Raises UndeliverableError for a record that no broker would take."""
        place = (record.topic, record.partition)
        if len(record.value or b"") > MAX_RECORD_BYTES and not record.topic.endswith("dead-letters"):
            raise UndeliverableError(f"a record of {len(record.value or b'')} bytes is too large for {record.topic}")
        # The gap comes before the record: the engine is not told of a partition that ends in one (a transaction's
        # marker), and would wait for its end.
        offset = self._next[place] + (self._random.random() < 0.1)
        headers: list[tuple[str, bytes | None]] | None = [*record.headers] if record.headers else None
        written = Record(offset, now, record.key, record.value, headers)
        self.partitions[place].append(written)
        self._next[place] = offset + 1
        return written

    def read(self, place: Place, offset: int, count: int) -> list[Record]:
        records = self.partitions[place]
        start = bisect_left(records, offset, key=lambda one: one.offset)
        return records[start : start + count]

    def end(self, place: Place) -> int:
        return self._next[place]


class WatchedStore(MemoryCore):
    """The store, and what it has seen: the number and lease of every shard, and all marks that a commit ever held."""

    def __init__(self, on_commit: Callable[[Commit], None] | None = None) -> None:
        super().__init__()
        self._on_commit = on_commit  # is told of every commit that was applied
        self.checked = True  # whether K8 is looked at here
        self.commits = 0
        self.takes = 0
        self._held: dict[Shard, tuple[bytes, int]] = {}
        self.committed_marks: set[bytes] = set()
        self.expiries: dict[bytes, list[int]] = {}  # of outcomes that commits kept, by id
        self._marks_made: dict[tuple[Shard, int], list[tuple[Any, bytes]]] = {}

    def take(self, shard: Shard, lease: bytes, owner: str) -> Taken:
        taken = super().take(shard, lease, owner)
        self.takes += 1
        self._held[shard] = (lease, taken.number)
        return taken

    def commit(self, commit: Commit) -> Applied | Refused:
        outcome = super().commit(commit)
        if isinstance(outcome, Applied) and commit.ops:
            self.commits += 1
            self._look_at(commit)
            if self._on_commit is not None:
                self._on_commit(commit)
        return outcome

    def _look_at(self, commit: Commit) -> None:
        lease, number = self._held[commit.shard]
        if self.checked and (commit.lease, commit.number) != (lease, number + 1):
            raise Violation("K8", f"{commit.shard}: commit {commit.number} was applied after {number}")
        self._held[commit.shard] = (lease, commit.number)
        for op in commit.ops:
            if op[:2] == ("HSET", keys.KEPT):
                self.expiries.setdefault(op[2], []).append(unpack_kept(op[3]).expires_at)
        for engine, mark in self._marks_made.get((commit.shard, commit.number), ()):
            if engine.sender.lease == commit.lease:
                self.committed_marks.add(mark)

    def mark_made(self, engine: Any, mark: bytes) -> None:
        """A handler has written a mark, which the engine's next commit will hold (it, or what has overwritten it)."""
        self._marks_made.setdefault((engine.shard, engine.next_commit), []).append((engine, mark))

    def photograph(self) -> Any:
        return self.snapshot(), dict(self._held)

    def fall_back(self, photograph: Any) -> None:
        snapshot, held = photograph
        self.restore(snapshot)
        self._held = dict(held)
