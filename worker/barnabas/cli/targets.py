"""What `barnabas invoke` is told on the command line, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import unquote

_UNITS: Final = {
    "ms": "milliseconds",
    "s": "seconds",
    "sec": "seconds",
    "second": "seconds",
    "m": "minutes",
    "min": "minutes",
    "minute": "minutes",
    "h": "hours",
    "hour": "hours",
    "d": "days",
    "day": "days",
    "w": "weeks",
    "week": "weeks",
}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_ISO: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


class Target(NamedTuple):
    """A handler, and the key of its object if it has one. `workflow`: it is a workflow's main handler."""

    service: str
    key: str | None
    handler: str
    workflow: bool = False


class Wish(NamedTuple):
    """What goes with a request besides its input."""

    headers: dict[str, str]
    idempotency_key: str | None = None
    delay: timedelta | None = None


def parse_delay(text: str) -> timedelta:
    """A span of time: `10s`, `1h 30m`, `2 days`, `500ms`, or ISO 8601 (`PT10S`). Raises ValueError."""
    iso = _ISO.fullmatch(text)
    try:
        if iso is not None and any(iso.groups()):
            weeks, days, hours, minutes, seconds = (float(found or 0) for found in iso.groups())
            return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        parts = _PART.findall(text)
        units = [_UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) for _, unit in parts]
        if parts and None not in units and not _PART.sub("", text):
            return sum(
                (timedelta(**{str(unit): float(n)}) for (n, _), unit in zip(parts, units, strict=True)), timedelta()
            )
    except OverflowError:
        raise ValueError(f"'{text}' is too long a delay: {timedelta.max.days} days are the most") from None
    raise ValueError(f"'{text}' is no delay: write 10s, 1h30m, 2 days or PT10S")


def parse_target(text: str, workflow: bool = False) -> Target:
    """`Service/handler` or `Object/key/handler`, segments percent-encoded. Raises ValueError saying what is wrong."""
    segments = text.split("/")
    if len(segments) not in (2, 3) or not all(segments):
        raise ValueError(
            f"'{text}' is no target: write Service/handler, or Object/key/handler (a '/' within a key is written %2F)"
        )
    try:
        decoded = [unquote(segment, errors="strict") for segment in segments]
    except UnicodeDecodeError as error:
        raise ValueError(f"'{text}' is no target: its percent-encoding is not UTF-8") from error
    if workflow and len(decoded) == 2:
        raise ValueError(f"'{text}' is no workflow's handler: write Workflow/key/handler")
    return Target(decoded[0], decoded[1] if len(decoded) == 3 else None, decoded[-1], workflow)


def parse_headers(pairs: Iterable[str]) -> dict[str, str]:
    """`name=value` pairs. Raises ValueError."""
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"'{pair}' is no header: write name=value")
        headers[name] = value
    return headers
