"""What a handler can do: the contexts it is given, by the names and signatures of Restate's Python SDK.

Abstract; `runtime/context.py` implements it. What is not part of Barnabas (scopes) is concrete here and raises
NotYetSupported, so that code that uses it type-checks and fails with a plain answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from random import Random
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

from barnabas.sdk.clients import Clients
from barnabas.sdk.errors import NotYetSupported
from barnabas.sdk.futures import (
    DurableCallFuture,
    DurableFuture,
    DurablePromise,
    DurableSleepFuture,
    RestateDurableCallFuture,
    RestateDurableFuture,
    RestateDurableSleepFuture,
    SendHandle,
)
from barnabas.sdk.handler_type import HandlerType
from barnabas.sdk.request import AttemptFinishedEvent, Request
from barnabas.sdk.run_options import RunOptions
from barnabas.sdk.serde import DEFAULT_SERDE, Serde

__all__ = [
    "AttemptFinishedEvent",
    "Context",
    "DurableCallFuture",
    "DurableFuture",
    "DurablePromise",
    "DurableSleepFuture",
    "HandlerType",
    "KeyValueStore",
    "ObjectContext",
    "ObjectSharedContext",
    "Request",
    "RestateDurableCallFuture",
    "RestateDurableFuture",
    "RestateDurableSleepFuture",
    "RunAction",
    "RunOptions",
    "SendHandle",
    "WorkflowContext",
    "WorkflowSharedContext",
]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")

RunAction = Callable[..., Coroutine[Any, Any, T]] | Callable[..., T]


_DEFAULT_OPTIONS: Final[RunOptions[Any]] = RunOptions()


class KeyValueStore(ABC):
    """The state of one key. Reads see the handler's own writes; `entry_name` is shown in the journal."""

    @abstractmethod
    def get(
        self,
        name: str,
        serde: Serde[T] = DEFAULT_SERDE,
        type_hint: type[T] | None = None,
        entry_name: str | None = None,
    ) -> Awaitable[T | None]:
        """The value, or None if there is none."""

    @abstractmethod
    def state_keys(self, entry_name: str | None = None) -> Awaitable[list[str]]:
        """The names of all values, sorted."""

    @abstractmethod
    def set(self, name: str, value: T, serde: Serde[T] = DEFAULT_SERDE, entry_name: str | None = None) -> None:
        """Set a value. It stays set if the handler fails later on."""

    @abstractmethod
    def clear(self, name: str, entry_name: str | None = None) -> None:
        """Remove a value."""

    @abstractmethod
    def clear_all(self, entry_name: str | None = None) -> None:
        """Remove every value of the key."""


class Context(Clients, ABC):
    """What every handler can do. Calls, sends, steps and sleeps are journaled in the order in which they are made."""

    @abstractmethod
    def request(self) -> Request:
        """The invocation that is being handled."""

    @abstractmethod
    def random(self) -> Random:
        """A source of random numbers that are the same in every attempt and others in another invocation."""

    @abstractmethod
    def uuid(self) -> UUID:
        """A random UUID, the same in every attempt."""

    @abstractmethod
    def time(self) -> DurableFuture[float]:
        """Seconds since the epoch, the same in every attempt."""

    # Steps

    @overload
    @abstractmethod
    def run(
        self,
        name: str,
        action: Callable[..., Coroutine[Any, Any, T]],
        serde: Serde[T] = ...,
        max_attempts: int | None = ...,
        max_retry_duration: timedelta | None = ...,
        type_hint: type[T] | None = ...,
        args: tuple[Any, ...] | None = ...,
    ) -> DurableFuture[T]: ...

    @overload
    @abstractmethod
    def run(
        self,
        name: str,
        action: Callable[..., T],
        serde: Serde[T] = ...,
        max_attempts: int | None = ...,
        max_retry_duration: timedelta | None = ...,
        type_hint: type[T] | None = ...,
        args: tuple[Any, ...] | None = ...,
    ) -> DurableFuture[T]: ...

    @abstractmethod
    def run(
        self,
        name: str,
        action: RunAction[T],
        serde: Serde[T] = DEFAULT_SERDE,
        max_attempts: int | None = None,
        max_retry_duration: timedelta | None = None,
        type_hint: type[T] | None = None,
        args: tuple[Any, ...] | None = None,
    ) -> DurableFuture[T]:
        """The older form of `run_typed`."""

    @overload
    @abstractmethod
    def run_typed(
        self,
        name: str,
        action: Callable[P, Coroutine[Any, Any, T]],
        options: RunOptions[T] = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]: ...

    @overload
    @abstractmethod
    def run_typed(
        self,
        name: str,
        action: Callable[P, T],
        options: RunOptions[T] = ...,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]: ...

    @abstractmethod
    def run_typed(
        self,
        name: str,
        action: Callable[P, Coroutine[Any, Any, T]] | Callable[P, T],
        options: RunOptions[T] = _DEFAULT_OPTIONS,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DurableFuture[T]:
        """Run `action(*args, **kwargs)` and record its result: it runs at least once, and what was recorded stays.

        A synchronous action runs in a thread. A TerminalError is recorded too; other errors are retried by `options`.
        """

    @abstractmethod
    def sleep(self, delta: timedelta, name: str | None = None) -> DurableSleepFuture:
        """Wait; the worker may restart meanwhile."""

    # Calls and sends. `tpe` is a decorated handler.

    @abstractmethod
    def service_call(
        self,
        tpe: HandlerType[I, O],
        arg: I,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[O]:
        """Call a service's handler."""

    @abstractmethod
    def service_send(
        self,
        tpe: HandlerType[I, O],
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """Send to a service's handler and go on."""

    @abstractmethod
    def object_call(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[O]:
        """Call an object's handler."""

    @abstractmethod
    def object_send(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """Send to an object's handler and go on."""

    @abstractmethod
    def workflow_call(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> DurableCallFuture[O]:
        """Call a workflow's handler."""

    @abstractmethod
    def workflow_send(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SendHandle:
        """Send to a workflow's handler and go on."""

    @abstractmethod
    def generic_call(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> DurableCallFuture[bytes]:
        """Call a handler by its names, bytes in and bytes out."""

    @abstractmethod
    def generic_send(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        scope: str | None = None,
        limit_key: str | None = None,
    ) -> SendHandle:
        """Send bytes to a handler by its names and go on."""

    # Awakeables, signals, other invocations

    @abstractmethod
    def awakeable(
        self, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> tuple[str, DurableFuture[T]]:
        """An id to give away, and the value that whoever has the id sets by it, once. The first one to set it wins."""

    @abstractmethod
    def resolve_awakeable(self, name: str, value: I, serde: Serde[I] = DEFAULT_SERDE) -> None:
        """Set the value of the awakeable with the id `name`. Raises TerminalError 400 if it is no awakeable's id."""

    @abstractmethod
    def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Raise a TerminalError in whoever waits for the awakeable with the id `name`.

        Raises TerminalError 400 if it is no awakeable's id.
        """

    @abstractmethod
    def signal(self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None) -> DurableFuture[T]:
        """The next value that is sent to this invocation under `name`.

        None is lost: the n-th call of this gets the n-th value of that name, also if it came before.
        """

    @abstractmethod
    def resolve_signal(self, invocation_id: str, name: str, value: I, serde: Serde[I] = DEFAULT_SERDE) -> None:
        """Send a value under `name` to an invocation. Raises TerminalError 400 for a malformed id."""

    @abstractmethod
    def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Send an error under `name` to an invocation: its wait raises a TerminalError.

        Raises TerminalError 400 for a malformed id.
        """

    @abstractmethod
    def cancel_invocation(self, invocation_id: str) -> None:
        """Ask an invocation to end: a TerminalError 409 is raised at its next wait, and it may still compensate.

        Nothing tells whether it was running. Raises TerminalError 400 for a malformed id.
        """

    @abstractmethod
    def attach_invocation(
        self, invocation_id: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurableFuture[T]:
        """The result of an invocation, whoever started it.

        Awaiting it raises the invocation's TerminalError if it had one, and 404 if it is unknown or its result is not
        kept any more. Raises TerminalError 400 for a malformed id.
        """

    def scope(self, scope: str) -> NoReturn:
        """Limits per scope; no release is planned that has them. Raises NotYetSupported."""
        raise NotYetSupported("scopes and limit keys are not part of Barnabas yet")


class ObjectContext(Context, KeyValueStore):
    """What an exclusive handler of a virtual object can do: read and write the state of its key."""

    @abstractmethod
    def key(self) -> str:
        """The key of the object."""


class ObjectSharedContext(Context):
    """What a shared handler of a virtual object can do: read the committed state of its key."""

    @abstractmethod
    def key(self) -> str:
        """The key of the object."""

    @abstractmethod
    def get(
        self,
        name: str,
        serde: Serde[T] = DEFAULT_SERDE,
        type_hint: type[T] | None = None,
        entry_name: str | None = None,
    ) -> Awaitable[T | None]:
        """The value, or None if there is none."""

    @abstractmethod
    def state_keys(self, entry_name: str | None = None) -> Awaitable[list[str]]:
        """The names of all values, sorted."""


class WorkflowContext(ObjectContext):
    """What a workflow's main handler can do."""

    @abstractmethod
    def promise(
        self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurablePromise[T]:
        """The workflow's promise of that name, shared by all handlers of its key."""


class WorkflowSharedContext(ObjectSharedContext):
    """What a workflow's other handlers can do."""

    @abstractmethod
    def promise(
        self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurablePromise[T]:
        """The workflow's promise of that name, shared by all handlers of its key."""
