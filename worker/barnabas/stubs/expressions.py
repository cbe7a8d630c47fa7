"""Type annotations as source text, for a package that cannot import where the types come from.

Types of the language, the standard library and pydantic are imported; classes of the app are asked of `ClassNames`,
which has them written out again. What cannot be expressed is Any, and a note says so. Used by `classes` and `services`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import keyword
import re
import sys
import types
import typing
from collections.abc import Collection
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pydantic
import typing_extensions

from barnabas.sdk.annotations import marks
from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.strict_json import msgspec

_CONTAINERS: Final = (dict, list, set, frozenset, tuple)
#: Names that the modules of a package have for other things than the app's classes.
RESERVED: Final = frozenset(
    {"Annotated", "Any", "AvroSerde", "Literal", "NamedTuple", "NoReturn", "NotRequired", "Protocol", "TypedDict"}
    | {"barnabas", "dataclasses", "enum", "models", "pydantic", "services"}
    | {"bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple", "type"}
)
_LITERALS: Final = (str, int, bool, bytes, type(None))


class ClassNames:
    """The app's classes that are needed, by the names they get. In the order in which they can be defined."""

    def __init__(self) -> None:
        self.names: dict[type, str] = {}

    def name_of(self, cls: type) -> str:
        """The class's name in the package: its own, unless another class has it."""
        name = self.names.get(cls)
        if name is None:
            name = free_name(identifier(cls.__name__), {*RESERVED, *self.names.values()})
            self.names[cls] = name
        return name


class Expressions:
    """Makes the expressions of one module, and collects what it has to import."""

    def __init__(self, classes: ClassNames, elsewhere: bool = False) -> None:
        """`elsewhere`: the app's classes are in the module `models`, and this is another one."""
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}  # expressions that are too long to repeat, and their names
        #: Names that mean something else where the next expressions will stand: a handler may be called `list`.
        self.shadowed: Collection[str] = ()
        self._classes = classes
        self._elsewhere = elsewhere
        self._notes: list[str] = []
        self._open: list[Any] = []

    def take_notes(self) -> list[str]:
        """What could not be expressed since the last time."""
        notes, self._notes = list(dict.fromkeys(self._notes)), []
        return notes

    def of(self, annotation: Any) -> str:
        """The annotation as an expression."""
        if annotation is inspect.Parameter.empty or annotation in (Any, object):
            return self._any()
        if annotation in (typing.NoReturn, typing.Never):
            return self.known("typing", "NoReturn")
        if annotation in (None, type(None)):
            return "None"
        origin = get_origin(annotation)
        if origin is Annotated:
            return self._annotated(annotation)
        if origin in (Union, types.UnionType):
            return " | ".join(dict.fromkeys(map(self.of, get_args(annotation))))
        if origin is Literal:
            return self._literal(annotation)
        if origin is not None:
            return self._generic(annotation, origin)
        return self._class(annotation) if isinstance(annotation, type) else self._named(annotation)

    def value(self, value: Any) -> str | None:
        """A default as an expression; None if it cannot be written down."""
        if isinstance(value, enum.Enum):
            known = is_recreated(type(value)) or _importable(type(value)) is not None
            return f"{self.of(type(value))}.{value.name}" if known and value.name else None
        if type(value) in _LITERALS or (type(value) is float and value == value and abs(value) != float("inf")):
            return repr(value)
        if type(value) is dict:
            parts = [(self.value(k), self.value(v)) for k, v in value.items()]
            return None if any(None in part for part in parts) else f"{{{', '.join(f'{k}: {v}' for k, v in parts)}}}"
        if type(value) in (list, tuple):
            items = [self.value(item) for item in value]
            if any(item is None for item in items):
                return None
            inner = ", ".join(map(str, items))
            return f"[{inner}]" if type(value) is list else f"({inner}{',' if len(items) == 1 else ''})"
        return None

    def note(self, text: str) -> None:
        self._notes.append(text)

    def known(self, module: str, name: str) -> str:
        """A name of Python, of a library or of the package, which gets imported. In short where that is clear."""
        if module == "builtins" and name not in self.shadowed:
            return name
        if module == "typing" and name not in self.shadowed:
            self.imports.add(f"from typing import {name}")
            return name
        alias = module.replace(".", "_")
        if module not in ("models", "barnabas", "pydantic") or alias in self.shadowed:
            alias = f"_{alias}"  # no field and no handler has such a name
        renamed = "" if alias == module else f" as {alias}"
        self.imports.add(f"{'from . ' if module == 'models' else ''}import {module}{renamed}")
        return f"{alias}.{name}"

    def _any(self, note: str | None = None) -> str:
        if note is not None:
            self.note(note)
        return self.known("typing", "Any")

    def _annotated(self, annotation: Any) -> str:
        base = get_args(annotation)[0]
        avro = next((mark for mark in marks(annotation) if isinstance(mark, AvroSerde)), None)
        return self.of(base) if avro is None else self.with_avro(base, avro)

    def with_avro(self, base: Any, serde: AvroSerde[Any]) -> str:
        """A type whose values travel as Avro."""
        if get_origin(base) is Annotated:
            base = get_args(base)[0]
        self.imports.update({"from typing import Any", "from barnabas.serde import AvroSerde"})
        model = "" if serde.model is None else f", {self.of(serde.model)}"
        made = f"AvroSerde({serde.schema!r}{model})"
        constant = self.constants.setdefault(made, f"_avro{len(self.constants) + 1}")
        return f"{self.known('typing', 'Annotated')}[{self.of(base)}, {constant}]"

    def _literal(self, annotation: Any) -> str:
        values = [self.value(value) for value in get_args(annotation)]
        if any(value is None for value in values):
            return self._any(f"{annotation!r} cannot be written down here")
        return f"{self.known('typing', 'Literal')}[{', '.join(map(str, values))}]"

    def _generic(self, annotation: Any, origin: Any) -> str:
        name = self._importable(origin)
        args = get_args(annotation)
        if name is None or origin is collections.abc.Callable or any(isinstance(arg, list) for arg in args):
            return self._any(f"{_shown(annotation)} cannot be expressed here")
        if annotation == tuple[()]:
            return f"{name}[()]"
        if not args:  # typing.List says as much as list
            return self.of(origin)
        return f"{name}[{', '.join('...' if arg is ... else self.of(arg) for arg in args)}]"

    def _class(self, cls: type) -> str:
        name = self._importable(cls)
        if name is not None:
            return f"{name}[{self._content(cls)}]" if cls in _CONTAINERS else name
        if is_recreated(cls):
            own = self._classes.name_of(cls)
            return self.known("models", own) if self._elsewhere else own
        return self._any(f"{_shown(cls)} is known to the app alone")

    def _content(self, container: Any) -> str:
        """What is in a container whose annotation does not say."""
        if container is dict:
            return f"{self.known('builtins', 'str')}, {self._any()}"
        return f"{self._any()}, ..." if container is tuple else self._any()

    def _importable(self, cls: Any) -> str | None:
        found = _importable(cls)
        return None if found is None else self.known(*found)

    def _named(self, annotation: Any) -> str:
        """Aliases, new types and type variables: what they stand for."""
        if annotation in self._open:
            return self._any(f"{annotation} refers to itself")
        self._open.append(annotation)
        try:
            if hasattr(annotation, "__value__"):  # type X = ...
                return self.of(annotation.__value__)
            if hasattr(annotation, "__supertype__"):  # NewType
                return self.of(annotation.__supertype__)
            if isinstance(annotation, typing.TypeVar):
                return self.of(annotation.__bound__ or Any)
        finally:
            self._open.pop()
        return self._any(f"{_shown(annotation)} cannot be expressed here")


def is_recreated(cls: Any) -> bool:
    """Whether `classes` can write the class out again."""
    if not isinstance(cls, type) or not cls.__name__.isascii():
        return False
    if issubclass(cls, enum.Enum):
        return all(type(member.value) in _LITERALS for member in cls)
    if msgspec is not None and issubclass(cls, msgspec.Struct):
        return not cls.__struct_config__.array_like  # type: ignore[attr-defined]
    return (
        issubclass(cls, pydantic.BaseModel)
        or dataclasses.is_dataclass(cls)
        or typing_extensions.is_typeddict(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def identifier(text: str) -> str:
    """`text` as a Python name without a leading underscore."""
    inner = re.sub(r"^\W+|\W+$", "", text, flags=re.ASCII)
    name = re.sub(r"\W+", "_", inner, flags=re.ASCII).lstrip("_") or "name"
    return f"n{name}" if name[0].isdigit() else f"{name}_" if keyword.iskeyword(name) else name


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, or with a number behind it if that is taken."""
    return next(name for name in _numbered(wanted) if name not in taken)


def is_name(text: str) -> bool:
    """Whether a class body may define it."""
    return text.isidentifier() and not keyword.iskeyword(text) and not text.startswith("__")


def _importable(cls: Any) -> tuple[str, str] | None:
    """Module and name of what Python or pydantic has."""
    module, name = getattr(cls, "__module__", ""), getattr(cls, "__qualname__", "")
    top = module.partition(".")[0]
    if top != "pydantic" and (top not in sys.stdlib_module_names or top == "__main__"):
        return None
    for place in (top, module):
        if getattr(sys.modules.get(place), name, None) is cls and name.isidentifier():
            return place, name
    return None


def _numbered(wanted: str) -> typing.Iterator[str]:
    yield wanted
    number = 2
    while True:
        yield f"{wanted}{number}"
        number += 1


def _shown(annotation: Any) -> str:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return f"{annotation.__module__}.{annotation.__qualname__}"
    return str(annotation).replace("\n", " ")
