"""Definitions that a caller writes without the callee's code: a class whose methods have the handlers' signatures.

    class GreeterApi(Protocol):
        async def greet(self, name: str) -> str: ...

    await ctx.service_client(GreeterApi, name="Greeter").greet("Hi")
    await ctx.service_call(GreeterApi.greet, "Hi")

Which service it is: `name=` where a client is made; else what `@definition` says; else the class attribute
`__barnabas_service__`; else the class's own name, without "Api" or "Protocol" at its end. A method that is passed by
itself finds its class by the mark that `@definition` leaves on it, else by its module and qualified name: that suffices
for classes at the top level of a module (or within such a class), and others are told to use `@definition`. Serdes come
from the annotations, as a handler's do. What was made of a method is kept as long as the method.

Called by `handler.handler_of` and by `clients`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NoReturn, TypeVar, get_args, get_origin
from weakref import WeakKeyDictionary

from barnabas.sdk.annotations import resolve
from barnabas.sdk.futures import SendHandle
from barnabas.sdk.handler import Handler, HandlerKind, ServiceKind, ServiceTag
from barnabas.sdk.serde import serde_for

C = TypeVar("C")
T = TypeVar("T")

_DECLARED: Final = "__barnabas_definition__"  # on a class: what `@definition` was told
_CLASS: Final = "__barnabas_definition_class__"  # on its methods: the class
_SERVICE: Final = "__barnabas_service__"  # on a class, written by hand: the service's name
_METHODS: Final = "__barnabas_methods__"  # on a class: what `_methods` found
_SUFFIXES: Final = ("Api", "Protocol")
_CONTEXT_NAMES: Final = ("ctx", "context")
_NO_HANDLERS: Final[Mapping[str, str]] = types.MappingProxyType({})


class SentMessage(Generic[T]):
    """Base of what a client's sends give back, whose result has the type T."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Declared:
    name: str
    kind: ServiceKind | None
    main: str
    handlers: Mapping[str, str] = field(default_factory=dict)


def definition(
    name: str,
    *,
    kind: ServiceKind | None = None,
    main: str = "run",
    handlers: Mapping[str, str] = _NO_HANDLERS,
) -> Callable[[C], C]:
    """Decorate a Protocol or abstract class whose methods have the signatures of the handlers of the service `name`.

    `kind` guards against `object_call` of a service and the like. `main` is the method of a workflow that runs once a
    key. `handlers` maps methods to handlers whose names are no Python names. Raises TypeError for anything but a class.
    """

    def declare(cls: C) -> C:
        if not isinstance(cls, type):
            raise TypeError(f"@barnabas.definition({name!r}) decorates a class, not {cls!r}")
        setattr(cls, _DECLARED, _Declared(name, kind, main, dict(handlers)))
        for attribute, method in _methods(cls).items():
            _claim(cls, attribute, method)
        delattr(cls, _METHODS)  # some were copied
        return cls

    return declare


def _claim(cls: type, attribute: str, method: types.FunctionType) -> None:
    """Mark a method as one of `cls`; an inherited one is copied, since it belongs to its own class too."""
    if attribute not in cls.__dict__:
        copy = types.FunctionType(
            method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__
        )
        copy.__kwdefaults__ = method.__kwdefaults__
        functools.update_wrapper(copy, method)
        setattr(cls, attribute, copy)
        method = copy
    setattr(method, _CLASS, cls)


def is_definition(source: object) -> bool:
    """Whether `source` is a class that can stand for a service: one with public methods."""
    return isinstance(source, type) and bool(_methods(source))


def service_of(cls: type) -> tuple[str, ServiceKind | None]:
    """The service that the class stands for, and its kind if that was declared."""
    declared: _Declared | None = getattr(cls, _DECLARED, None)
    if declared is not None:
        return declared.name, declared.kind
    named = getattr(cls, _SERVICE, None)
    if isinstance(named, str):
        return named, None
    suffix = next((end for end in _SUFFIXES if cls.__name__.endswith(end) and cls.__name__ != end), "")
    return cls.__name__.removesuffix(suffix), None


def methods_of(cls: type) -> list[str]:
    """The methods of a definition that stand for handlers."""
    return sorted(_methods(cls))


def handler_of_class(cls: type, attribute: str, service: str, kind: ServiceKind) -> Handler[Any, Any] | None:
    """The handler that the method stands for, if there is such a method. Raises TypeError for one that cannot be."""
    method = _methods(cls).get(attribute)
    return None if method is None else _handler(cls, attribute, method, service, kind)


def handler_of_method(method: object, kind: ServiceKind | None) -> Handler[Any, Any] | None:
    """The handler that a method of a definition, `GreeterApi.greet`, stands for; None if it is no such method.

    `kind` is what the caller takes the service for, where the definition does not say. Raises ValueError if its class
    cannot be found, TypeError if it cannot be a handler.
    """
    if not isinstance(method, types.FunctionType):
        return None
    cls = getattr(method, _CLASS, None) or _class_by_name(method)
    if cls is None or method.__name__ not in _methods(cls):
        return None
    service, declared = service_of(cls)
    return _handler(cls, method.__name__, method, service, declared or kind or "service")


def _class_by_name(method: types.FunctionType) -> type | None:
    path = method.__qualname__.split(".")[:-1]
    if not path:
        return None  # a function of the module
    if path[-1] == "<locals>":
        return None  # a function within a function
    if "<locals>" in path:
        _unreachable(method, "is defined within a function")
    found: Any = sys.modules.get(method.__module__)
    for name in path:
        found = getattr(found, name, None)
    if not isinstance(found, type) or inspect.getattr_static(found, method.__name__, None) is not method:
        _unreachable(method, f"is not to be found as {method.__module__}.{'.'.join(path)}")
    return found


def _unreachable(method: types.FunctionType, why: str) -> NoReturn:
    raise ValueError(
        f"the class of {method.__qualname__} {why}, so its service is unknown: decorate the class with "
        f'@barnabas.definition("TheService"), or make a client of it with name="TheService"'
    )


#: What was made of methods, by (service, kind): a definition may stand for several services.
_made: Final[WeakKeyDictionary[types.FunctionType, dict[tuple[str, str], Handler[Any, Any]]]] = WeakKeyDictionary()


def _handler(
    cls: type, attribute: str, method: types.FunctionType, service: str, kind: ServiceKind
) -> Handler[Any, Any]:
    known = _made.setdefault(method, {})
    handler = known.get((service, kind))
    if handler is None:
        declared: _Declared = getattr(cls, _DECLARED, None) or _Declared(service, kind, "run")
        handler = known[service, kind] = _make(declared, attribute, method, ServiceTag(kind, service))
    return handler


def _make(declared: _Declared, attribute: str, method: types.FunctionType, tag: ServiceTag) -> Handler[Any, Any]:
    parameter = _input(method)
    annotation = None if parameter is None else resolve(method, parameter.annotation)
    returned = _outcome(resolve(method, inspect.signature(method).return_annotation))
    kind: HandlerKind | None = None
    if tag.kind == "workflow":
        kind = "workflow" if attribute == declared.main else "shared"
    return Handler(
        service_tag=tag,
        name=declared.handlers.get(attribute, attribute),
        kind=kind,
        fn=_not_here,
        arity=1 if parameter is None else 2,
        input_serde=serde_for(annotation, checked=True),
        output_serde=serde_for(returned),
        input_type=annotation,
        output_type=returned,
        input_name=None if parameter is None else parameter.name,
        input_default=inspect.Parameter.empty if parameter is None else parameter.default,
        description=inspect.getdoc(method),
    )


async def _not_here(*args: Any) -> NoReturn:
    raise TypeError("a definition has no handlers to run, only their signatures: give barnabas.app the service itself")


def _input(method: types.FunctionType) -> inspect.Parameter | None:
    """The one parameter that is the handler's input; the context may stand before it."""
    parameters = list(inspect.signature(method).parameters.values())[1:]  # the first is self
    if parameters and _is_context(parameters[0]):
        del parameters[0]
    parameters = [p for p in parameters if not (p.kind is p.KEYWORD_ONLY and p.default is not p.empty)]
    if len(parameters) > 1 or any(
        p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters
    ):
        raise TypeError(
            f"{method.__qualname__}{inspect.signature(method)} cannot be a handler, which has at most one input: put "
            f"several values into a model or a dataclass"
        )
    return parameters[0] if parameters else None


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name in _CONTEXT_NAMES or named.rpartition(".")[2] in {
        "Context",
        "ObjectContext",
        "ObjectSharedContext",
        "WorkflowContext",
        "WorkflowSharedContext",
    }


def _outcome(annotation: Any) -> Any:
    """The handler's result by what a method of a definition returns: `X` of `Awaitable[X]`, `Sent[X]`, or `X`."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, (Awaitable, SentMessage)):
        return _outcome(get_args(annotation)[-1])
    if isinstance(annotation, type) and issubclass(annotation, (SendHandle, SentMessage)):
        return Any
    return annotation


def _methods(cls: type) -> dict[str, types.FunctionType]:
    """Public methods by name."""
    known: dict[str, types.FunctionType] | None = cls.__dict__.get(_METHODS)
    if known is None:
        members = ((name, inspect.getattr_static(cls, name)) for name in dir(cls) if not name.startswith("_"))
        known = {name: member for name, member in members if isinstance(member, types.FunctionType)}
        setattr(cls, _METHODS, known)  # on the class itself: a weak table's values would keep its keys alive
    return known
