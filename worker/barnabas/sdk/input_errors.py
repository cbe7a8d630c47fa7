"""Why a payload was refused, for the one who sent it: the field and the reason, never the value (it may be private).

`explain` is called by `handler.decode_input` alone.
"""

from __future__ import annotations

import re
from typing import Any, Final, get_args

import pydantic
from pydantic_core import ErrorDetails, core_schema

from barnabas.sdk.strict_json import msgspec

_MAX_FIELDS: Final = 5
_REFUSED: Final = "the app's own check refuses it"
#: Kinds of pydantic's errors whose words are its own.
_KINDS: Final = frozenset(get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"}
#: Parts of a value that are looked for in words of an app; a larger value is taken to be in them.
_MAX_PARTS: Final = 10_000
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
        return _msgspec(str(error), of_the_app=error.__cause__ is not None)
    if msgspec is not None and isinstance(error, msgspec.DecodeError):
        return "it is not JSON"
    if type(error) is ValueError and " at line " in str(
        error
    ):  # pydantic-core's JSON reader: what it expected, and where
        return f"it is not JSON: {error}"
    return f"the serde raised {type(error).__name__}"  # whose message may hold anything


def _pydantic(error: pydantic.ValidationError) -> str:
    found = error.errors(include_url=False)
    lines = [_line(".".join(map(str, one["loc"])), _reason(one)) for one in found[:_MAX_FIELDS]]
    more = len(found) - _MAX_FIELDS
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _reason(error: ErrorDetails) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "union_tag_invalid":  # the only message of pydantic's own that repeats the value
        return f"the tag is none of {error['ctx'].get('expected_tags', 'the expected ones')}"
    return _REFUSED if kind not in _KINDS and _repeats(message, error["input"]) else message


def _repeats(message: str, value: Any) -> bool:
    """Whether a message, which a validator of the app has written or passed on, holds the value or a part of it."""
    parts = [value]
    for number, part in enumerate(parts):
        if number == _MAX_PARTS:
            return True
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            parts += part
        elif isinstance(part, (str, bytes, int, float)) and _is_in(message, str(part)):
            return True
    return False


def _is_in(message: str, text: str) -> bool:
    if len(text) > 3:
        return text in message
    return bool(text) and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", message) is not None


def _msgspec(message: str, of_the_app: bool) -> str:
    match = _MSGSPEC_PLACE.match(message)
    place, reason = (match["place"] or "", match["reason"]) if match else ("", message)
    if of_the_app:
        return _line(place, _REFUSED)
    return _line(place, "invalid value" if reason.startswith("Invalid") else reason)


def _line(place: str, reason: str) -> str:
    return f"field '{place}': {reason}" if place else reason
