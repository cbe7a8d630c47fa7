"""Handlers that need an asyncio task: how one that is driven by hand asks for it, how a task takes it over, and when
such a handler gets to see the next result.

Used by the attempt; the driver puts the probe where the current task would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

from barnabas.sdk.errors import SuspendedException, TerminalError
from barnabas.sdk.waits import Wait

if TYPE_CHECKING:
    from barnabas.runtime.attempt import Attempt

#: Turns of the loop in which a handler did nothing, after which all its branches count as waiting. A branch that goes
#: on when another one ends (`asyncio.gather`, a task group) takes two.
_CALM: Final = 5

log = logging.getLogger("barnabas.engine")


class NeedsTask(BaseException):
    """Raised inside a handler that asks for its task while it has none; never leaves the attempt."""


class TaskProbe:
    """Stands where the current task would be while handlers are driven by hand (the driver enters it).

    Being there is enough for code that only asks whether asyncio runs (sniffio); any use of it means that a real task
    is wanted.
    """

    def get_name(self) -> str:
        """From Python 3.12 on every log record asks the current task for its name; a log line needs no task."""
        return "barnabas"

    def __hash__(self) -> int:
        raise NeedsTask("__hash__")  # anyio keeps what it knows of a task in a dictionary

    def __getattr__(self, name: str) -> Any:
        raise NeedsTask(name)


class Branches:
    """The waits of a handler that runs as a task, which may have branches in tasks of its own.

    One wait is ended at a time, and all branches run on to their next waits before the next entry of the journal is
    looked at, as when a handler is driven by hand. So what it sees at any moment is the same in every attempt, unless
    it depends on something foreign.
    """

    __slots__ = ("_attempt", "_last", "_task", "_turns", "_waiters")

    def __init__(self, attempt: Attempt, task: asyncio.Task[Any]) -> None:
        self._attempt = attempt
        self._task = task
        self._waiters: dict[asyncio.Future[None], tuple[Wait, asyncio.Task[Any] | None]] = {}  # oldest first
        self._turns = 0  # of the loop, before the next entry is looked at; 0 while nobody counts
        self._last = 0  # when the handler did something, or the journal grew, ms

    @property
    def running_code(self) -> bool:
        """Whether the handler may be at work: it waits for something foreign, or is about to go on."""
        return not self._waiters or any(waiter.done() for waiter in self._waiters)

    @property
    def calm_since(self) -> int | None:
        """Since when nothing has happened, ms; None while something may in the next turns of the loop."""
        return None if self._turns else self._last

    def describe(self) -> str:
        """What it waits for, for an error's text."""
        return " and ".join(wait.describe() for wait, _ in self._waiters.values())

    @contextlib.contextmanager
    def waiting(self, waiter: asyncio.Future[None], wait: Wait) -> Iterator[None]:
        """Around the wait for `wait`, which completes `waiter`."""
        self._waiters[waiter] = (wait, asyncio.current_task())
        self.stirred()
        try:
            yield
        except BaseException as error:
            self._keep_interruption(waiter, error)
            raise
        finally:
            del self._waiters[waiter]
            self.stirred()

    def _keep_interruption(self, waiter: asyncio.Future[None], error: BaseException) -> None:
        """asyncio ended the wait (a timeout) in the turn in which a cancellation interrupted it: that is not lost."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() not in (None, error):
            self._attempt.cancel_later()

    def interrupt(self, error: TerminalError) -> bool:
        """Raise in the oldest wait. False if there is none."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
                return True
        return False

    def drop(self) -> None:
        """The attempt is over: what still waits, in the handler or in a branch that it left behind, ends."""
        for waiter, (_, task) in self._waiters.items():
            if not waiter.done():
                _end_quietly(task)
                waiter.set_exception(SuspendedException())
        if not self._waiters:
            self._task.cancel()  # it waits for something foreign

    def stirred(self) -> None:
        """The handler has done something, or the journal has grown."""
        self._last = self._attempt.host.now
        if self._turns:
            self._turns = _CALM
        elif self._attempt.lags:
            self._turns = _CALM
            self._task.get_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turns -= 1
        if self._turns and self._attempt.lags:
            self._task.get_loop().call_soon(self._turn)
            return
        self._turns = 0
        while not self._attempt.over and not self.running_code and self._attempt.apply_next():
            pass


class Rest:
    """The rest of a coroutine that was driven by hand, for a task: it begins with the wait that came out last."""

    def __init__(self, coro: Coroutine[Any, Any, Any], awaited: Any) -> None:
        self._coro = coro
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited = self._awaited
        while True:
            resume: Callable[[], Any]
            sent: Any = None
            try:
                if isinstance(awaited, Wait):
                    yield from awaited.wait_in_task()
                else:
                    sent = yield awaited
            except GeneratorExit:
                self._coro.close()
                raise
            except BaseException as error:  # the handler decides what becomes of it
                resume = functools.partial(self._coro.throw, error)
            else:
                resume = functools.partial(self._coro.send, sent)
            try:
                awaited = resume()
            except StopIteration as stop:
                return stop.value


async def finish(rest: Awaitable[Any]) -> Any:
    """`rest` as the coroutine that a task wants. A SystemExit would leave the task and end the process."""
    try:
        return await rest
    except SystemExit as error:
        raise RuntimeError(f"the handler raised {error!r}") from error


def suspended() -> SuspendedException:
    """What ends the code that runs now: its attempt is over."""
    with contextlib.suppress(RuntimeError):  # driven by hand, and without a loop
        _end_quietly(asyncio.current_task())
    return SuspendedException()


def _end_quietly(task: asyncio.Task[Any] | None) -> None:
    """A suspension is about to be raised in this task. That nobody asks a branch for it is no error for the log."""
    if isinstance(task, asyncio.Task):  # and not the probe
        task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("%s ended, when its attempt was over, with %r", task.get_name(), error)


def close(coro: Coroutine[Any, Any, Any], target: str) -> None:
    """Drop a coroutine. What its `finally` blocks and `except BaseException` do with that is no longer of interest."""
    try:
        coro.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        log.debug("%s raised while it was dropped: %r", target, error)
