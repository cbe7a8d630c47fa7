"""The next invocations to become due, in order; all others are in the store alone: a million timers cost no memory.

Up to the *horizon* everything that waits is in memory; what is behind it is there only until the store has it. A read
of the store takes time in which engine and store both go on. So while one is under way nothing is forgotten that it
might not show (or might still show): `asked` says when it began, `answered` that it is over. Called by the scheduler's
engine.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Final

from barnabas.runtime.scheduling.waiting import Waiting

#: Before the first read of the store: whatever it has lies behind.
_NOTHING: Final = (-1, -1)


class Window:
    """The waiting invocations of one shard, those that it knows. It holds `size` to twice as many."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.horizon: tuple[int, int] | None = _NOTHING  # None: everything that waits is in memory
        self.record_bytes = 0  # in memory
        self._order: list[Waiting] = []
        self._near: dict[bytes, Waiting] = {}
        self._far: dict[bytes, Waiting] = {}  # behind the horizon, or stranded; until the store has them
        self._gone: dict[bytes, int] = {}  # members that the store may still show, by the commit that removes them
        self._reads: dict[int, int] = {}  # under way: the last commit that they are sure to see
        self._tokens = count(1)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, id_: bytes) -> Waiting | None:
        """One that waits, if it is in memory."""
        return self._near.get(id_) or self._far.get(id_)

    def is_gone(self, waiting: Waiting) -> bool:
        """Whether something that a read has shown is over."""
        return waiting.member in self._gone

    @property
    def first(self) -> Waiting | None:
        """The next one, if the window knows it."""
        return self._order[0] if self._order else None

    def front(self, most: int) -> Iterable[Waiting]:
        """The first ones, in order."""
        return islice(self._order, most)

    # -- changes

    def add(self, waiting: Waiting) -> None:
        """Let it wait. Its `commit` is that which takes it to the store."""
        self.record_bytes += len(waiting.record or b"")
        if waiting.stranded or not self._within(waiting):
            self._far[waiting.id] = waiting
            return
        self._insert(waiting)
        if len(self._order) > 2 * self.size:
            self._cut()

    def remove(self, waiting: Waiting, commit: int) -> None:
        """It waits no longer; `commit` says so."""
        if self.get(waiting.id) is waiting:  # and not shown by a read alone
            self._take_out(waiting)
        if waiting.place is not None:
            self._gone[waiting.member] = commit

    def touch(self, waiting: Waiting) -> None:
        """It has changed (`commit`): until the store has that, it is known here. It may come from a read."""
        if self.get(waiting.id) is None:
            self.add(waiting)

    def move(self, waiting: Waiting, *, stranded: bool) -> None:
        """Put it to those whose service is unknown, or back from there."""
        if self.get(waiting.id) is not None:
            self._take_out(waiting)
        waiting.stranded = stranded
        self.add(waiting)

    def forget_records(self, most: int, keep_until: int, number: int) -> None:
        """Drop records beyond `most` bytes from memory, the latest first, and none that is due before `keep_until`.

        `number`: the last commit; what is newer is nowhere else.
        """
        for waiting in reversed(self._order):
            if self.record_bytes <= most or waiting.due <= keep_until:
                return
            if waiting.record is not None and waiting.place is not None and waiting.commit <= number:
                self.record_bytes -= len(waiting.record)
                waiting.record = None

    def loaded_record(self, waiting: Waiting, record: bytes) -> None:
        """Its record was read again."""
        waiting.record = record
        self.record_bytes += len(record)

    # -- reads of the store

    def asked(self, number: int) -> int:
        """A read begins, and is sure to see commit `number`. Returns what `answered` wants."""
        token = next(self._tokens)
        self._reads[token] = number
        return token

    def seen(self, token: int) -> int:
        """The last commit that this read was sure to see."""
        return self._reads[token]

    def answered(self, token: int, number: int) -> None:
        """The read is over, and what it showed has been taken in. `number`: the last commit."""
        del self._reads[token]
        self.forget(number)

    def forget(self, number: int) -> None:
        """Drop what the store has, and shows to every read. `number`: the last commit."""
        seen = min((number, *self._reads.values()))
        for waiting in [one for one in self._far.values() if one.commit <= seen]:
            self._take_out(waiting)
        for member in [member for member, commit in self._gone.items() if commit <= seen]:
            del self._gone[member]

    @property
    def wanted(self) -> int:
        """How many to read from the front of the store's sorted set; 0: no need."""
        if self.horizon is None or len(self._order) > self.size // 2:
            return 0
        return self.size + len(self._gone)

    def merge(self, read: Sequence[Waiting], *, whole: bool) -> None:
        """The front of the store's sorted set, in order; `whole`: there is nothing behind it."""
        for one in read:
            known = self._near.get(one.id) or self._far.get(one.id)
            if one.member in self._gone or (known is not None and (known.stranded or known.id in self._near)):
                continue
            self._bring_near(known or one)
        if whole:
            self.horizon = None
        elif read and self.horizon is not None:
            self.horizon = max(self.horizon, read[-1].order)
        for waiting in [one for one in self._far.values() if not one.stranded and self._within(one)]:
            self._bring_near(waiting)

    # -- inside

    def _within(self, waiting: Waiting) -> bool:
        return self.horizon is None or waiting.order <= self.horizon

    def _bring_near(self, waiting: Waiting) -> None:
        if self._far.pop(waiting.id, None) is None:
            self.record_bytes += len(waiting.record or b"")
        self._insert(waiting)

    def _insert(self, waiting: Waiting) -> None:
        insort(self._order, waiting, key=_order)
        self._near[waiting.id] = waiting

    def _take_out(self, waiting: Waiting) -> None:
        if self._far.pop(waiting.id, None) is None:
            del self._near[waiting.id]
            at = bisect_left(self._order, waiting.order, key=_order)
            while self._order[at] is not waiting:
                at += 1
            del self._order[at]
        self.record_bytes -= len(waiting.record or b"")

    def _cut(self) -> None:
        """Too many: the last half goes back behind the horizon."""
        late, self._order = self._order[self.size :], self._order[: self.size]
        self.horizon = self._order[-1].order
        for waiting in late:
            del self._near[waiting.id]
            self._far[waiting.id] = waiting  # until `forget` finds that the store has it


def _order(waiting: Waiting) -> tuple[int, int]:
    return waiting.order
