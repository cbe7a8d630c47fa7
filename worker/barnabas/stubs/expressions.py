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
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pydantic
import typing_extensions

from barnabas.sdk.annotations import marks
from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.strict_json import msgspec

_BARE: Final[dict[Any, str]] = {
    dict: "dict[str, Any]",
    list: "list[Any]",
    set: "set[Any]",
    frozenset: "frozenset[Any]",
    tuple: "tuple[Any, ...]",
}
_LITERALS: Final = (str, int, bool, bytes, type(None))


class ClassNames:
    """The app's classes that are needed, by the names they get. In the order in which they can be defined."""

    def __init__(self) -> None:
        self.names: dict[type, str] = {}

    def name_of(self, cls: type) -> str:
        """The class's name in the package: its own, unless another class has it."""
        name = self.names.get(cls)
        if name is None:
            wanted = identifier(cls.__name__)
            name = next(n for n in _numbered(wanted) if n not in self.names.values())
            self.names[cls] = name
        return name


class Expressions:
    """Makes the expressions of one module, and collects what it has to import."""

    def __init__(self, classes: ClassNames, prefix: str = "") -> None:
        """`prefix` stands before the names of the app's classes."""
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}  # expressions that are too long to repeat, and their names
        self._classes = classes
        self._prefix = prefix
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

    def _any(self, note: str | None = None) -> str:
        if note is not None:
            self.note(note)
        self.imports.add("from typing import Any")
        return "Any"

    def _annotated(self, annotation: Any) -> str:
        base = get_args(annotation)[0]
        avro = next((mark for mark in marks(annotation) if isinstance(mark, AvroSerde)), None)
        return self.of(base) if avro is None else self.with_avro(base, avro)

    def with_avro(self, base: Any, serde: AvroSerde[Any]) -> str:
        """A type whose values travel as Avro."""
        if get_origin(base) is Annotated:
            base = get_args(base)[0]
        self.imports.update(
            {"from typing import Annotated", "from typing import Any", "from barnabas.serde import AvroSerde"}
        )
        model = "" if serde.model is None else f", {self.of(serde.model)}"
        made = f"AvroSerde({serde.schema!r}{model})"
        return f"Annotated[{self.of(base)}, {self.constants.setdefault(made, f'avro{len(self.constants) + 1}')}]"

    def _literal(self, annotation: Any) -> str:
        values = [self.value(value) for value in get_args(annotation)]
        if any(value is None for value in values):
            return self._any(f"{annotation!r} cannot be written down here")
        self.imports.add("from typing import Literal")
        return f"Literal[{', '.join(map(str, values))}]"

    def _generic(self, annotation: Any, origin: Any) -> str:
        name = self._importable(origin)
        args = get_args(annotation)
        if name is None or origin is collections.abc.Callable or any(isinstance(arg, list) for arg in args):
            return self._any(f"{_shown(annotation)} cannot be expressed here")
        if annotation == tuple[()]:
            return "tuple[()]"
        return f"{name}[{', '.join('...' if arg is ... else self.of(arg) for arg in args)}]"

    def _class(self, cls: type) -> str:
        if cls in _BARE:
            self._any()
            return _BARE[cls]
        name = self._importable(cls)
        if name is not None:
            return name
        if is_recreated(cls):
            return self._prefix + self._classes.name_of(cls)
        return self._any(f"{_shown(cls)} is known to the app alone")

    def _importable(self, cls: Any) -> str | None:
        found = _importable(cls)
        if found is None:
            return None
        module, name = found
        if module == "builtins":
            return name
        if module == "pydantic":
            self.imports.add("import pydantic")
            return f"pydantic.{name}"
        alias = "_" + module.replace(".", "_")  # no field of a model has such a name
        self.imports.add(f"import {module} as {alias}")
        return f"{alias}.{name}"

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
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "name"
    return f"n{name}" if name[0].isdigit() else f"{name}_" if keyword.iskeyword(name) else name


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
