"""Clients of definitions: `ctx.object_client(cart, "Mary").add(item)` instead of `ctx.object_call(add, "Mary", item)`.

A client is made of a service (`barnabas.Service` and its kin) or of a class with the handlers' signatures, see
`protocols`. Its attributes are the handlers; each calls the method of the context or `barnabas.Client` that it was made
by, so that there is one implementation of calls and sends. `Clients` is the base of both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar, overload

from barnabas.sdk import protocols
from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.handler import Handler, ServiceKind

T = TypeVar("T")
_Issue = Callable[[Handler[Any, Any], Any], Any]


class SendDefinition(Protocol):
    """Base of the classes that say what sends give back, for type checkers; `barnabas stubs` writes such classes.

    class GreeterSend(SendDefinition, Protocol):
        def greet(self, name: str) -> SendHandle: ...
    """

    @property
    def __barnabas_sends__(self) -> None:
        """Tells type checkers that this is a class of sends."""


S = TypeVar("S", bound=SendDefinition)
_Definition = ServiceDefinition | Callable[..., object]


class Clients:
    """`service_client` and its kin, for whatever has `service_call` and its kin.

    All take a definition: a service, or a class with the handlers' signatures, whose service is `name` if it does not
    say. To a type checker a client has the type of such a class; made of a service, or for sends of anything but a
    SendDefinition, it is Any. `idempotency_key` and `headers` go with every request of the client. They raise TypeError
    or ValueError for what is no definition, or one of another kind. An unknown handler is an AttributeError that lists
    those there are.
    """

    @overload
    def service_client(
        self,
        definition: ServiceDefinition,
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    @overload
    def service_client(
        self,
        definition: Callable[..., T],
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> T: ...

    def service_client(
        self,
        definition: _Definition,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Calls to a service: `await ctx.service_client(greeter).greet("Ada")`."""
        call: Any = self.service_call  # type: ignore[attr-defined]
        return HandlerClient(
            definition, name, "service", lambda handler, arg: call(handler, arg, idempotency_key, _own(headers))
        )

    @overload
    def object_client(
        self,
        definition: ServiceDefinition,
        key: str,
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    @overload
    def object_client(
        self,
        definition: Callable[..., T],
        key: str,
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> T: ...

    def object_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Calls to the object with this key."""
        call: Any = self.object_call  # type: ignore[attr-defined]
        return HandlerClient(
            definition, name, "object", lambda handler, arg: call(handler, key, arg, idempotency_key, _own(headers))
        )

    @overload
    def workflow_client(
        self,
        definition: ServiceDefinition,
        key: str,
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    @overload
    def workflow_client(
        self,
        definition: Callable[..., T],
        key: str,
        *,
        name: str | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> T: ...

    def workflow_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Calls to the workflow with this key."""
        call: Any = self.workflow_call  # type: ignore[attr-defined]
        return HandlerClient(
            definition, name, "workflow", lambda handler, arg: call(handler, key, arg, idempotency_key, _own(headers))
        )

    @overload
    def service_send_client(
        self,
        definition: Callable[..., S],
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> S: ...

    @overload
    def service_send_client(
        self,
        definition: _Definition,
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    def service_send_client(
        self,
        definition: _Definition,
        *,
        name: str | None = None,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends to a service, after `delay` if there is one."""
        send: Any = self.service_send  # type: ignore[attr-defined]
        return HandlerClient(
            definition, name, "service", lambda handler, arg: send(handler, arg, delay, idempotency_key, _own(headers))
        )

    @overload
    def object_send_client(
        self,
        definition: Callable[..., S],
        key: str,
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> S: ...

    @overload
    def object_send_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    def object_send_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = None,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends to the object with this key, after `delay` if there is one."""
        send: Any = self.object_send  # type: ignore[attr-defined]
        return HandlerClient(
            definition,
            name,
            "object",
            lambda handler, arg: send(handler, key, arg, delay, idempotency_key, _own(headers)),
        )

    @overload
    def workflow_send_client(
        self,
        definition: Callable[..., S],
        key: str,
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> S: ...

    @overload
    def workflow_send_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = ...,
        delay: timedelta | None = ...,
        idempotency_key: str | None = ...,
        headers: Mapping[str, str] | None = ...,
    ) -> Any: ...

    def workflow_send_client(
        self,
        definition: _Definition,
        key: str,
        *,
        name: str | None = None,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends to the workflow with this key, after `delay` if there is one."""
        send: Any = self.workflow_send  # type: ignore[attr-defined]
        return HandlerClient(
            definition,
            name,
            "workflow",
            lambda handler, arg: send(handler, key, arg, delay, idempotency_key, _own(headers)),
        )


class HandlerClient:
    """Handlers as methods. Each takes the handler's input, if it has one, by position or by the parameter's name."""

    __slots__ = ("__find", "__issue", "__names")

    def __init__(self, definition: object, name: str | None, kind: ServiceKind, issue: _Issue) -> None:
        """`issue` makes the request. Raises TypeError or ValueError, see `Clients`."""
        self.__find, self.__names = _handlers(definition, name, kind)
        self.__issue = issue

    def __getattr__(self, attribute: str) -> Callable[..., Any]:
        handler = self.__find(attribute)
        if handler is None:
            have = ", ".join(sorted(self.__names())) or "none"
            raise AttributeError(f"there is no handler {attribute!r}, only: {have}", name=attribute, obj=self)
        issue = self.__issue

        def request(*args: Any, **kwargs: Any) -> Any:
            return issue(handler, _argument(handler, args, kwargs))

        request.__name__ = request.__qualname__ = attribute
        return request

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self.__names()})

    def __repr__(self) -> str:
        return f"HandlerClient({', '.join(sorted(self.__names()))})"


_Find = Callable[[str], Handler[Any, Any] | None]


def _handlers(definition: object, name: str | None, kind: ServiceKind) -> tuple[_Find, Callable[[], Iterable[str]]]:
    """How to find the handlers of a definition, and the names they go by."""
    if isinstance(definition, ServiceDefinition):
        if name not in (None, definition.name):
            raise ValueError(f"the service is {definition.name!r}, so name={name!r} contradicts it: leave it out")
        _check_kind(definition.name, definition.kind, kind)
        handlers = definition.handlers
        return handlers.get, handlers.keys
    if not isinstance(definition, type) or not protocols.is_definition(definition):
        raise TypeError(
            f"{definition!r} is no definition: pass a Service, VirtualObject or Workflow, or a class that has methods "
            f"with the signatures of the handlers"
        )
    cls = definition
    named, declared = protocols.service_of(cls)
    service = name or named
    if declared is not None:
        _check_kind(service, declared, kind)

    def find(attribute: str) -> Handler[Any, Any] | None:
        return protocols.handler_of_class(cls, attribute, service, kind)

    return find, lambda: protocols.methods_of(cls)


def _check_kind(service: str, found: ServiceKind, wanted: ServiceKind) -> None:
    if found != wanted:
        raise ValueError(
            f"{service} is of kind {found}, so its client is made by {found}_client or {found}_send_client"
        )


_MISSING: Final = inspect.Parameter.empty


def _argument(handler: Handler[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The input that a method of a client was called with. Raises TypeError as a function does."""
    if args and isinstance(args[0], Clients):  # a definition may have the context in its signatures
        args = args[1:]
    unknown = [name for name in kwargs if name != handler.input_name]
    if unknown:
        raise TypeError(f"{handler.target} has no parameter {unknown[0]!r}; {_takes(handler)}")
    values = (*args, *kwargs.values())
    if len(values) > 1 or (handler.arity == 1 and any(value is not None for value in values)):
        raise TypeError(f"{handler.target} was given {len(values)} inputs; {_takes(handler)}")
    if values:
        return values[0]
    if handler.arity == 1:
        return None
    if handler.input_default is _MISSING:
        raise TypeError(f"{handler.target} misses its input; {_takes(handler)}")
    return handler.input_default


def _takes(handler: Handler[Any, Any]) -> str:
    return "it takes none" if handler.arity == 1 else f"it takes one, {handler.input_name}"


def _own(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if headers is None else dict(headers)
