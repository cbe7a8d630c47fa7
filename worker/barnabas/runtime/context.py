"""The context that a handler gets: every method turns into a command of the attempt's journal.

Positions are given out when a method is called, before its first await, so that the order of awaits does not matter. On
a replay a method returns what the journal recorded and has no effect; on a first run it asks the attempt's host (the
shard).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Generator
from datetime import timedelta
from typing import Any, Generic, NoReturn, TypeVar

from barnabas.contract.ids import InvocationId, child_id
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Attempt
from barnabas.runtime.futures import CallFuture, JournalFuture, SentInvocation, SleepFuture
from barnabas.runtime.live import Step
from barnabas.sdk.context import (
    AttemptFinishedEvent,
    ObjectContext,
    ObjectSharedContext,
    Request,
    RestateDurableFuture,
    RunOptions,
)
from barnabas.sdk.errors import NotYetSupported, TerminalError
from barnabas.sdk.handler import Handler, handler_of
from barnabas.sdk.serde import BytesSerde, DefaultSerde, Serde, result_serde

T = TypeVar("T")

#: The latest due time, ms: a store's scores are doubles. `timedelta.max` is longer.
_END_OF_TIME = 2**53 - 1
_BYTES = BytesSerde()
_DEFAULT: DefaultSerde[Any] = DefaultSerde()


class _Known(Generic[T]):
    """An awaitable whose value is there already: a state read of an owned shard costs no wait."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, T]:
        return self._value
        yield


class _Finished(AttemptFinishedEvent):
    """Tells code that holds resources for an attempt when the attempt is over."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def is_set(self) -> bool:
        return self._attempt.over

    async def wait(self) -> None:
        # Nobody signals the end of an attempt that is dropped, and few ever ask: look now and then.
        while not self._attempt.over:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class InvocationContext(ObjectContext, ObjectSharedContext):
    """One class for all kinds of handlers; what a kind may not do raises, as the types already say."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._live = attempt.live
        self._host = attempt.host
        self._random: random.Random | None = None

    # -- about the request

    def request(self) -> Request:
        live = self._live
        return Request(
            id=str(InvocationId(live.id)),
            headers=dict(live.headers),
            attempt_headers={},
            body=live.payload,
            attempt_finished_event=_Finished(self._attempt),
            idempotency_key=live.idempotency_key,
        )

    def key(self) -> str:
        key = self._live.key
        if key is None:
            raise RuntimeError(f"{self._live.service} is a service: its invocations have no key")
        return key

    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self._live.id)
        return self._random

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def time(self) -> RestateDurableFuture[float]:
        entry, _ = self._attempt.command([j.TIME, "", self._host.now])
        future: JournalFuture[float] = JournalFuture(self._attempt, self._attempt.position, _DEFAULT)
        future.complete(b"%d.%03d" % divmod(entry[2], 1000))
        return future

    # -- state

    def get(
        self,
        name: str,
        serde: Serde[T] = _DEFAULT,
        type_hint: type[T] | None = None,
        entry_name: str | None = None,
    ) -> Awaitable[T | None]:
        live = self._live
        if live.key is None:
            self._no_state()
        entry, _ = self._attempt.command([j.GET, name, self._host.state_of(live.key).get(name)])
        raw = entry[2]
        if raw is None:
            return _Known(None)
        if type_hint is not None:
            serde = result_serde(serde, type_hint)
        return _Known(serde.deserialize(raw))

    def state_keys(self, entry_name: str | None = None) -> Awaitable[list[str]]:
        live = self._live
        if live.key is None:
            self._no_state()
        entry, _ = self._attempt.command([j.STATE_KEYS, "", sorted(self._host.state_of(live.key))])
        return _Known(list(entry[2]))

    def set(self, name: str, value: T, serde: Serde[T] = _DEFAULT, entry_name: str | None = None) -> None:
        self._may_write()
        raw = bytes(serde.serialize(value))
        self._host.check_size(raw, f"the value of state '{name}'")
        if not self._attempt.command([j.SET, name])[1]:
            self._host.set_state(self._live, name, raw)

    def clear(self, name: str, entry_name: str | None = None) -> None:
        self._may_write()
        if not self._attempt.command([j.CLEAR, name])[1]:
            self._host.set_state(self._live, name, None)

    def clear_all(self, entry_name: str | None = None) -> None:
        self._may_write()
        if not self._attempt.command([j.CLEAR_ALL, ""])[1]:
            self._host.clear_state(self._live)

    def _may_write(self) -> None:
        if self._live.key is None:
            self._no_state()
        if not self._live.exclusive:
            raise TerminalError(
                f"{self._live.service}/{self._live.handler} is a shared handler: it may read state, not write it"
            )

    def _no_state(self) -> NoReturn:
        raise TerminalError(f"{self._live.service} is a service: it has no key, so it has no state")

    # -- steps and time

    def run(
        self,
        name: str,
        action: Any,
        serde: Serde[T] = _DEFAULT,
        max_attempts: int | None = None,
        max_retry_duration: timedelta | None = None,
        type_hint: type[T] | None = None,
        args: tuple[Any, ...] | None = None,
    ) -> RestateDurableFuture[T]:
        options = RunOptions(
            serde=serde, type_hint=type_hint, max_attempts=max_attempts, max_duration=max_retry_duration
        )
        return self._run(name, action, options, args or (), {})

    def run_typed(
        self, name: str, action: Any, options: RunOptions[T] = RunOptions(), /, *args: Any, **kwargs: Any
    ) -> RestateDurableFuture[T]:
        return self._run(name, action, options, args, kwargs)

    def _run(
        self, name: str, action: Any, options: RunOptions[T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> RestateDurableFuture[T]:
        attempt = self._attempt
        policy = options.retry_policy()
        serde = result_serde(options.serde, options.type_hint, action)
        _, replayed = attempt.command([j.RUN, name], quiet=True)
        position = attempt.position
        future = JournalFuture(attempt, position, serde)
        attempt.opened(future)
        if not (replayed and attempt.answered(position)):
            self._host.start_step(Step(self._live, position, name, action, args, kwargs, serde, policy))
        return future

    def sleep(self, delta: timedelta, name: str | None = None) -> SleepFuture:
        attempt = self._attempt
        due = min(_END_OF_TIME, self._host.now + max(0, round(delta.total_seconds() * 1000)))
        _, replayed = attempt.command([j.SLEEP, name or "", due])
        position = attempt.position
        future = SleepFuture(attempt, position, None)
        attempt.opened(future)
        if not replayed:
            self._host.arm_sleep(self._live, position, due)
        return future

    # -- messages

    def service_call(
        self, tpe: Any, arg: Any, idempotency_key: str | None = None, headers: dict[str, str] | None = None
    ) -> CallFuture[Any]:
        return self._call_handler(handler_of(tpe), None, arg, idempotency_key, headers)

    def object_call(
        self, tpe: Any, key: str, arg: Any, idempotency_key: str | None = None, headers: dict[str, str] | None = None
    ) -> CallFuture[Any]:
        return self._call_handler(handler_of(tpe), key, arg, idempotency_key, headers)

    def workflow_call(
        self, tpe: Any, key: str, arg: Any, idempotency_key: str | None = None, headers: dict[str, str] | None = None
    ) -> CallFuture[Any]:
        return self._call_handler(handler_of(tpe), key, arg, idempotency_key, headers)

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
    ) -> CallFuture[bytes]:
        _no_scope(scope, limit_key)
        return self._call(service, handler, key, bytes(arg), idempotency_key, headers, _BYTES)

    def service_send(
        self,
        tpe: Any,
        arg: Any,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SentInvocation:
        return self._send_handler(handler_of(tpe), None, arg, send_delay, idempotency_key, headers)

    def object_send(
        self,
        tpe: Any,
        key: str,
        arg: Any,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SentInvocation:
        return self._send_handler(handler_of(tpe), key, arg, send_delay, idempotency_key, headers)

    def workflow_send(
        self,
        tpe: Any,
        key: str,
        arg: Any,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> SentInvocation:
        return self._send_handler(handler_of(tpe), key, arg, send_delay, idempotency_key, headers)

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
    ) -> SentInvocation:
        _no_scope(scope, limit_key)
        return self._send(service, handler, key, bytes(arg), send_delay, idempotency_key, headers)

    def _call_handler(
        self,
        handler: Handler[Any, Any],
        key: str | None,
        arg: Any,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> CallFuture[Any]:
        payload = bytes(handler.input_serde.serialize(arg))
        service = handler.service_tag.name
        return self._call(service, handler.name, key, payload, idempotency_key, headers, handler.output_serde)

    def _send_handler(
        self,
        handler: Handler[Any, Any],
        key: str | None,
        arg: Any,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> SentInvocation:
        payload = bytes(handler.input_serde.serialize(arg))
        return self._send(handler.service_tag.name, handler.name, key, payload, delay, idempotency_key, headers)

    def _call(
        self,
        service: str,
        handler: str,
        key: str | None,
        payload: bytes,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
        serde: Serde[Any],
    ) -> CallFuture[Any]:
        entry = self._message(j.CALL, service, handler, key, payload, idempotency_key, headers)
        future: CallFuture[Any] = CallFuture(self._attempt, self._attempt.position, serde, entry[3])
        self._attempt.opened(future)
        return future

    def _send(
        self,
        service: str,
        handler: str,
        key: str | None,
        payload: bytes,
        delay: timedelta | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> SentInvocation:
        if delay is not None:
            raise NotYetSupported("send_delay comes with the next release: delayed messages need the scheduler")
        return SentInvocation(self._message(j.SEND, service, handler, key, payload, idempotency_key, headers)[3])

    def _message(
        self,
        kind: int,
        service: str,
        handler: str,
        key: str | None,
        payload: bytes,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> j.Entry:
        if idempotency_key is not None:
            raise NotYetSupported(
                "idempotency_key comes with the next release: calls and sends are plain ones until then"
            )
        attempt, live = self._attempt, self._live
        _check_headers(headers)
        if not attempt.replaying:
            try:
                self._host.check_target(service, handler, key is not None, payload)
            except LookupError as error:
                raise attempt.crash(error) from error
        id_ = child_id(live.id, attempt.position + 1, service, handler, key, payload)
        entry, replayed = attempt.command([kind, f"{service}/{handler}", key, id_])
        if not replayed:
            self._host.message(live, entry, attempt.position, payload, headers)
        return entry


def _check_headers(headers: dict[str, str] | None) -> None:
    """What cannot be produced must be refused before it is journaled."""
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"the header {name!r} is not text with a text for its value: {type(value).__name__}")
        name.encode()
        value.encode()


def _no_scope(scope: str | None, limit_key: str | None) -> None:
    if scope is not None or limit_key is not None:
        raise NotYetSupported("scopes and limit keys are not part of Barnabas yet")
