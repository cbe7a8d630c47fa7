"""What the ingress answers; its errors are `{"code", "message", "source"[, "metadata"]}` (INTEROP). No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from barnabas.contract.records import Failure

Headers = list[tuple[bytes, bytes]]
Source = Literal["ingress", "invocation"]

JSON: Final = b"application/json"
ID: Final = b"x-restate-id"
_SOURCE: Final = b"x-restate-error-source"
_EXPIRES: Final = b"idempotency-expires"


class Response(NamedTuple):
    """One answer; content-length is added when it is sent."""

    status: int
    headers: Headers
    body: bytes = b""


class Refused(Exception):
    """A request that is answered with an error of the ingress itself, before or instead of an invocation."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: int | None = None,
        close: bool = False,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after  # seconds
        self.close = close  # what follows on the connection cannot be read
        self.allow = allow  # methods that the path has, told with 405 (RFC 9110 15.5.6)

    def response(self) -> Response:
        """The answer."""
        answer = error_response(self.status, str(self))
        if self.retry_after is not None:
            answer.headers.append((b"retry-after", str(self.retry_after).encode()))
        if self.close:
            answer.headers.append((b"connection", b"close"))
        if self.allow:
            answer.headers.append((b"allow", ", ".join(self.allow).encode()))
        return answer


def error_response(
    code: int,
    message: str,
    source: Source = "ingress",
    *,
    metadata: Mapping[str, str] | None = None,
    invocation: str | None = None,
) -> Response:
    """An error. A code that is none of HTTP's for errors is told in the body, under the status 500."""
    content: dict[str, Any] = {"code": code, "message": message, "source": source}
    if metadata:
        content["metadata"] = dict(metadata)
    headers = [(b"content-type", JSON), (_SOURCE, source.encode())]
    if invocation is not None:
        headers.append((ID, invocation.encode()))
    return Response(code if 400 <= code <= 599 else 500, headers, encoded(content))


def failure_response(failure: Failure, invocation: str) -> Response:
    """How an invocation failed."""
    return error_response(failure.code, failure.message, "invocation", metadata=failure.metadata, invocation=invocation)


def result_response(invocation: str, result: bytes, content_type: str, expires_at: int | None) -> Response:
    """What a handler returned. `expires_at`: when a kept outcome goes, ms."""
    headers = [(ID, invocation.encode())]
    if result:
        headers.append((b"content-type", content_type.encode("latin-1", "replace")))
    if expires_at is not None:
        headers.append((_EXPIRES, _moment(expires_at).isoformat(timespec="milliseconds").encode()))
    return Response(200, headers, result)


def json_response(status: int, content: Mapping[str, Any], invocation: str | None = None) -> Response:
    """Any other answer."""
    headers = [(b"content-type", JSON)]
    if invocation is not None:
        headers.append((ID, invocation.encode()))
    return Response(status, headers, encoded(content))


def execution_time(due: int) -> str:
    """When a message is due, as sends tell it: `2026-01-31T12:00:00.250000000Z`."""
    moment = _moment(due)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z"


def encoded(content: Mapping[str, Any]) -> bytes:
    """The JSON of an answer. Text that has no UTF-8 form is escaped."""
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def _moment(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    except (OverflowError, ValueError, OSError):  # later than a calendar goes
        return datetime.max.replace(tzinfo=UTC)
