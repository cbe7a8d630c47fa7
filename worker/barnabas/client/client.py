"""`barnabas.Client`: calls and sends from any asyncio program that can reach Kafka; no worker, no store, no server.

The names follow the context of a handler (`sdk/context.py`). A request is a record on the service's invocations topic;
the result of a call comes back over the replies topic. Public API; `control` has the part about existing invocations.
"""

# ruff: noqa: ASYNC109 - `timeout=` of a call is a convenience for callers; what it does is asyncio.timeout

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from uuid import uuid4

from barnabas.client.connection import Connection
from barnabas.client.control import InvocationControl, of_kind
from barnabas.client.exchange import Exchange
from barnabas.client.producer import InvocationProducer, Outgoing
from barnabas.client.requests import Requests, Target, Wish, due_after
from barnabas.client.sent import Sent
from barnabas.contract.records import ReplyTo
from barnabas.contract.topics import TopicNames
from barnabas.sdk.clients import Clients
from barnabas.sdk.handler import Handler
from barnabas.sdk.handler_type import HandlerType
from barnabas.sdk.serde import BytesSerde, Serde

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

DEFAULT_NAMESPACE: Final = "barnabas"
_FLUSH_SECONDS: Final = 30.0
_BYTES: Final = BytesSerde()


class Client(Clients, InvocationControl):
    """Calls and sends over Kafka: `async with barnabas.Client() as client: await client.service_call(greet, "Ada")`.

    One client serves any number of concurrent calls of one event loop. While Kafka is away, calls and sends wait.
    A send returns when Kafka has acknowledged it; for throughput, gather many: those to one key keep the order of the
    gathered coroutines. A call that is cancelled or timed out is only forgotten here: its invocation goes on.

    An `idempotency_key` makes equal requests one: the handler runs once per target, key and idempotency key, and every
    request gets that result, as long as it is kept (a day by default). So it is safe to ask again after an error. A
    `send_delay` counts from now on this machine's clock. A workflow's main handler runs once a key: a second call of
    it fails with a TerminalError 409, a second send has the id of the first.
    """

    def __init__(self, bootstrap: str | None = None, namespace: str | None = None, **options: Any) -> None:
        """Connects to nothing yet.

        `bootstrap` ("host:port,...") and `namespace` are BARNABAS_KAFKA and BARNABAS_NAMESPACE unless given; `options`
        go to aiokafka (`security_protocol`, `ssl_context`, `sasl_...`). Raises ValueError or TypeError.
        """
        names = TopicNames(namespace or os.environ.get("BARNABAS_NAMESPACE") or DEFAULT_NAMESPACE)
        connection = Connection(bootstrap, options)
        client_id = f"barnabas-client-{uuid4().hex}"
        producer = InvocationProducer(connection, client_id)
        super().__init__(names, producer, Exchange(connection, client_id, names, producer))
        self._requests = Requests(names, producer)

    async def __aenter__(self) -> Self:
        """Connect. Raises KafkaUnreachable."""
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self, flush_seconds: float = _FLUSH_SECONDS) -> None:
        """Deliver what was handed over, then disconnect. Calls in flight get ClientClosed.

        Raises KafkaUnreachable if Kafka does not acknowledge everything in that time.
        """
        try:
            await self._producer.aclose(flush_seconds)
        finally:
            await self._exchange.aclose()

    @property
    def late_replies(self) -> int:
        """Replies that came when nobody waited for them any more, or twice; they were dropped."""
        return self._exchange.late

    # Calls. They raise the handler's TerminalError, and TimeoutError after `timeout` seconds.

    async def service_call(
        self,
        tpe: HandlerType[I, O],
        arg: I,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> O:
        """The result of a service's handler."""
        handler = of_kind(tpe, "service", "service_call")
        return await self._call_handler(handler, None, arg, idempotency_key, headers, timeout)

    async def object_call(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> O:
        """The result of an object's handler."""
        handler = of_kind(tpe, "object", "object_call")
        return await self._call_handler(handler, key, arg, idempotency_key, headers, timeout)

    async def workflow_call(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> O:
        """The result of a workflow's handler."""
        handler = of_kind(tpe, "workflow", "workflow_call")
        return await self._call_handler(handler, key, arg, idempotency_key, headers, timeout)

    async def generic_call(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        workflow_run: bool = False,
        timeout: float | None = None,
    ) -> bytes:
        """The result of a handler that is called by its names, bytes in and bytes out.

        No definition says here that a handler is a workflow's main one: `workflow_run=True` does, and gives the request
        the id that all requests for this workflow have.
        """
        target, wish = Target(service, handler, key, workflow_run), Wish(bytes(arg), headers, idempotency_key)
        return await self._call(target, wish, _BYTES, timeout) or b""

    # Sends. They return when Kafka has the message.

    async def service_send(
        self,
        tpe: HandlerType[I, O],
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Sent[O]:
        """Send to a service's handler."""
        handler = of_kind(tpe, "service", "service_send")
        return await self._send_handler(handler, None, arg, send_delay, idempotency_key, headers)

    async def object_send(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Sent[O]:
        """Send to an object's handler."""
        handler = of_kind(tpe, "object", "object_send")
        return await self._send_handler(handler, key, arg, send_delay, idempotency_key, headers)

    async def workflow_send(
        self,
        tpe: HandlerType[I, O],
        key: str,
        arg: I,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Sent[O]:
        """Send to a workflow's handler; to the main one: submit the workflow."""
        handler = of_kind(tpe, "workflow", "workflow_send")
        return await self._send_handler(handler, key, arg, send_delay, idempotency_key, headers)

    async def generic_send(
        self,
        service: str,
        handler: str,
        arg: bytes,
        key: str | None = None,
        send_delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        workflow_run: bool = False,
    ) -> Sent[bytes]:
        """Send bytes to a handler by its names. `workflow_run` as in `generic_call`."""
        wish = Wish(bytes(arg), headers, idempotency_key, due_after(send_delay))
        return await self._send(Target(service, handler, key, workflow_run), wish, _BYTES)

    async def _call_handler(
        self,
        handler: Handler[I, O],
        key: str | None,
        arg: I,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
        timeout: float | None,
    ) -> O:
        wish = Wish(bytes(handler.input_serde.serialize(arg)), headers, idempotency_key)
        # None only where the handler's type admits it.
        return cast(O, await self._call(_target(handler, key), wish, handler.output_serde, timeout))

    async def _send_handler(
        self,
        handler: Handler[I, O],
        key: str | None,
        arg: I,
        send_delay: timedelta | None,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
    ) -> Sent[O]:
        payload = bytes(handler.input_serde.serialize(arg))
        wish = Wish(payload, headers, idempotency_key, due_after(send_delay))
        return await self._send(_target(handler, key), wish, handler.output_serde)

    async def _call(self, target: Target, wish: Wish, serde: Serde[T], timeout: float | None) -> T | None:
        async def make(reply_to: ReplyTo) -> Outgoing:
            record, _ = await self._requests.record(target, wish, reply_to)
            return record

        return await self._exchange.ask(make, serde, timeout)

    async def _send(self, target: Target, wish: Wish, serde: Serde[T]) -> Sent[T]:
        record, id_ = await self._requests.record(target, wish, None)
        await self._producer.produce(record)
        return Sent(id_, self, serde)


def _target(handler: Handler[Any, Any], key: str | None) -> Target:
    return Target(handler.service_tag.name, handler.name, key, handler.kind == "workflow")
