"""Calls and sends to other handlers: part of a handler's context (`context.py`).

The id of what is called follows from what is asked for (DESIGN.md 4); on a replay it is read from the journal.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from barnabas.contract.ids import InvocationId, child_id, idempotent_id, workflow_id
from barnabas.contract.records import LATEST_DUE
from barnabas.runtime import journal as j
from barnabas.runtime.contexts_part import ContextPart
from barnabas.runtime.failures import MAX_CHARACTERS, too_long
from barnabas.runtime.futures import CallFuture, SentInvocation
from barnabas.sdk.errors import NotYetSupported
from barnabas.sdk.handler import Handler, handler_of
from barnabas.sdk.serde import BytesSerde, Serde

_BYTES: Final = BytesSerde()
#: The one header of a request that goes on to whatever is called on its behalf.
_TRACE: Final = "traceparent"


class MessageCommands(ContextPart):
    """Each message is checked against the registry before it is journaled, and goes out with that commit."""

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
        attempt = self._attempt
        entry = self._message(j.CALL, service, handler, key, payload, None, idempotency_key, headers)
        future: CallFuture[Any] = CallFuture(attempt, attempt.position, serde, entry[3])
        attempt.opened(future)
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
        due = None if delay is None else self._due(delay)
        entry = self._message(j.SEND, service, handler, key, payload, due, idempotency_key, headers)
        return SentInvocation(self._attempt, entry[3])

    def _message(
        self,
        kind: int,
        service: str,
        handler: str,
        key: str | None,
        payload: bytes,
        due: int | None,
        idempotency_key: str | None,
        headers: dict[str, str] | None,
    ) -> j.Entry:
        attempt, live = self._attempt, self._live
        if idempotency_key is not None:
            _check_idempotency_key(idempotency_key)
        if headers:
            _check_headers(headers)
        if attempt.replaying:
            id_ = b""  # the journal has it
        else:
            if key is not None or idempotency_key is not None or headers:
                _check_length(f"{service}/{handler}", key, idempotency_key, headers or {})
            target_kind = self._kind_of(service, handler, key, payload)
            id_ = self._id(target_kind, service, handler, key, payload, due, idempotency_key)
        entry, replayed = attempt.command([kind, f"{service}/{handler}", key, id_])
        if not replayed:
            trace = live.headers.get(_TRACE)
            if trace is not None:
                headers = _with_trace(headers, trace)
            self._host.message(live, entry, attempt.position, payload, headers, due, idempotency_key)
        return entry

    def _kind_of(self, service: str, handler: str, key: str | None, payload: bytes) -> str:
        try:
            return self._host.check_target(service, handler, key is not None, payload)
        except LookupError as error:
            raise self._attempt.crash(error) from error

    def _id(
        self,
        kind: str,
        service: str,
        handler: str,
        key: str | None,
        payload: bytes,
        due: int | None,
        idempotency_key: str | None,
    ) -> InvocationId:
        if kind == "workflow" and key is not None:
            return workflow_id(service, key)
        if idempotency_key is not None:
            return idempotent_id(service, handler, key, idempotency_key)
        position = self._attempt.position + 1
        return child_id(self._live.id, position, service, handler, key, payload, delayed=due is not None)

    def _due(self, delay: timedelta) -> int | None:
        """When a delayed message is due, ms; None if at once."""
        if not isinstance(delay, timedelta):
            raise TypeError(f"send_delay is a timedelta, not a {type(delay).__qualname__}: timedelta(seconds=10)")
        ms = round(delay.total_seconds() * 1000)
        return min(LATEST_DUE, self._host.now + ms) if ms > 0 else None


def _check_idempotency_key(key: Any) -> None:
    if not isinstance(key, str):
        raise TypeError(f"an idempotency key is a text, not a {type(key).__qualname__}")
    if not key:
        raise ValueError("an idempotency key must not be empty: leave it out for a plain call")
    key.encode()  # what has no UTF-8 form could not be produced


def _check_headers(headers: dict[str, str]) -> None:
    """What cannot be produced must be refused before it is journaled."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"the header {name!r} is not text with a text for its value: {type(value).__name__}")
        name.encode()
        value.encode()


def _check_length(target: str, key: str | None, idempotency_key: str | None, headers: dict[str, str]) -> None:
    """What would not fit into a record beside its payload must be refused before it is journaled, too."""
    length = len(key or "") + len(idempotency_key or "")
    if headers:
        length += sum(len(name) + len(value) for name, value in headers.items())
    if length > MAX_CHARACTERS:
        raise too_long(f"what addresses the message to {target} (key, idempotency key, headers)", length)


def _with_trace(headers: dict[str, str] | None, trace: str) -> dict[str, str]:
    if not headers:
        return {_TRACE: trace}
    if any(name.lower() == _TRACE for name in headers):
        return headers
    return {**headers, _TRACE: trace}


def _no_scope(scope: str | None, limit_key: str | None) -> None:
    if scope is not None or limit_key is not None:
        raise NotYetSupported("scopes and limit keys are not part of Barnabas yet")
