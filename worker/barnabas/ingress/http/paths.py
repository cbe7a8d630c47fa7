"""What a path of the ingress asks for. Pure; called by `routing`, which knows the services.

Segments are split before they are decoded: a key may contain anything, a slash too. What is below /restate/ is ours,
everything else is the older form that begins with the service's name.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

PREFIX: Final = "restate"


class PathError(Exception):
    """There is nothing at this path; the message says what there could be."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Health(NamedTuple):
    """Is this process well?"""


class Invoke(NamedTuple):
    """Call or send: `rest` is key and handler, or the handler alone. `send` None: the older form, `rest` may say it."""

    service: str
    rest: tuple[str, ...]
    send: bool | None


class ById(NamedTuple):
    """`attach` or `output` of an invocation."""

    op: str
    invocation: str


class ByKey(NamedTuple):
    """`attach` or `output` by an idempotency key; `rest` is (key and) handler and the idempotency key."""

    op: str
    service: str
    rest: tuple[str, ...]


class ByWorkflow(NamedTuple):
    """`attach` or `output` of a workflow."""

    op: str
    workflow: str
    key: str


class ByBody(NamedTuple):
    """`attach`, `output` or `lookup` of what the body names."""

    op: str


class Awakeable(NamedTuple):
    """`resolve` or `reject`."""

    op: str
    id: str


Route = Health | Invoke | ById | ByKey | ByWorkflow | ByBody | Awakeable

_MODERN: Final = (
    "bad path, expected /restate/call/:service/:handler, /restate/call/:object/:key/:handler, the same with send, "
    "/restate/attach/:invocation_id, /restate/output/:invocation_id, or POST to /restate/attach, /restate/output or "
    "/restate/lookup"
)
_OLDER: Final = "bad path, expected /:service/:handler or /:object/:key/:handler, both with or without /send"
_INVOCATION: Final = (
    "bad path, expected /restate/invocation/:invocation_id/attach, /restate/invocation/:service/:handler/"
    ":idempotency_key/attach, /restate/invocation/:object/:key/:handler/:idempotency_key/attach, the same with output"
)
_WORKFLOW: Final = "bad path, expected /restate/workflow/:name/:key/attach or /restate/workflow/:name/:key/output"
_AWAKEABLE: Final = "bad path, expected /restate/awakeables/:id/resolve or /restate/awakeables/:id/reject"


def parse_path(raw: bytes) -> Route:
    """The route of a path as it came, still percent-encoded. Raises PathError."""
    segments = _segments(raw)
    if segments[0] != PREFIX:
        return _older(segments)
    match segments[1:]:
        case ["health"]:
            return Health()
        case ["call" | "send" as verb, service, *rest]:
            return Invoke(service, tuple(rest), verb == "send")
        case ["attach" | "output" | "lookup" as op]:
            return ByBody(op)
        case ["attach" | "output" as op, invocation]:
            return ById(op, invocation)
        case ["call" | "send" | "attach" | "output" | "lookup", *_]:
            raise PathError(400, _MODERN)
        case ["invocation", *rest]:
            return _invocation(rest)
        case ["workflow", *rest]:
            return _workflow(rest)
        case ["awakeables" | "a", *rest]:
            return _awakeable(rest)
        case ["scope", *_]:
            raise PathError(501, "scopes are not supported by Barnabas; use a key or a service of its own")
        case []:
            raise PathError(400, "bad path: /restate")
    raise PathError(404, "not found")


def _segments(raw: bytes) -> list[str]:
    parts = raw.split(b"/")[1:]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()  # a slash at the end says nothing
    try:
        return [(unquote_to_bytes(part) if b"%" in part else part).decode() for part in parts] or [""]
    except UnicodeDecodeError:
        raise PathError(400, "bad path, its segments must be percent-encoded UTF-8") from None


def _older(segments: list[str]) -> Route:
    if len(segments) < 2:
        raise PathError(400, f"{_OLDER}, not /{segments[0]}")
    return Invoke(segments[0], tuple(segments[1:]), None)


def _invocation(rest: list[str]) -> Route:
    match rest:
        case [id_, "attach" | "output" as op]:
            return ById(op, id_)
        case [service, *target, "attach" | "output" as op] if len(target) in (2, 3):
            return ByKey(op, service, tuple(target))
        case [_, _] | [_, _, _, _] | [_, _, _, _, _]:
            raise PathError(404, "not found")
    raise PathError(400, _INVOCATION)


def _workflow(rest: list[str]) -> Route:
    match rest:
        case [name, key, "attach" | "output" as op]:
            return ByWorkflow(op, name, key)
        case [_, _, _]:
            raise PathError(404, "not found")
    raise PathError(400, _WORKFLOW)


def _awakeable(rest: list[str]) -> Route:
    match rest:
        case [id_, "resolve" | "reject" as op]:
            return Awakeable(op, id_)
        case [_, _]:
            raise PathError(404, "not found")
    raise PathError(400, _AWAKEABLE)


def key_and_handler(route: Invoke, keyed: bool) -> tuple[str | None, str, bool]:
    """Key, handler, and whether it is a send, for a service that has keys or not. Raises PathError."""
    wanted = 2 if keyed else 1
    rest, send = route.rest, route.send
    if send is None:
        send = len(rest) == wanted + 1 and rest[-1] == "send"
        if send:
            rest = rest[:-1]
    if len(rest) != wanted:
        what = "has keys, so its handlers are called with one" if keyed else "is a service and takes no key"
        raise PathError(400, f"{_OLDER if route.send is None else _MODERN}. '{route.service}' {what}")
    return (rest[0] if keyed else None), rest[-1], send
