"""Values to bytes and back: the serdes that users name, and the choice of one for a type annotation.

Serdes for handlers are chosen when the handler is defined, those for steps and state once per type: pydantic's
adapters are dear to build (PITFALLS 50). None is always the empty payload, and the empty payload None.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import pydantic
from pydantic_core import PydanticSerializationError

from barnabas.sdk import annotations as ann
from barnabas.sdk.strict_json import dumps, loads, msgspec, refuse_non_finite

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - the name that Restate's signatures have


class Serde(ABC, Generic[T]):
    """Turns values into bytes and back. A subclass is given as `serde=`, `input_serde=` or `output_serde=`."""

    @abstractmethod
    def deserialize(self, buf: bytes) -> T | None:
        """The value of `buf`. May raise anything; as a handler's input that is a terminal error 400 for the caller."""

    @abstractmethod
    def serialize(self, obj: T | None) -> bytes:
        """The bytes of `obj`. What it raises fails the attempt."""


class BytesSerde(Serde[bytes]):
    """Bytes as they are."""

    def deserialize(self, buf: bytes) -> bytes | None:
        return buf

    def serialize(self, obj: bytes | None) -> bytes:
        return b"" if obj is None else bytes(obj)


class JsonSerde(Serde[I]):
    """JSON values, whatever their type."""

    def deserialize(self, buf: bytes) -> I | None:
        value: I | None = loads(buf) if buf else None
        return value

    def serialize(self, obj: I | None) -> bytes:
        return b"" if obj is None else dumps(obj)


class PydanticJsonSerde(Serde[I]):
    """A pydantic model as JSON, by the model's own rules.

    Fields with aliases are written with their names, as Restate's SDK does, unless the model says otherwise
    (`serialize_by_alias`), and read with either: what one handler writes another one can read.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def deserialize(self, buf: bytes) -> I | None:
        if not buf:
            return None
        # What model_validate_json does, less its own layer (0.9 us instead of 1.4 for two fields).
        value: I = self.model.__pydantic_validator__.validate_json(buf, by_alias=True, by_name=True)
        return value

    def serialize(self, obj: I | None) -> bytes:
        if obj is None:
            return b""
        if not isinstance(obj, pydantic.BaseModel):
            raise TypeError(f"expected a {self.model.__name__}, not a {type(obj).__qualname__}")
        return refuse_non_finite(obj, obj.__pydantic_serializer__.to_json(obj))


class MsgspecJsonSerde(Serde[I]):
    """A msgspec struct, or a container of them, as JSON. Needs the package msgspec."""

    def __init__(self, model: Any) -> None:
        if msgspec is None:
            raise ImportError("MsgspecJsonSerde needs the package msgspec: pip install msgspec")
        self.model = model
        self._decode = msgspec.json.Decoder(model).decode
        self._encode = msgspec.json.Encoder().encode

    def deserialize(self, buf: bytes) -> I | None:
        if not buf:
            return None
        value: I = self._decode(buf)
        return value

    def serialize(self, obj: I | None) -> bytes:
        return b"" if obj is None else refuse_non_finite(obj, self._encode(obj))


class TypedJsonSerde(Serde[I]):
    """JSON checked against any type that pydantic knows: dataclasses, typed dicts, `list[Model]`, dates, unions.

    Aliases are treated as `PydanticJsonSerde` does.
    Raises TypeError for a type that has no JSON form.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ann.with_portable_dicts(annotation))
        except pydantic.errors.PydanticUserError as error:
            raise TypeError(f"no JSON form is known for {annotation!r}: give a serde for it") from error
        self.adapter = adapter
        # An adapter whose types are all known is called without its own layer, which takes as long as the work itself.
        complete = adapter.pydantic_complete
        validate = adapter.validator.validate_json if complete else adapter.validate_json
        self._validate: Callable[[bytes], Any] = functools.partial(validate, by_alias=True, by_name=True)
        self._dump: Callable[..., bytes] = adapter.serializer.to_json if complete else adapter.dump_json
        self._plain = ann.is_json(annotation)

    def deserialize(self, buf: bytes) -> I | None:
        value: I | None = self._validate(buf) if buf else None
        return value

    def serialize(self, obj: I | None) -> bytes:
        if obj is None:
            return b""
        if self._plain:  # the reader checks it; what is JSON can be sent
            return dumps(obj)
        try:
            return refuse_non_finite(obj, self._dump(obj, warnings="error"))
        except PydanticSerializationError as error:
            raise TypeError(f"a value of type {type(obj).__qualname__} is not a {self.annotation!r}") from error


class DefaultSerde(Serde[I]):
    """The serde that follows the type: models, structs, dataclasses and containers of them by their rules, else JSON.

    Without a type, reading gives JSON values, and writing takes models and dataclasses too.
    """

    def __init__(self, type_hint: Any = None) -> None:
        self.type_hint = type_hint
        self._chosen: Serde[Any] = _JSON if type_hint is None else _lenient_serde(type_hint)

    def with_maybe_type(self, type_hint: Any = None) -> DefaultSerde[I]:
        """A serde of the same kind for a type, or for none. This one stays as it is."""
        return DefaultSerde(type_hint)

    def deserialize(self, buf: bytes) -> I | None:
        value: I | None = self._chosen.deserialize(buf)
        return value

    def serialize(self, obj: I | None) -> bytes:
        return self._chosen.serialize(obj)


_JSON: Final = JsonSerde[Any]()
_BYTES: Final = BytesSerde()

#: The default of every `serde` parameter.
DEFAULT_SERDE: Final[Serde[Any]] = DefaultSerde()


def serde_for(annotation: Any, checked: bool = False) -> Serde[Any]:
    """The serde for a type annotation: the one that stands in it (`Annotated[dict, AvroSerde(...)]`), else by the type.

    Equal annotations share one.
    Types that are JSON already (`int`, `dict[str, list[float]]`) are not checked when read unless `checked` says so.
    Raises TypeError for a type without a JSON form.
    """
    try:
        return _cached_serde(annotation, checked)
    except TypeError:  # unhashable, or without a JSON form
        return _new_serde(annotation, checked)


def _new_serde(annotation: Any, checked: bool) -> Serde[Any]:
    if annotation in ann.UNTYPED:
        return _JSON
    for mark in ann.marks(annotation):
        if isinstance(mark, Serde):
            return mark
    core = ann.without_none(annotation)
    if core is bytes:
        return _BYTES
    if msgspec is not None and ann.mentions(annotation, msgspec.Struct):
        return MsgspecJsonSerde(annotation)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return PydanticJsonSerde(annotation)
    if ann.is_json(annotation) and not checked:
        return _JSON
    return TypedJsonSerde(annotation)


_cached_serde: Final = functools.lru_cache(maxsize=1024)(_new_serde)


def _lenient_serde(annotation: Any) -> Serde[Any]:
    """As `serde_for`; a type without a JSON form counts as none, since hints are also written for other readers."""
    try:
        return serde_for(annotation)
    except TypeError:
        return _JSON


def result_serde(serde: Serde[T], type_hint: Any = None, action: Callable[..., Any] | None = None) -> Serde[T]:
    """The serde for one value of a handler: a step's result, a state value, an awakeable.

    One that the user gave stays. The default one follows `type_hint`, else the type it was made for, else the return
    annotation of `action`. Raises TypeError if that annotation cannot be resolved.
    """
    if not isinstance(serde, DefaultSerde):
        return serde
    hint = serde.type_hint if type_hint is None else type_hint
    if hint is None and action is not None:
        hint = ann.return_annotation(action)
    if type(serde) is DefaultSerde:
        return _JSON if hint is None else _lenient_serde(hint)
    return serde.with_maybe_type(hint)
