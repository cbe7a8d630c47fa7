"""A handler as the runtime sees it: what was defined, with every setting resolved, and how it is called.

`make_handler` runs when a decorator does; `handler_of`, `start`, `decode_input` and `encode_output` are on the hot
path.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeVar, cast

from barnabas.sdk.annotations import UNTYPED, awaited, resolve, without_none
from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.handler_type import HandlerType
from barnabas.sdk.input_errors import explain
from barnabas.sdk.retry_policy import DEFAULT_POLICY, ResolvedRetryPolicy
from barnabas.sdk.serde import (
    BytesSerde,
    DefaultSerde,
    MsgspecJsonSerde,
    PydanticJsonSerde,
    Serde,
    TypedJsonSerde,
    serde_for,
)

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

HandlerKind = Literal["exclusive", "shared", "workflow"]
ServiceKind = Literal["object", "service", "workflow"]
#: What becomes of a call that would wait for itself: it waits until somebody cancels it, or fails at once.
OnDeadlock = Literal["wait", "fail"]
ContextManagers = list[Callable[[], AbstractAsyncContextManager[None]]]

JSON_TYPE: Final = "application/json"
_BYTES_TYPE: Final = "application/octet-stream"
_MARK: Final = "__barnabas_handler__"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class ServiceTag:
    """Which service a handler belongs to."""

    kind: ServiceKind
    name: str
    description: str | None = None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSettings:
    """What may be set for a service and again for each of its handlers. None: not set here."""

    metadata: dict[str, str] | None = None
    inactivity_timeout: timedelta | None = None
    abort_timeout: timedelta | None = None
    journal_retention: timedelta | None = None
    idempotency_retention: timedelta | None = None
    workflow_retention: timedelta | None = None
    state_preload: bool | list[str] | None = None
    ingress_private: bool | None = None
    on_deadlock: OnDeadlock | None = None

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError for a value that makes no sense, where it is written."""
        for name in _TIMES:
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, timedelta):
                raise TypeError(f"{name} is a datetime.timedelta, not a {type(value).__name__}: timedelta(hours=1)")
            if value < timedelta(0):
                raise ValueError(f"{name} cannot be negative: {value}")
        if self.on_deadlock not in (None, "wait", "fail"):
            raise ValueError(f"on_deadlock is 'wait' or 'fail', not {self.on_deadlock!r}")


#: Settings that are spans of time.
_TIMES: Final = (
    "inactivity_timeout",
    "abort_timeout",
    "journal_retention",
    "idempotency_retention",
    "workflow_retention",
)


@dataclass(slots=True, eq=False)
class Handler(Generic[I, O]):
    """One handler, with the settings of its service filled in. Only `needs_task` changes after it was made."""

    service_tag: ServiceTag
    name: str
    kind: HandlerKind | None  # None: of a service, which has no keys
    fn: Callable[..., Awaitable[O]]
    arity: int  # 1: context only; 2: context and input
    input_serde: Serde[I]
    output_serde: Serde[O]
    input_type: Any = inspect.Parameter.empty  # the annotations, for schemas and documentation
    output_type: Any = inspect.Parameter.empty
    input_required: bool = False  # an empty payload is not an input
    accept: str = JSON_TYPE
    content_type: str = JSON_TYPE
    description: str | None = None
    settings: HandlerSettings = field(default_factory=HandlerSettings)
    retry_policy: ResolvedRetryPolicy = DEFAULT_POLICY
    context_managers: tuple[Callable[[], AbstractAsyncContextManager[None]], ...] = ()
    input_name: str | None = None  # of the parameter, for callers who name it
    input_default: Any = inspect.Parameter.empty
    empty_is_default: bool = False  # an empty payload is the default
    needs_task: bool = False  # the runtime has seen it ask for its asyncio task

    @property
    def target(self) -> str:
        """`Service/handler`, as people and the journal write it."""
        return f"{self.service_tag.name}/{self.name}"


def make_handler(
    *,
    service_tag: ServiceTag,
    kind: HandlerKind | None,
    fn: Callable[..., Awaitable[Any]],
    name: str | None,
    accept: str,
    content_type: str,
    input_serde: Serde[Any],
    output_serde: Serde[Any],
    settings: HandlerSettings,
    retry_policy: ResolvedRetryPolicy,
    context_managers: ContextManagers,
) -> Handler[Any, Any]:
    """The handler that a decorator defines. Raises TypeError or ValueError, saying what to change, if it is none."""
    name = _checked_name(service_tag, name, fn)
    signature = inspect.signature(fn)
    parameters = [p for p in signature.parameters.values() if p.default is p.empty or p.kind is not p.KEYWORD_ONLY]
    if not 1 <= len(parameters) <= 2 or any(
        p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
    ):
        raise ValueError(
            f"handler {service_tag.name}/{name} must take the context and at most one input, as in "
            f"`async def {name}(ctx, order)`; it is defined as {name}{signature}"
        )
    annotation = resolve(fn, parameters[1].annotation) if len(parameters) == 2 else None
    returned = awaited(resolve(fn, signature.return_annotation))
    default = parameters[1].default if len(parameters) == 2 else inspect.Parameter.empty
    chosen_input = _chosen(input_serde, annotation, checked=True)
    chosen_output = _chosen(output_serde, returned, checked=False)
    if chosen_input is not input_serde and isinstance(chosen_input, BytesSerde) and accept == JSON_TYPE:
        accept = "*/*"
    if chosen_output is not output_serde and isinstance(chosen_output, BytesSerde) and content_type == JSON_TYPE:
        content_type = _BYTES_TYPE
    return Handler(
        service_tag=service_tag,
        name=name,
        kind=kind,
        fn=fn,
        arity=len(parameters),
        input_serde=chosen_input,
        output_serde=chosen_output,
        input_type=annotation,
        output_type=returned,
        input_required=default is inspect.Parameter.empty and _wants_value(chosen_input, annotation),
        accept=accept,
        content_type=content_type,
        description=inspect.getdoc(fn),
        settings=settings,
        retry_policy=retry_policy,
        context_managers=tuple(context_managers),
        input_name=parameters[1].name if len(parameters) == 2 else None,
        input_default=default,
        empty_is_default=default is not inspect.Parameter.empty and _empty_is_default(chosen_input, annotation),
    )


def _checked_name(service_tag: ServiceTag, name: str | None, fn: Callable[..., Any]) -> str:
    if callable(name):
        raise TypeError(f"the decorators of {service_tag.name} are called: write `.handler()` instead of `.handler`")
    name = str(name or getattr(fn, "__name__", ""))
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a handler of {service_tag.name}: use letters, digits, '_', '.' and '-', "
            f"starting with a letter or '_' (`.handler(name=...)`)"
        )
    return name


def _chosen(serde: Serde[Any], annotation: Any, checked: bool) -> Serde[Any]:
    """The serde that the user gave, or the one for the annotation."""
    if type(serde) is not DefaultSerde:
        return serde
    return serde_for(annotation if serde.type_hint is None else serde.type_hint, checked)


def _wants_value(serde: Serde[Any], annotation: Any) -> bool:
    """Whether an empty payload, which reads as None, contradicts the annotation."""
    if annotation in UNTYPED:
        return False
    if isinstance(serde, TypedJsonSerde):
        return not _admits_none(serde)
    return (
        isinstance(serde, (PydanticJsonSerde, MsgspecJsonSerde, AvroSerde)) and without_none(annotation) is annotation
    )


def _empty_is_default(serde: Serde[Any], annotation: Any) -> bool:
    """Whether who sends nothing means the default, and not None or no bytes."""
    return annotation is inspect.Parameter.empty or _wants_value(serde, annotation)


def _admits_none(serde: TypedJsonSerde[Any]) -> bool:
    try:
        serde.adapter.validate_python(None)
    except ValueError:
        return False
    return True


def marked(fn: Callable[..., Any], handler: Handler[Any, Any]) -> Callable[..., Any]:
    """What the decorator returns: calls `fn`, and `handler_of` finds the handler by it.

    A function of its own, so that one function can be a handler of two services.
    """

    @functools.wraps(fn)
    def handled(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    setattr(handled, _MARK, handler)
    return handled


def handler_of(tpe: HandlerType[I, O] | Handler[I, O], kind: ServiceKind | None = None) -> Handler[I, O]:
    """The handler that a decorated function defines, or that a method of a caller's own definition stands for.

    `kind` is the kind of service that the caller takes it for, where the definition does not say. Raises ValueError if
    it is neither, TypeError for a definition that cannot be a handler.
    """
    handler = getattr(tpe, _MARK, None)
    if handler is None:
        handler = _stands_for(tpe, kind)
    return cast(Handler[I, O], handler)


def _stands_for(tpe: object, kind: ServiceKind | None) -> Handler[Any, Any]:
    if isinstance(tpe, Handler):
        return tpe
    from barnabas.sdk.protocols import handler_of_method  # which makes handlers, and so imports this module

    handler = handler_of_method(tpe, kind)
    if handler is None:
        raise ValueError(
            f"{getattr(tpe, '__qualname__', tpe)!r} is no handler: pass a function that a service's decorator "
            f"returned, a method of a definition (GreeterApi.greet), or call it by names with generic_call"
        )
    return handler


def start(handler: Handler[I, O], ctx: Any, payload: bytes) -> Coroutine[Any, Any, O]:
    """The handler's coroutine for an invocation, not yet running. Raises TerminalError 400 for a payload that is none.

    It is the user's own coroutine, with nothing around it, unless the handler has context managers.
    """
    args = (ctx,) if handler.arity == 1 else (ctx, decode_input(handler, payload))
    if handler.context_managers:
        return _managed(handler, args)
    coro = handler.fn(*args)
    if inspect.iscoroutine(coro):
        return coro
    return _awaited(handler, coro)


async def _managed(handler: Handler[I, O], args: tuple[Any, ...]) -> O:
    async with AsyncExitStack() as stack:
        for manager in handler.context_managers:
            await stack.enter_async_context(manager())
        return await handler.fn(*args)


async def _awaited(handler: Handler[I, O], result: Any) -> O:
    if not inspect.isawaitable(result):
        raise TypeError(f"handler {handler.target} is not asynchronous: define it with `async def`")
    value: O = await result
    return value


def decode_input(handler: Handler[I, O], payload: bytes) -> I | None:
    """The input of an invocation. Raises TerminalError 400, which names the field and never the value."""
    if not payload:
        if handler.input_required:
            raise TerminalError(
                "Unable to parse an input argument: the payload is empty, the handler wants a value", 400
            )
        if handler.empty_is_default:
            return cast(I, handler.input_default)
    try:
        return handler.input_serde.deserialize(payload)
    except TerminalError:
        raise
    except Exception as error:  # a serde may raise anything; all of it means that the payload is not for this handler
        raise TerminalError(f"Unable to parse an input argument: {explain(error)}", 400) from None


def encode_output(handler: Handler[I, O], value: O) -> bytes:
    """The result as bytes. Raises TerminalError 500 for what its serde refuses.

    Terminal, although the code is wrong and may be mended: the handler has run to its end, so it would give the same
    again, and an exclusive one would keep its key for as long as it is tried again (F55).
    """
    try:
        raw = handler.output_serde.serialize(value)
        return raw if type(raw) is bytes else bytes(raw)
    except TerminalError:
        raise
    except Exception as error:  # a serde may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise TerminalError(f"the result of {handler.target} cannot be sent: {reason}", 500) from error
