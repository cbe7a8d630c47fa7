"""What a handler can durably wait for, as seen by the attempt that drives it and by the combinators.

`runtime/futures.py` derives the results of single commands from `Wait`, `sdk/combinators.py` those that are made of
several. The attempt (`runtime/attempt.py`) applies its journal entry by entry until what the handler waits for is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Machine(Protocol):
    """The attempt, as far as waits are concerned."""

    @property
    def reached(self) -> int:
        """How many entries of the journal the handler has come past."""

    def drives(self, wait: Wait) -> bool:
        """The handler is about to wait for this. True: driven by hand, hand it out. False: as a task, use `waiting`."""

    def waiting(self, waiter: asyncio.Future[None], wait: Wait) -> AbstractContextManager[None]:
        """Around the wait of a task on an asyncio future of its own."""


class Watcher(Protocol):
    """Wants to know when something else is done."""

    def part_done(self, part: Wait) -> None:
        """This is done now; called once for each `watch`."""


class Wait:
    """Something that is done once certain entries of the journal were applied."""

    attempt: Machine
    #: Where in the journal it came to be done: the same in every attempt, so what is sorted by it is too.
    order: int = 0
    # On the class, since most futures live and die without any.
    _done: bool = False
    _waiters: list[asyncio.Future[None]] | None = None
    _watchers: list[Watcher] | None = None

    def done(self) -> bool:
        """Whether it is over."""
        return self._done

    def is_completed(self) -> bool:
        """Whether awaiting it gives (or raises) something at once. The same in every attempt."""
        return self.done()

    def describe(self) -> str:
        """What it waits for, for an error's text."""
        return "a durable future"

    def until_done(self) -> Generator[Any, Any, None]:
        """Wait, in whichever way the handler is driven."""
        if self.done():
            return
        if self.attempt.drives(self):
            yield self
        else:
            yield from self.wait_in_task()
        if not self.done():
            raise RuntimeError("a durable future was resumed before it was completed")

    def wait_in_task(self) -> Generator[Any, Any, None]:
        """Wait as an asyncio task does, on a future of this wait's own."""
        if self.done():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        with self.attempt.waiting(waiter, self):
            yield from waiter

    def watch(self, watcher: Watcher) -> None:
        """Tell it when this is done."""
        if self._watchers is None:
            self._watchers = []
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Take one `watch` back, if it is still there."""
        if self._watchers is not None and watcher in self._watchers:
            self._watchers.remove(watcher)

    def settle(self) -> None:
        """It is done: wake up who waits."""
        self._done = True
        self.order = self.attempt.reached
        if self._waiters is not None:
            self.wake()
        if self._watchers is not None:
            watchers, self._watchers = self._watchers, None
            for watcher in watchers:
                watcher.part_done(self)

    def wake(self) -> None:
        """Let the tasks that wait for this go on."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)


class Known(Generic[T]):
    """An awaitable whose value is there already: a state read of an owned shard costs no wait."""

    __slots__ = ("_value",)

    order = 0

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, T]:
        return self._value
        yield

    def done(self) -> bool:
        """Always."""
        return True

    def is_completed(self) -> bool:
        """Always."""
        return True
