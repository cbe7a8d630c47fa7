"""What type annotations say: resolved to types, and told apart by how they travel.

Used when handlers are defined and when a step's return type picks its serde; never per invocation.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typing_extensions

#: No annotation, or one that promises nothing.
UNTYPED: Final = (inspect.Parameter.empty, None, type(None), Any, object, typing.NoReturn, typing.Never)

_AWAITABLES: Final = (Awaitable, Coroutine)
_JSON_TYPES: Final = (str, int, float, bool, dict, list, *UNTYPED)


def resolve(fn: Callable[..., Any], annotation: Any) -> Any:
    """One annotation of `fn` as a type, if it is still text. Raises TypeError if what it names cannot be found.

    One by one: names that only a type checker sees may stand in annotations that nobody here asks for.
    """
    target: Any = inspect.unwrap(_function_of(fn))
    code = getattr(target, "__code__", None)
    closure = getattr(target, "__closure__", None) or ()
    known = _variables(code.co_freevars, closure or ()) if code else {}
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, getattr(target, "__globals__", {}), known, include_extras=True)["it"]
    except NameError as error:
        raise TypeError(
            f"an annotation of {getattr(target, '__qualname__', target)} cannot be resolved: {error}. Define the type "
            f"at the top level of the module, or leave `from __future__ import annotations` out of it"
        ) from error


def _variables(names: tuple[str, ...], cells: tuple[types.CellType, ...]) -> dict[str, Any]:
    """What a function sees of the functions around it. A variable that has no value yet is left out."""
    known = {}
    for name, cell in zip(names, cells, strict=True):
        with contextlib.suppress(ValueError):
            known[name] = cell.cell_contents
    return known


def return_annotation(action: Callable[..., Any]) -> Any:
    """What a step's action returns once awaited, or `inspect.Parameter.empty`. Asked for at every step, hence quick."""
    fn = _function_of(action)
    annotation = getattr(fn, "__annotations__", {}).get("return", inspect.Parameter.empty)
    if isinstance(annotation, str):
        annotation = _resolved_once(fn, annotation)
    return awaited(annotation)


def awaited(annotation: Any) -> Any:
    """`X` of `Awaitable[X]` and `Coroutine[Any, Any, X]`; anything else as it is."""
    return get_args(annotation)[-1] if get_origin(annotation) in _AWAITABLES and get_args(annotation) else annotation


#: Text annotations that were resolved, by the code they stand at: a closure is a new object every time, its code not.
_resolved: Final[weakref.WeakKeyDictionary[types.CodeType, dict[tuple[Any, str], Any]]] = weakref.WeakKeyDictionary()


def _resolved_once(fn: Any, text: str) -> Any:
    code = getattr(fn, "__code__", None)
    if code is None:
        return resolve(fn, text)
    known = _resolved.setdefault(code, {})
    key = (fn.__module__, text)
    if key not in known:
        known[key] = resolve(fn, text)
    return known[key]


def _function_of(action: Any) -> Any:
    """The function that runs when `action` is called."""
    while isinstance(action, functools.partial):
        action = action.func
    if isinstance(action, (types.FunctionType, types.BuiltinFunctionType, type)):
        return action
    return getattr(action, "__func__", None) or type(action).__call__


def is_json(annotation: Any) -> bool:
    """Whether every value of this type is a JSON value already, so that nothing has to be built of what json reads."""
    if annotation in _JSON_TYPES:
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) or origin is list:
        return all(map(is_json, args))
    if origin is dict:  # typing.Dict has none, and says as much as dict
        return not args or (args[0] is str and is_json(args[1]))
    return origin is Literal and all(isinstance(value, (str, int, bool)) for value in args)


def marks(annotation: Any) -> tuple[Any, ...]:
    """What `Annotated` says besides the type."""
    return tuple(annotation.__metadata__) if get_origin(annotation) is Annotated else ()


def without_none(annotation: Any) -> Any:
    """`X` of `Optional[X]`; anything else as it is."""
    args = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType) and len(args) == 2 and type(None) in args:
        return args[0] if args[1] is type(None) else args[1]
    return annotation


def mentions(annotation: Any, base: type) -> bool:
    """Whether a subclass of `base` stands anywhere in the annotation."""
    cls = get_origin(annotation) or annotation
    if isinstance(cls, type) and issubclass(cls, base):
        return True
    return any(mentions(arg, base) for arg in get_args(annotation))


def with_portable_dicts(annotation: Any) -> Any:
    """The annotation with each `typing.TypedDict` replaced by an equal one of typing_extensions.

    pydantic refuses the standard one before Python 3.12, where it does not yet know its required keys.
    """
    return annotation if sys.version_info >= (3, 12) else _portable(annotation, frozenset())


def _portable(annotation: Any, outer: frozenset[Any]) -> Any:
    if typing.is_typeddict(annotation):
        if annotation in outer:  # refers to itself
            return dict[str, Any]
        fields: dict[str, Any] = {}
        for name, hint in typing.get_type_hints(annotation, include_extras=True).items():
            required, bare = _marked_field(hint, name in annotation.__required_keys__)
            mark = typing_extensions.Required if required else typing_extensions.NotRequired
            fields[name] = mark[_portable(bare, outer | {annotation})]
        return typing_extensions.TypedDict(annotation.__name__, fields)  # type: ignore[operator]
    args = get_args(annotation)
    if get_origin(annotation) in (Literal, None) or not args:
        return annotation
    converted = tuple(_portable(arg, outer) for arg in args)
    if converted == args:
        return annotation
    if isinstance(annotation, types.UnionType):
        return Union[converted]  # noqa: UP007 - made of a tuple
    return annotation.copy_with(converted) if hasattr(annotation, "copy_with") else get_origin(annotation)[converted]


def _marked_field(hint: Any, required: bool) -> tuple[bool, Any]:
    """Whether a field must be there, and its type. Its mark comes before `required`, which misses marks in text."""
    origin = get_origin(hint)
    if origin in (typing.Required, typing_extensions.Required):
        return True, get_args(hint)[0]
    if origin in (typing.NotRequired, typing_extensions.NotRequired):
        return False, get_args(hint)[0]
    return required, hint
