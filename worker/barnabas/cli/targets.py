"""What `barnabas invoke` is told on the command line, as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote


class Target(NamedTuple):
    """A handler, and the key of its object if it has one."""

    service: str
    key: str | None
    handler: str


def parse_target(text: str) -> Target:
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
    return Target(decoded[0], decoded[1] if len(decoded) == 3 else None, decoded[-1])


def parse_headers(pairs: Iterable[str]) -> dict[str, str]:
    """`name=value` pairs. Raises ValueError."""
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"'{pair}' is no header: write name=value")
        headers[name] = value
    return headers
