"""What context methods hand out: things to await, and handles of what was sent.

Abstract; the runtime (`runtime/futures.py`) has the classes that exist at run time. The names beginning with
Restate are those that handlers written for its SDK use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

from barnabas.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")


class DurableFuture(Awaitable[T], Generic[T]):
    """A result that is in the journal, or will be. It may be awaited often; every attempt sees the same outcome."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, T]: ...

    @abstractmethod
    def is_completed(self) -> bool:
        """Whether awaiting it gives (or raises) something at once. The same in every attempt: branch on it freely."""


class DurableCallFuture(DurableFuture[T]):
    """The result of a call to another handler. Awaiting it raises the callee's TerminalError if it had one."""

    @abstractmethod
    async def invocation_id(self) -> str:
        """The id of the called invocation."""

    @abstractmethod
    async def cancel_invocation(self) -> None:
        """Cancel the called invocation: the same as `ctx.cancel_invocation` with its id."""


class DurableSleepFuture(DurableFuture[None]):
    """The end of a sleep."""


RestateDurableFuture = DurableFuture
RestateDurableCallFuture = DurableCallFuture
RestateDurableSleepFuture = DurableSleepFuture


class SendHandle(ABC):
    """A message that was sent."""

    @abstractmethod
    async def invocation_id(self) -> str:
        """The id of the invocation that the message starts."""

    @abstractmethod
    async def cancel_invocation(self) -> None:
        """Cancel that invocation: the same as `ctx.cancel_invocation` with its id."""


class DurablePromise(ABC, Generic[T]):
    """A value that a workflow's handlers wait for and one of them sets, once; as long-lived as the workflow."""

    def __init__(self, name: str, serde: Serde[T] = DEFAULT_SERDE) -> None:
        self.name = name
        self.serde = serde

    @abstractmethod
    def resolve(self, value: T) -> Awaitable[None]:
        """Set the value. Raises TerminalError 409 if the promise is completed already."""

    @abstractmethod
    def reject(self, message: str, code: int = 500) -> Awaitable[None]:
        """Fail whoever waits with a TerminalError. Raises TerminalError 409 if the promise is completed already."""

    @abstractmethod
    def peek(self) -> Awaitable[T | None]:
        """The value, or None if it is not set yet. Awaiting it raises the TerminalError if it was rejected."""

    @abstractmethod
    def value(self) -> DurableFuture[T]:
        """The value, once it is set."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, T]:
        """The same as awaiting `value()`."""
