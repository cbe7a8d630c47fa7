"""A request as the ingress sees it: its head first, the body when it was read. Made by `app`, read by `routing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

#: About one connection alone (RFC 9110 7.6.1), or told by other means.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: They say who asks, to the ingress and to what stands before it; records in Kafka and the store keep no secrets.
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
#: The request's own, which the invocation has as such.
_IDEMPOTENCY_KEY: Final = "idempotency-key"
_OURS: Final = frozenset({_IDEMPOTENCY_KEY, "x-restateclient-retry-attempt"})
_NOT_PASSED_ON: Final = _HOP_BY_HOP | _CREDENTIALS | _OURS


class HttpRequest:
    """One HTTP request. `body` is empty until it was read."""

    __slots__ = ("_query", "body", "headers", "method", "query_string", "raw_path", "scope")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.query_string: bytes = scope["query_string"]
        self.headers = _headers(scope["headers"])
        self.scope = scope  # with `client`, and `extensions` where a connection has TLS
        self.body = b""
        self._query: dict[str, str] | None = None

    def header(self, name: str) -> str | None:
        """A header by its lower-case name."""
        return self.headers.get(name)

    def query(self, name: str) -> str | None:
        """A parameter of the query, the first where there are several. Raises ValueError if the query is none."""
        if not self.query_string:
            return None
        if self._query is None:
            pairs = parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
            self._query = dict(reversed(pairs))
        return self._query.get(name)

    def passed_on(self) -> dict[str, str]:
        """The headers that a handler gets to see."""
        connection = self.headers.get("connection")
        named = frozenset(part.strip().lower() for part in connection.split(",")) if connection else frozenset()
        return {name: value for name, value in self.headers.items() if name not in _NOT_PASSED_ON and name not in named}


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; those that come several times are one list (RFC 9110 5.3), but of keys the first counts."""
    found: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), _text(value_bytes)
        if name not in found:
            found[name] = value
        elif name != _IDEMPOTENCY_KEY:
            found[name] = f"{found[name]}, {value}"
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
