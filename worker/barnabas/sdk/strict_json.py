"""JSON values to bytes and back, strictly: what is written can be read by any JSON reader and means the same there.

Called by the serdes for every payload. pydantic-core does the work: 0.1-0.9 us for payloads of 1-150 bytes, where
the standard library's json takes 0.3-3.2 us. It is laxer than we are in one place,
which is caught here: a NaN becomes a null.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Iterable
from typing import Any, Final

import pydantic
from pydantic_core import from_json, to_json

msgspec: Any
try:
    msgspec = importlib.import_module("msgspec")
except ImportError:  # an optional package
    msgspec = None

_BYTES: Final = (bytes, bytearray, memoryview)
_LEAVES: Final = frozenset({str, int, bool, type(None)})


def loads(buf: bytes) -> Any:
    """The value of a JSON text. Raises ValueError, which names the place and not the value, if it is none."""
    return from_json(buf, allow_inf_nan=False)


def dumps(value: Any) -> bytes:
    """`value` as JSON: what json.dumps takes, and models, dataclasses, dates and the like as pydantic writes them.

    Raises ValueError for NaN and infinity, TypeError or ValueError for what has no JSON form.
    """
    if isinstance(value, _BYTES):
        raise TypeError("bytes have no JSON form: pass barnabas.serde.BytesSerde() as serde to send them as they are")
    return refuse_non_finite(value, to_json(value, fallback=_fallback, inf_nan_mode="null"))


def refuse_non_finite(value: Any, raw: bytes) -> bytes:
    """`raw`, the JSON of `value`. Raises ValueError if a NaN or infinity has become a null in it."""
    if raw.find(b"null") >= 0:  # half the time of `in`
        way = _non_finite(value)
        if way is not None:
            place = ".".join(reversed(way)) or "the top level"
            raise ValueError(f"NaN and infinity have no JSON form (found at {place}): send None or a string")
    return raw


def _fallback(value: Any) -> Any:
    """What pydantic-core does not know by itself."""
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(
        f"a {type(value).__qualname__} has no JSON form: return a model, a dataclass or JSON values, or pass a serde"
    )


def _non_finite(value: Any) -> list[str] | None:
    """The way to a float in `value` that JSON cannot say, its last step first, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else []
    for name, child in _children(value):
        if type(child) in _LEAVES:
            continue
        way = _non_finite(child)
        if way is not None:
            way.append(str(name))
            return way
    return None


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple, set, frozenset)):
        return enumerate(value)
    if isinstance(value, pydantic.BaseModel):
        if value.model_config.get("ser_json_inf_nan", "null") != "null":  # its author chose a form that survives
            return ()
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    return [(name, getattr(value, name)) for name in getattr(type(value), "__struct_fields__", ())]
