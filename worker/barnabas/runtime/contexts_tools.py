"""Awakeables, signals, other invocations and promises: part of a handler's context (`context.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

from barnabas.contract.ids import InvocationId, MalformedId, awakeable_id, parse_awakeable_id
from barnabas.contract.records import Failure
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Attempt
from barnabas.runtime.contexts_part import DEFAULT, ContextPart, invocation_of
from barnabas.runtime.failures import failure_of
from barnabas.runtime.futures import JournalFuture, cancel, must_know, terminal_error
from barnabas.sdk.context import DurablePromise, RestateDurableFuture
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import Serde, result_serde

T = TypeVar("T")


class ToolCommands(ContextPart):
    """What a handler waits for, and does, beside calls, steps and state."""

    # -- awakeables

    def awakeable(
        self, serde: Serde[T] = DEFAULT, type_hint: type[T] | None = None
    ) -> tuple[str, RestateDurableFuture[T]]:
        attempt = self._attempt
        attempt.command([j.AWAKEABLE, ""])
        future = JournalFuture(attempt, attempt.position, result_serde(serde, type_hint), j.OF_AWAKEABLE)
        attempt.opened(future)
        return awakeable_id(self._live.id, future.position), future

    def resolve_awakeable(self, name: str, value: Any, serde: Serde[Any] = DEFAULT) -> None:
        id_, position = _awakeable_of(name)
        self._resolve(id_, name, position, None, self._encoded(value, serde, f"the value of awakeable '{name}'"), None)

    def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        id_, position = _awakeable_of(name)
        self._resolve(id_, name, position, None, None, _failure(failure_message, failure_code))

    # -- signals

    def signal(self, name: str, serde: Serde[T] = DEFAULT, type_hint: type[T] | None = None) -> RestateDurableFuture[T]:
        attempt = self._attempt
        attempt.command([j.SIGNAL, name])
        future = JournalFuture(attempt, attempt.position, result_serde(serde, type_hint), j.OF_SIGNAL)
        attempt.opened_signal(name, future)
        return future

    def resolve_signal(self, invocation_id: str, name: str, value: Any, serde: Serde[Any] = DEFAULT) -> None:
        id_ = invocation_of(invocation_id)
        raw = self._encoded(value, serde, f"the value of signal '{name}'")
        self._resolve(id_, f"{invocation_id}/{name}", None, name, raw, None)

    def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        id_ = invocation_of(invocation_id)
        self._resolve(id_, f"{invocation_id}/{name}", None, name, None, _failure(failure_message, failure_code))

    def _encoded(self, value: Any, serde: Serde[Any], what: str) -> bytes:
        raw = bytes(serde.serialize(value))
        self._host.check_size(raw, what)
        return raw

    def _resolve(
        self,
        id_: InvocationId,
        target: str,
        position: int | None,
        name: str | None,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        must_know(self._attempt, id_)
        if not self._attempt.command([j.RESOLVE, target])[1]:
            self._host.resolve(self._live, id_, position, name, result, failure)

    # -- other invocations

    def cancel_invocation(self, invocation_id: str) -> None:
        cancel(self._attempt, invocation_of(invocation_id))

    def attach_invocation(
        self, invocation_id: str, serde: Serde[T] = DEFAULT, type_hint: type[T] | None = None
    ) -> RestateDurableFuture[T]:
        attempt, id_ = self._attempt, invocation_of(invocation_id)
        must_know(attempt, id_)
        _, replayed = attempt.command([j.ATTACH, "", bytes(id_)])
        future = JournalFuture(attempt, attempt.position, result_serde(serde, type_hint), bytes(id_))
        attempt.opened(future)
        if not replayed:
            self._host.attach(self._live, future.position, id_)
        return future

    # -- promises

    def promise(self, name: str, serde: Serde[T] = DEFAULT, type_hint: type[T] | None = None) -> DurablePromise[T]:
        tag = self._attempt.handler.service_tag
        if tag.kind != "workflow":
            raise TerminalError(f"{tag.name} is no workflow: only workflows have promises")
        return WorkflowPromise(self._attempt, name, result_serde(serde, type_hint))


class WorkflowPromise(DurablePromise[T]):
    """A promise as one handler sees it. Each method is a command of its own."""

    def __init__(self, attempt: Attempt, name: str, serde: Serde[T]) -> None:
        super().__init__(name, serde)
        self._attempt = attempt

    def __await__(self) -> Generator[Any, Any, T]:
        return self.value().__await__()

    def value(self) -> RestateDurableFuture[T]:
        attempt = self._attempt
        _, replayed = attempt.command([j.PROMISE, self.name])
        future = JournalFuture(attempt, attempt.position, self.serde, j.OF_PROMISE)
        attempt.opened(future)
        if not replayed:
            attempt.host.promise(attempt.live, future.position, self.name)
        return future

    def peek(self) -> Awaitable[T | None]:
        attempt = self._attempt
        entry, replayed = attempt.command([j.PEEK, self.name, None])
        if not replayed:
            entry[2] = attempt.host.peek(attempt.live, self.name)
        serde: Serde[Any] = self.serde
        future: JournalFuture[T | None] = JournalFuture(attempt, attempt.position, serde)
        found = entry[2]
        if found is None:
            future.complete(None)
        elif len(found) == 1:
            future.complete(found[0])
        else:
            future.fail(terminal_error(*found))
        return future

    def resolve(self, value: T) -> Awaitable[None]:
        raw = bytes(self.serde.serialize(value))
        self._attempt.host.check_size(raw, f"the value of promise '{self.name}'")
        return self._complete(raw, None)

    def reject(self, message: str, code: int = 500) -> Awaitable[None]:
        return self._complete(None, _failure(message, code))

    def _complete(self, result: bytes | None, failure: Failure | None) -> Awaitable[None]:
        attempt = self._attempt
        entry, replayed = attempt.command([j.COMPLETE, self.name, False])
        if not replayed:
            entry[2] = attempt.host.complete_promise(attempt.live, self.name, result, failure)
        future: JournalFuture[None] = JournalFuture(attempt, attempt.position, None)
        if entry[2]:
            future.complete(None)
        else:
            future.fail(TerminalError(f"promise '{self.name}' was completed before: it keeps its first value", 409))
        return future


def _awakeable_of(name: Any) -> tuple[InvocationId, int]:
    if not isinstance(name, str):
        raise TerminalError(f"an awakeable's id is a text ('sign_1...'), not a {type(name).__qualname__}", 400)
    try:
        return parse_awakeable_id(name)
    except MalformedId as error:
        raise TerminalError(str(error), 400) from None


def _failure(message: str, code: int) -> Failure:
    return failure_of(TerminalError(message, code))
