"""Handlers that need an asyncio task: how one that is driven by hand asks for it, and how a task takes it over.

Used by the attempt; the driver puts the probe where the current task would be.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from barnabas.sdk.waits import Wait

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
    """`rest` as the coroutine that a task wants."""
    return await rest


def close(coro: Coroutine[Any, Any, Any], target: str) -> None:
    """Drop a coroutine. What its `finally` blocks and `except BaseException` do with that is no longer of interest."""
    try:
        coro.close()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        log.debug("%s raised while it was dropped: %r", target, error)
