"""A service as source text: a Protocol of its handlers, and two of its sends. Called by `package`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.handler import Handler
from barnabas.sdk.serde import BytesSerde, JsonSerde, MsgspecJsonSerde, PydanticJsonSerde, Serde, TypedJsonSerde
from barnabas.stubs.classes import docstring
from barnabas.stubs.expressions import RESERVED, Expressions, free_name, identifier

_EMPTY: Final = inspect.Parameter.empty


class Names(NamedTuple):
    """What the classes of one service are called."""

    calls: str
    sends: str  # of a handler's context
    client_sends: str


def names_of(services: Iterable[ServiceDefinition]) -> list[Names]:
    """Names for the classes of each service: its own, unless another one or the package itself has it."""
    taken = set(RESERVED)

    def take(wanted: str) -> str:
        name = free_name(wanted, taken)
        taken.add(name)
        return name

    calls = [take(identifier(service.name)) for service in services]
    return [Names(name, take(f"{name}Send"), take(f"{name}ClientSend")) for name in calls]


class ServiceSource:
    """The classes of one service."""

    def __init__(self, service: ServiceDefinition, names: Names, expressions: Expressions) -> None:
        self.service = service
        self.names = names
        self.methods = _methods(service)
        self._expressions = expressions

    def source(self) -> str:
        """The three classes."""
        calls, sends, client_sends = self.names
        self._expressions.shadowed = self.methods
        return "\n\n\n".join(
            (
                self._class(calls, "Protocol", self.service.service_tag.description, "async def", "{0}"),
                self._class(
                    sends,
                    "barnabas.SendDefinition, Protocol",
                    f"Sends of a handler: `ctx.{self.service.kind}_send_client({sends}...)`.",
                    "def",
                    self._expressions.known("barnabas", "SendHandle"),
                ),
                self._class(
                    client_sends,
                    "barnabas.SendDefinition, Protocol",
                    f"Sends of a `barnabas.Client`: `client.{self.service.kind}_send_client({client_sends}...)`.",
                    "async def",
                    f"{self._expressions.known('barnabas', 'Sent')}[{{0}}]",
                ),
            )
        )

    def _class(self, name: str, bases: str, doc: str | None, keyword: str, result: str) -> str:
        body = docstring(doc)
        for method, handler in self.methods.items():
            body += ["", *self._method(method, handler, keyword, result)]
        lines = "\n".join(f"    {line}" if line else "" for line in body)
        return f"@barnabas.definition({self._declared()})\nclass {name}({bases}):\n{lines.lstrip(chr(10))}"

    def _declared(self) -> str:
        parts = [repr(self.service.name), f"kind={self.service.kind!r}"]
        mains = [method for method, handler in self.methods.items() if handler.kind == "workflow"]
        parts += [f"main={method!r}" for method in mains if method != "run"]
        renamed = {method: handler.name for method, handler in self.methods.items() if method != handler.name}
        return ", ".join([*parts, f"handlers={renamed!r}"] if renamed else parts)

    def _method(self, method: str, handler: Handler[Any, Any], keyword: str, result: str) -> list[str]:
        returned = result.format(self._type(handler.output_serde, handler.output_type))
        parameters = "self"
        if handler.arity == 2:
            parameters = f"self, {self._parameter(handler)}"
        comments = [f"# {note}" for note in self._expressions.take_notes()]
        doc = [f"    {line}" if line else "" for line in docstring(handler.description)]
        return [*comments, f"{keyword} {method}({parameters}) -> {returned}:", *doc, "    ..."]

    def _parameter(self, handler: Handler[Any, Any]) -> str:
        name = identifier(handler.input_name or "value")
        text = f"{'value' if name == 'self' else name}: {self._type(handler.input_serde, handler.input_type)}"
        default = None if handler.input_default is _EMPTY else self._expressions.value(handler.input_default)
        return text if default is None else f"{text} = {default}"

    def _type(self, serde: Serde[Any], annotation: Any) -> str:
        """The type of a handler's input or output, as it travels."""
        if isinstance(serde, AvroSerde):
            base = Any if annotation is _EMPTY else annotation
            return self._expressions.with_avro(serde.model if serde.model is not None and base is Any else base, serde)
        if isinstance(serde, BytesSerde):
            return "bytes | None" if annotation == bytes | None else "bytes"
        if isinstance(serde, (PydanticJsonSerde, MsgspecJsonSerde, TypedJsonSerde)) and annotation is _EMPTY:
            return self._expressions.of(serde.annotation if isinstance(serde, TypedJsonSerde) else serde.model)
        if isinstance(serde, (JsonSerde, PydanticJsonSerde, MsgspecJsonSerde, TypedJsonSerde)):
            return self._expressions.of(annotation)
        self._expressions.note(f"{type(serde).__qualname__}, a serde of the app, makes these bytes")
        return "bytes"


def types_of(handler: Handler[Any, Any]) -> list[Any]:
    """Every annotation that matters for what a handler takes and gives."""
    found = [handler.input_type, handler.output_type]
    for serde in (handler.input_serde, handler.output_serde):
        found += [getattr(serde, name) for name in ("model", "annotation") if hasattr(serde, name)]
    return [one for one in found if one is not None and one is not _EMPTY]


def _methods(service: ServiceDefinition) -> dict[str, Handler[Any, Any]]:
    """Handlers by the names of their methods: their own, if that is a public name and no word of Python's."""
    handlers = list(service.handlers.values())
    own = {handler.name for handler in handlers if identifier(handler.name) == handler.name}
    found: dict[str, Handler[Any, Any]] = {}
    for handler in handlers:
        name = handler.name if handler.name in own else free_name(identifier(handler.name), {*own, *found})
        found[name] = handler
    return found
