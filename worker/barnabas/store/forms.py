"""What a well-formed op and a well-formed question look like. Used by the adapters.

`commit.lua` checks ops by the same table: it is the one place that sees them all, and a check there costs least.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from barnabas.store.port import Op, Query

#: Verb -> fewest arguments after the suffix, most, and what their count is a multiple of.
OPS: dict[str, tuple[int, float, int]] = {
    "HSET": (2, math.inf, 2),
    "HDEL": (1, math.inf, 1),
    "DEL": (0, 0, 1),
    "RPUSH": (1, math.inf, 1),
    "LTRIM": (2, 2, 1),
    "LREM": (1, 1, 1),  # the first that equals it
    "ZADD": (2, math.inf, 2),
    "ZREM": (1, math.inf, 1),
    "SADD": (1, math.inf, 1),
    "SREM": (1, math.inf, 1),
}
QUESTIONS: dict[str, tuple[int, float, int]] = {
    "HGETALL": (0, 0, 1),
    "HGET": (1, 1, 1),
    "HMGET": (1, math.inf, 1),
    "HLEN": (0, 0, 1),
    "LRANGE": (2, 2, 1),
    "LLEN": (0, 0, 1),
    "ZRANGE": (2, 2, 1),
    "SMEMBERS": (0, 0, 1),
}
_EXACT = 2**53


def op(given: Op) -> tuple[str, bytes, list[bytes]]:
    """Verb, suffix and arguments as the store would see them. Raises ValueError for a malformed op."""
    verb, suffix, arguments = _parts(given, OPS)
    if verb == "LTRIM":
        _check_numbers(verb, arguments, int)
    elif verb == "ZADD":
        _check_numbers(verb, arguments[::2], float)
    return verb, suffix, arguments


def question(given: Query) -> tuple[str, bytes, list[bytes]]:
    """Verb, suffix and arguments of a question. Raises ValueError for a malformed one."""
    verb, suffix, arguments = _parts(given, QUESTIONS)
    if verb in ("LRANGE", "ZRANGE"):
        _check_numbers(verb, arguments, int)
    return verb, suffix, arguments


def _parts(given: tuple[object, ...], forms: dict[str, tuple[int, float, int]]) -> tuple[str, bytes, list[bytes]]:
    if len(given) < 2:
        raise ValueError(f"malformed: {given!r} has no suffix")
    verb = as_bytes(given[0]).decode()
    if verb not in forms:
        raise ValueError(f"malformed: {verb} is not one of {', '.join(forms)}")
    fewest, most, step = forms[verb]
    arguments = [as_bytes(argument) for argument in given[2:]]
    if not fewest <= len(arguments) <= most or len(arguments) % step:
        raise ValueError(f"malformed: {verb} with {len(arguments)} arguments")
    return verb, as_bytes(given[1]), arguments


def _check_numbers(verb: str, arguments: list[bytes], number: Callable[[bytes], float]) -> None:
    for argument in arguments:
        try:
            sound = not math.isnan(number(argument))
        except ValueError:
            sound = False
        if not sound:
            raise ValueError(f"malformed: {verb} with {argument!r} where a number belongs")


def as_bytes(value: object) -> bytes:
    """A part of an op as it arrives in the store. Raises ValueError for another type, or an int that is too big."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _EXACT:
        return b"%d" % value
    raise ValueError(f"malformed: {value!r} is not bytes, str or an int of at most 53 bits")
