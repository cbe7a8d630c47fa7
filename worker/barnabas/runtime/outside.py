"""Results that come from outside for a handler that may not have asked yet: of awakeables, and named signals.

An awakeable's can lie in the journal before the command that makes the awakeable (R7); the first one counts. The n-th
wait for a signal's name, in the order of the commands, gets the n-th signal of that name. Part of an attempt, which
makes one when it first needs it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from barnabas.runtime.futures import JournalFuture
from barnabas.runtime.journal import Entry


class Outside:
    """What was applied and is not asked for yet, and who has asked and waits."""

    __slots__ = ("_early", "_signals", "_waiting")

    def __init__(self) -> None:
        self._early: dict[int, Entry] = {}
        self._signals: dict[str, deque[Entry]] = {}
        self._waiting: dict[str, deque[JournalFuture[Any]]] = {}

    def has(self, position: int) -> bool:
        """Whether the awakeable that will be at this position has its result."""
        return position in self._early

    def keep(self, entry: Entry) -> None:
        """The result of an awakeable that does not exist yet."""
        self._early.setdefault(entry[1], entry)

    def take(self, position: int) -> Entry | None:
        """The result that came before the awakeable, if one did."""
        return self._early.pop(position, None)

    def signalled(self, entry: Entry) -> None:
        """A signal was applied: it goes to the first who waits for its name, or to the next who will."""
        waiting = self._waiting.get(entry[1])
        if waiting:
            waiting.popleft().answer(entry)
        else:
            self._signals.setdefault(entry[1], deque()).append(entry)

    def wait_for(self, name: str, future: JournalFuture[Any]) -> None:
        """The next signal of this name is the future's."""
        come = self._signals.get(name)
        if come:
            future.answer(come.popleft())
        else:
            self._waiting.setdefault(name, deque()).append(future)
