"""Durable futures as a handler holds them: the result of one command, by its position in the journal.

They are awaitables and nothing more. A handler that is driven by hand hands the future itself out to its attempt; one
that runs as a task waits on an asyncio future of its own for each await. So whatever asyncio does to a wait (a timeout,
a cancelled task, `gather`) ends that wait and never touches the durable result, which can be awaited again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from barnabas.contract.ids import InvocationId
from barnabas.runtime import journal as j
from barnabas.sdk.context import (
    RestateDurableCallFuture,
    RestateDurableFuture,
    RestateDurableSleepFuture,
    SendHandle,
)
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import Serde
from barnabas.sdk.waits import Wait

if TYPE_CHECKING:
    from barnabas.runtime.attempt import Attempt

T = TypeVar("T")


class JournalFuture(Wait, RestateDurableFuture[T]):
    """The outcome of one command. Completed by the attempt, with bytes as they stand in the journal.

    The bytes go through the serde at the first await, on the first run as on a replay, so both see the same value.
    """

    attempt: Attempt
    _raw: bytes | None = None
    _value: T | None = None
    _error: BaseException | None = None

    def __init__(self, attempt: Attempt, position: int, serde: Serde[T] | None, call_id: bytes | None = None) -> None:
        self.attempt = attempt
        self.position = position
        self.serde = serde
        self.call_id = call_id

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:  # as `until_done`, without a generator of its own
            if self.attempt.drives(self):
                yield self
            else:
                yield from self.wait_in_task()
            if not self._done:
                raise RuntimeError("a durable future was resumed before it was completed")
        return self._result()

    def describe(self) -> str:
        return f"position {self.position}"

    # What the attempt calls.

    def answer(self, entry: j.Entry) -> None:
        """Set the outcome that the notification tells."""
        if entry[0] == j.RESULT:
            self._raw = entry[3]
        else:
            self._error = terminal_error(entry[3], entry[4], entry[5])
        self.settle()

    def complete(self, raw: bytes | None) -> None:
        """Set the result; its bytes are decoded when somebody asks. None stands for itself."""
        self._raw = raw
        self.settle()

    def fail(self, error: BaseException) -> None:
        """Set the error that awaiting raises."""
        self._error = error
        self.settle()

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

    async def cancel_invocation(self) -> None:
        cancel(self.attempt, self.call_id or b"")


class SleepFuture(JournalFuture[None], RestateDurableSleepFuture):
    """The end of a sleep."""


class SentInvocation(SendHandle):
    """What is known of a message after it was sent: its id."""

    def __init__(self, attempt: Attempt, call_id: bytes) -> None:
        self._attempt = attempt
        self._call_id = call_id

    async def invocation_id(self) -> str:
        return str(InvocationId(self._call_id))

    async def cancel_invocation(self) -> None:
        cancel(self._attempt, self._call_id)


def cancel(attempt: Attempt, id_: bytes) -> None:
    """Journal that this invocation is asked to end, and ask it."""
    must_know(attempt, id_)
    if not attempt.command([j.CANCEL, "", id_])[1]:
        attempt.host.cancel(attempt.live, id_)


def must_know(attempt: Attempt, id_: bytes) -> None:
    """End the attempt if the next command is a new one and the id's service is not registered (yet)."""
    if attempt.replaying:
        return
    try:
        attempt.host.check_known(id_)
    except LookupError as error:
        raise attempt.crash(error) from error


def terminal_error(code: int, message: str, metadata: dict[str, str] | None) -> TerminalError:
    """The error of a failed call or step, as it is raised at the await."""
    return TerminalError(message, status_code=code, metadata=metadata or None)
