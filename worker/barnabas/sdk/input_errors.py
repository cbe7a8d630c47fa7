"""Why a payload was refused, for the one who sent it: the field and the reason, never the value (it may be private).

`explain` is called by `handler.decode_input` alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pydantic

from barnabas.sdk.strict_json import msgspec

_MAX_FIELDS: Final = 5
_MSGSPEC_PLACE: Final = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<place>.*)`)?$", re.DOTALL)


class PayloadError(ValueError):
    """Raised by a serde of ours for a payload that is none. Its message names the field and never the value."""


def explain(error: Exception) -> str:
    """One line about what is wrong with an input, without the input."""
    if isinstance(error, PayloadError):
        return str(error)
    if isinstance(error, pydantic.ValidationError):
        return _pydantic(error)
    if msgspec is not None and isinstance(error, msgspec.ValidationError):
        return _msgspec(str(error))
    if msgspec is not None and isinstance(error, msgspec.DecodeError):
        return "it is not JSON"
    if type(error) is ValueError and " at line " in str(
        error
    ):  # pydantic-core's JSON reader: what it expected, and where
        return f"it is not JSON: {error}"
    return f"the serde raised {type(error).__name__}"  # whose message may hold anything


def _pydantic(error: pydantic.ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)
    lines = [
        _line(".".join(map(str, one["loc"])), _reason(one["type"], one["msg"], one.get("ctx", {}))) for one in found
    ]
    more = len(lines) - _MAX_FIELDS
    return "; ".join(lines[:_MAX_FIELDS]) + (f"; and {more} more" if more > 0 else "")


def _reason(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "union_tag_invalid":  # the only message of pydantic's own that repeats the value
        return f"the tag is none of {context.get('expected_tags', 'the expected ones')}"
    return message


def _msgspec(message: str) -> str:
    match = _MSGSPEC_PLACE.match(message)
    place, reason = (match["place"] or "", match["reason"]) if match else ("", message)
    return _line(place, "invalid value" if reason.startswith("Invalid") else reason)


def _line(place: str, reason: str) -> str:
    return f"field '{place}': {reason}" if place else reason
