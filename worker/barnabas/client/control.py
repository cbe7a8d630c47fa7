"""What a client does to invocations that exist already: attach, cancel, kill, and setting what they wait for.

Each is a signal on the topic of the service that the id belongs to, or on `delays` where the id says that the
invocation waits there. `Client` inherits the public methods; `Sent` uses them too.
"""

# ruff: noqa: ASYNC109 - `timeout=` is a convenience for callers; what it does is asyncio.timeout

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar, cast

from barnabas.client.errors import InvalidId, UnknownInvocation, UnknownNamespace
from barnabas.client.exchange import Exchange
from barnabas.client.producer import InvocationProducer, Outgoing
from barnabas.client.requests import Target, id_of
from barnabas.contract.codec import encode_signal
from barnabas.contract.ids import InvocationId, MalformedId, parse_awakeable_id
from barnabas.contract.records import Failure, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.sdk.handler import Handler, ServiceKind, handler_of
from barnabas.sdk.handler_type import HandlerType
from barnabas.sdk.serde import DEFAULT_SERDE, BytesSerde, Serde, result_serde

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

_BYTES: Final = BytesSerde()


class InvocationControl:
    """The part of a client that is about invocations by their ids. Ids that are none raise InvalidId (400)."""

    def __init__(self, names: TopicNames, producer: InvocationProducer, exchange: Exchange) -> None:
        self._names = names
        self._producer = producer
        self._exchange = exchange

    # Attach. They raise the invocation's TerminalError, UnknownInvocation (404), and TimeoutError after `timeout` s.

    async def attach(
        self,
        invocation_id: str,
        serde: Serde[T] = DEFAULT_SERDE,
        type_hint: type[T] | None = None,
        *,
        timeout: float | None = None,
    ) -> T:
        """The result of an invocation, as soon as it is there.

        With an idempotency key, or of a workflow, as long as it is kept. A plain one's is kept for a while only:
        afterwards the answer is a TerminalError 404, as for an id that never was.
        """
        return await self._attach(parsed(invocation_id), result_serde(serde, type_hint), timeout)

    async def service_attach(
        self, tpe: HandlerType[Any, O], idempotency_key: str, *, timeout: float | None = None
    ) -> O:
        """The result of the request with this idempotency key."""
        return await self._attach_to(tpe, "service", None, idempotency_key, timeout)

    async def object_attach(
        self, tpe: HandlerType[Any, O], key: str, idempotency_key: str, *, timeout: float | None = None
    ) -> O:
        """The result of the request with this idempotency key."""
        return await self._attach_to(tpe, "object", key, idempotency_key, timeout)

    async def workflow_attach(
        self,
        tpe: HandlerType[Any, O],
        key: str,
        idempotency_key: str | None = None,
        *,
        timeout: float | None = None,
    ) -> O:
        """The result of the workflow with this key; of its other handlers, of a request with an idempotency key."""
        return await self._attach_to(tpe, "workflow", key, idempotency_key, timeout)

    async def generic_attach(
        self,
        service: str,
        handler: str,
        key: str | None = None,
        idempotency_key: str | None = None,
        *,
        workflow_run: bool = False,
        timeout: float | None = None,
    ) -> bytes:
        """As the others, by names and in bytes. `workflow_run`: the handler is a workflow's main one."""
        target = Target(service, handler, key, workflow_run)
        return await self._attach(_shared_id(target, idempotency_key), _BYTES, timeout, service) or b""

    # They return when Kafka has the wish; what becomes of it shows at the invocation.

    async def cancel(self, invocation_id: str) -> None:
        """Cancel an invocation and what it calls: TerminalError 409 at their next awaits. One that has ended stays."""
        await self._signal(SignalKind.CANCEL, parsed(invocation_id))

    async def kill(self, invocation_id: str) -> None:
        """End an invocation and what it calls, now, without compensation."""
        await self._signal(SignalKind.KILL, parsed(invocation_id))

    async def resolve_awakeable(self, name: str, value: I, serde: Serde[I] = DEFAULT_SERDE) -> None:
        """Set the value of an awakeable. The first value or failure is the one that counts."""
        id_, position = _awakeable(name)
        result = bytes(serde.serialize(value))
        await self._signal(SignalKind.RESOLVE, id_, position=position, result=result)

    async def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Fail whoever waits for an awakeable, with a TerminalError."""
        id_, position = _awakeable(name)
        failure = Failure(failure_code, failure_message)
        await self._signal(SignalKind.RESOLVE, id_, position=position, failure=failure)

    async def resolve_signal(self, invocation_id: str, name: str, value: I, serde: Serde[I] = DEFAULT_SERDE) -> None:
        """Send a named signal to an invocation."""
        id_, result = parsed(invocation_id), bytes(serde.serialize(value))
        await self._signal(SignalKind.RESOLVE, id_, name=name, result=result)

    async def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        """Fail an invocation's wait for a named signal, with a TerminalError."""
        failure = Failure(failure_code, failure_message)
        await self._signal(SignalKind.RESOLVE, parsed(invocation_id), name=name, failure=failure)

    async def _attach_to(
        self,
        tpe: HandlerType[Any, O],
        kind: ServiceKind,
        key: str | None,
        idempotency_key: str | None,
        timeout: float | None,
    ) -> O:
        handler = of_kind(tpe, kind, f"{kind}_attach")
        service = handler.service_tag.name
        target = Target(service, handler.name, key, handler.kind == "workflow")
        return await self._attach(_shared_id(target, idempotency_key), handler.output_serde, timeout, service)

    async def _attach(self, id_: InvocationId, serde: Serde[T], timeout: float | None, service: str | None = None) -> T:
        async def make(reply_to: ReplyTo) -> Outgoing:
            return await self._record(Signal(SignalKind.ATTACH, id_, reply_to=reply_to), service)

        # None only where the handler's type admits it.
        return cast(T, await self._exchange.ask(make, serde, timeout))

    async def _signal(self, kind: SignalKind, id_: InvocationId, **content: Any) -> None:
        await self._producer.produce(await self._record(Signal(kind, id_, **content), None))

    async def _record(self, signal: Signal, service: str | None) -> Outgoing:
        id_ = InvocationId(signal.invocation)
        if service is None:
            service = await self._service_of(id_)
        topic = self._names.delays if id_.delayed else self._names.signals(service)
        partitions = await self._producer.partitions(topic)
        if partitions is None:
            raise UnknownNamespace(topic, self._names.namespace)
        # The key of an object cannot be told from the id. The partition can, and readers go by that.
        return Outgoing(topic, id_.partition(partitions), id_.service_partition_key.encode(), encode_signal(signal))

    async def _service_of(self, id_: InvocationId) -> str:
        """Whose invocation this is. Raises UnknownInvocation if no service of the namespace fits."""
        service = self._fitting(id_, self._producer.known_topics())
        service = service or self._fitting(id_, await self._producer.topics())
        if service is None:
            raise UnknownInvocation(str(id_), self._names.namespace)
        return service

    def _fitting(self, id_: InvocationId, topics: Iterable[str]) -> str | None:
        services = (found[0] for topic in topics if (found := self._names.service_of(topic)) is not None)
        return next((service for service in services if id_.of_service(service)), None)


def parsed(invocation_id: str) -> InvocationId:
    """The id of this text. Raises InvalidId."""
    try:
        return InvocationId.parse(invocation_id)
    except MalformedId as error:
        raise InvalidId(str(error)) from None


def of_kind(tpe: HandlerType[I, O], kind: ServiceKind, method: str) -> Handler[I, O]:
    """The handler, which must be of that kind of service. Raises ValueError naming the method that was misused."""
    handler = handler_of(tpe, kind)
    found = handler.service_tag.kind
    if found != kind:
        raise ValueError(f"{handler.target} is not for {method}: {handler.service_tag.name} is of kind {found}")
    return handler


def _awakeable(name: str) -> tuple[InvocationId, int]:
    try:
        return parse_awakeable_id(name)
    except MalformedId as error:
        raise InvalidId(str(error)) from None


def _shared_id(target: Target, idempotency_key: str | None) -> InvocationId:
    """The id that everyone gets who asks for this."""
    if idempotency_key is None and not target.run:
        raise ValueError(
            f"{target.service}/{target.handler} is attached to by an idempotency key; without one, every request is an "
            f"invocation of its own, with an id to attach to"
        )
    return id_of(target, idempotency_key)
