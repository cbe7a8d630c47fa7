"""Durable futures as a handler holds them: the result of a call, a step or a sleep, by its position in the journal.

They are awaitables and nothing more. A handler that is driven by hand hands the future itself out to its attempt; one
that runs as a task waits on an asyncio future of its own for each await. So whatever asyncio does to a wait (a timeout,
a cancelled task, `gather`) ends that wait and never touches the durable result, which can be awaited again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
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


class JournalFuture(RestateDurableFuture[T]):
    """The outcome of one command. Completed by the attempt, with bytes as they stand in the journal.

    The bytes go through the serde at the first await, on the first run as on a replay, so both see the same value.
    """

    def __init__(self, attempt: Attempt, position: int, serde: Serde[T] | None, call_id: bytes | None = None) -> None:
        self.attempt = attempt
        self.position = position
        self.serde = serde
        self.call_id = call_id
        self._done = False
        self._raw: bytes | None = None
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:
            if self.attempt.drives(self):
                yield self
            else:
                yield from self.wait_in_task()
            if not self._done:
                raise RuntimeError("a durable future was resumed before it was completed")
        return self._result()

    def wait_in_task(self) -> Generator[Any, Any, None]:
        """Wait as an asyncio task does, on a future of this wait's own."""
        if self._done:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        with self.attempt.waiting(waiter):
            yield from waiter

    # What the attempt calls.

    def done(self) -> bool:
        """Whether the outcome is there."""
        return self._done

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
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None

    def _result(self) -> T:
        if self._error is not None:
            raise self._error
        if self._raw is not None:
            # Without a serde there is no value to give (a sleep).
            self._value = self.serde.deserialize(self._raw) if self.serde is not None else None
            self._raw = None
        return self._value  # type: ignore[return-value]


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
