"""Durable futures as a handler holds them: the result of a call, a step or a sleep, by its position in the journal.

They look like asyncio futures to a task that awaits them (the protocol is `_asyncio_future_blocking`, `get_loop`,
`add_done_callback`, `result`), so the same object works in a handler that the attempt drives by hand, in one that runs as a
task, and under `asyncio.gather` or `asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from barnabas.contract.ids import InvocationId
from barnabas.sdk.context import (
    RestateDurableCallFuture,
    RestateDurableFuture,
    RestateDurableSleepFuture,
    SendHandle,
)
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import Serde

if TYPE_CHECKING:
    from barnabas.runtime.attempt import Attempt

T = TypeVar("T")
Callback = Callable[[Any], object]


class JournalFuture(RestateDurableFuture[T]):
    """The outcome of one command. Completed by the attempt, with bytes as they stand in the journal.

    The bytes go through the serde at the first await, on the first run as on a replay, so both see the same value.
    """

    _asyncio_future_blocking = False

    def __init__(self, attempt: Attempt, position: int, serde: Serde[T] | None, call_id: bytes | None = None) -> None:
        self.attempt = attempt
        self.position = position
        self.serde = serde
        self.call_id = call_id
        self._done = False
        self._raw: bytes | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[tuple[Callback, contextvars.Context | None]] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:
            self._asyncio_future_blocking = True
            self.attempt.awaits(self)
            yield self
            if not self._done:
                raise RuntimeError("a durable future was resumed before it was completed")
        return self.result()

    # What the attempt calls.

    def complete(self, raw: bytes) -> None:
        """Set the result; its bytes are decoded when somebody asks."""
        self._raw = raw
        self._settle()

    def fail(self, error: BaseException) -> None:
        """Set the error that awaiting raises."""
        self._error = error
        self._settle()

    def _settle(self) -> None:
        self._done = True
        callbacks, self._callbacks = self._callbacks, None
        if callbacks:
            loop = asyncio.get_running_loop()
            for callback, context in callbacks:
                loop.call_soon(callback, self, context=context)

    # What asyncio asks of a future.

    def done(self) -> bool:
        return self._done

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._done:
            raise asyncio.InvalidStateError("the result is not there yet")
        if self._raw is not None:
            # Without a serde there is no value to give (a sleep).
            self._value = self.serde.deserialize(self._raw) if self.serde is not None else None
            self._raw = None
        return self._value  # type: ignore[return-value]

    def exception(self) -> BaseException | None:
        return self._error

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(self, callback: Callback, *, context: contextvars.Context | None = None) -> None:
        if self._done:
            asyncio.get_running_loop().call_soon(callback, self, context=context)
        elif self._callbacks is None:
            self._callbacks = [(callback, context)]
        else:
            self._callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callback) -> int:
        kept = [pair for pair in self._callbacks or () if pair[0] != callback]
        removed = len(self._callbacks or ()) - len(kept)
        self._callbacks = kept or None
        return removed

    def cancel(self, msg: object = None) -> bool:
        """A durable future is never cancelled by asyncio: what was journaled happens."""
        return False

    def cancelled(self) -> bool:
        return False


class CallFuture(JournalFuture[T], RestateDurableCallFuture[T]):
    """The result of a call to another handler."""

    async def invocation_id(self) -> str:
        return str(InvocationId(self.call_id or b""))


class SleepFuture(JournalFuture[None], RestateDurableSleepFuture):
    """The end of a sleep."""


class SentInvocation(SendHandle):
    """What is known of a message after it was sent: its id."""

    def __init__(self, call_id: bytes) -> None:
        self._call_id = call_id

    async def invocation_id(self) -> str:
        return str(InvocationId(self._call_id))


def terminal_error(code: int, message: str, metadata: dict[str, str] | None) -> TerminalError:
    """The error of a failed call or step, as it is raised at the await."""
    return TerminalError(message, status_code=code, metadata=metadata or None)
