"""How long a message is to wait, as clients write it: ISO 8601 (`PT10S`), humantime (`10s`, `1h 30m`), milliseconds.

Pure; called by `routing`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

#: No clock gets there: a thousand years, ms.
MAX_DELAY_MS: Final = 1000 * 366 * 86_400_000

_NUMBER: Final = r"([0-9]{1,15}(?:[.,][0-9]{1,9})?)"
_MILLISECONDS: Final = re.compile(r"[0-9]{1,18}")
_ISO: Final = re.compile(
    rf"\+?P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?", re.IGNORECASE
)
_ISO_UNITS: Final = (7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000)
_PART: Final = re.compile(rf"\s*,?\s*{_NUMBER}\s*([a-zµμ]+)")
_CALENDAR: Final = "units longer than a week have no fixed length; say it in days"

_UNITS: Final = {
    unit: Decimal(milliseconds)
    for milliseconds, units in (
        ("604800000", "weeks week wks wk w"),
        ("86400000", "days day d"),
        ("3600000", "hours hour hrs hr h"),
        ("60000", "minutes minute mins min m"),
        ("1000", "seconds second secs sec s"),
        ("1", "milliseconds millisecond millis milli msecs msec ms"),
        ("0.001", "microseconds microsecond micros micro usecs usec us µs μs"),
        ("0.000001", "nanoseconds nanosecond nanos nano nsecs nsec ns"),
    )
    for unit in units.split()
}
_LONG_UNITS: Final = frozenset(("years", "year", "yrs", "yr", "y", "months", "month", "mos", "mo"))


def parse_delay(text: str) -> int:
    """The delay in whole milliseconds, at most a thousand years. Raises ValueError, saying what it could be."""
    stripped = text.strip()
    if _MILLISECONDS.fullmatch(stripped):
        milliseconds = Decimal(stripped)
    elif stripped[:2].lstrip("+").upper().startswith("P"):
        milliseconds = _iso(stripped)
    else:
        milliseconds = _human(stripped)
    if milliseconds > MAX_DELAY_MS:
        raise ValueError("it is longer than a thousand years")
    return int(milliseconds)


def _iso(text: str) -> Decimal:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(_CALENDAR if re.search(r"^\+?P[^T]*[YM]", text, re.IGNORECASE) else _expected(text))
    weeks, days, time, *rest = match.groups()
    numbers = (weeks, days, *rest)
    if not any(numbers) or time in ("T", "t"):
        raise ValueError(_expected(text))
    pairs = zip(numbers, _ISO_UNITS, strict=True)
    return sum((_decimal(number) * unit for number, unit in pairs if number is not None), Decimal(0))


def _human(text: str) -> Decimal:
    """Units are small letters, as Restate has them: `M` would be a minute to some and a month to others."""
    total, at = Decimal(0), 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or (at == 0 and text[0] == ","):
            raise ValueError(_expected(text))
        number, unit = match.groups()
        if unit in _LONG_UNITS:
            raise ValueError(_CALENDAR)
        if unit not in _UNITS:
            raise ValueError(_expected(text))
        total += _decimal(number) * _UNITS[unit]
        at = match.end()
    if at == 0:
        raise ValueError(_expected(text))
    return total


def _decimal(number: str) -> Decimal:
    return Decimal(number.replace(",", "."))


def _expected(text: str) -> str:
    shown = text if len(text) <= 40 else text[:40] + "..."
    return (
        f"{shown!a} is neither an ISO 8601 duration (PT10S), nor one like 10s or 1h 30m, nor a number of milliseconds"
    )
