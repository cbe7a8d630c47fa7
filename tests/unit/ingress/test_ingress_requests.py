"""Heads of requests, and what a handler says about its input."""

from __future__ import annotations

from typing import Any

import pytest

from barnabas.ingress.http.inputs import check_input
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused

JSON = "application/json"


def request(*headers: tuple[bytes, bytes], query: bytes = b"") -> HttpRequest:
    return HttpRequest({"method": "POST", "raw_path": b"/", "query_string": query, "headers": headers})


def test_a_handler_sees_the_headers_of_the_client() -> None:
    given = request((b"x-foo", b"A"), (b"traceparent", b"00-1"), (b"content-type", b"text/plain"), (b"accept", b"*/*"))
    assert given.passed_on() == {"x-foo": "A", "traceparent": "00-1", "content-type": "text/plain", "accept": "*/*"}


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
    ],
)
def test_neither_credentials_nor_what_is_about_the_connection(name: str) -> None:
    assert request((name.encode(), b"x"), (b"x-foo", b"A")).passed_on() == {"x-foo": "A"}


def test_nor_what_the_connection_names() -> None:
    given = request((b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-foo", b"A"))
    assert given.passed_on() == {"x-foo": "A"}


def test_a_header_that_comes_twice_is_a_list() -> None:
    assert request((b"x-foo", b"a"), (b"x-foo", b"b")).passed_on() == {"x-foo": "a, b"}


def test_of_two_idempotency_keys_the_first_counts() -> None:
    """As Restate has it: who repeats the request with this key alone gets its result."""
    assert request((b"idempotency-key", b"a"), (b"idempotency-key", b"b")).header("idempotency-key") == "a"


@pytest.mark.parametrize(("raw", "text"), [("é".encode(), "é"), ("é".encode("latin-1"), "é")])
def test_header_values_are_utf8_or_latin1(raw: bytes, text: str) -> None:
    assert request((b"x-foo", raw)).header("x-foo") == text


def test_the_first_parameter_of_a_name_counts() -> None:
    assert request(query=b"delay=10+s&delay=2s&empty=").query("delay") == "10 s"
    assert request(query=b"empty=").query("empty") == ""
    assert request(query=b"").query("delay") is None


def test_a_query_with_too_many_parameters() -> None:
    with pytest.raises(ValueError, match="fields"):
        request(query=b"&".join(b"a=1" for _ in range(200))).query("a")


def about(**changes: Any) -> dict[str, Any]:
    return {"takes_input": True, "input_required": True, "accept": JSON} | changes


@pytest.mark.parametrize(
    ("handler", "content_type", "body"),
    [
        (about(), JSON, b"1"),
        (about(), "Application/JSON; charset=utf-8", b"1"),
        (about(input_required=False), JSON, b""),
        (about(input_required=False), None, b""),
        (about(accept="*/*"), None, b"1"),
        (about(accept="*/*"), "image/png", b"1"),
        (about(accept="text/*"), "text/csv", b"1"),
        (about(accept="text/plain, application/json"), JSON, b"1"),
        (about(takes_input=False), None, b""),
        (about(takes_input=False), JSON, b""),  # what Restate's TypeScript client sends
        ({}, None, b"1"),  # registered by an older worker
    ],
)
def test_inputs_that_fit(handler: dict[str, Any], content_type: str | None, body: bytes) -> None:
    check_input(handler, content_type, body)


@pytest.mark.parametrize(
    ("handler", "content_type", "body", "message"),
    [
        (about(), "application/cbor", b"1", "'application/cbor' does not match 'application/json'"),
        (about(), "application/x-www-form-urlencoded", b"1", "does not match"),
        (about(), None, b"1", "Empty content-type"),
        (about(), "", b"1", "Empty content-type"),
        (about(), JSON, b"", "Empty body not allowed"),
        (about(), None, b"", "Empty body not allowed"),
        (about(accept="text/*"), "textual/csv", b"1", "does not match"),
        (about(input_required=False), "text/plain", b"", "does not match"),
        (about(takes_input=False), JSON, b"1", "takes no input"),
        (about(takes_input=False), None, b"1", "takes no input"),
    ],
)
def test_inputs_that_do_not(handler: dict[str, Any], content_type: str | None, body: bytes, message: str) -> None:
    with pytest.raises(Refused, match=f"input validation error: .*{message}") as caught:
        check_input(handler, content_type, body)
    assert caught.value.status == 400
