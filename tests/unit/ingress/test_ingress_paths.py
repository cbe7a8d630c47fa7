"""Paths of the ingress: what each asks for, and that a key may be anything."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.ingress.http.paths import (
    Awakeable,
    ByBody,
    ById,
    ByKey,
    ByWorkflow,
    Health,
    Invoke,
    PathError,
    Route,
    key_and_handler,
    parse_path,
)

ROUTES: list[tuple[str, Route]] = [
    ("/restate/health", Health()),
    ("/restate/health/", Health()),
    ("/restate/call/Greeter/greet", Invoke("Greeter", ("greet",), False)),
    ("/restate/send/Greeter/greet", Invoke("Greeter", ("greet",), True)),
    ("/restate/call/Plane/N1/depart", Invoke("Plane", ("N1", "depart"), False)),
    ("/restate/send/Plane/N1/depart", Invoke("Plane", ("N1", "depart"), True)),
    ("/restate/call/Plane//depart", Invoke("Plane", ("", "depart"), False)),
    ("/restate/call/Plane/a%2Fb%20%C3%A9/depart", Invoke("Plane", ("a/b é", "depart"), False)),
    ("/Greeter/greet", Invoke("Greeter", ("greet",), None)),
    ("/Greeter/greet/", Invoke("Greeter", ("greet",), None)),
    ("/Greeter/greet/send", Invoke("Greeter", ("greet", "send"), None)),
    ("/Plane/N1/depart/send", Invoke("Plane", ("N1", "depart", "send"), None)),
    ("/restate/attach/inv_1", ById("attach", "inv_1")),
    ("/restate/output/inv_1", ById("output", "inv_1")),
    ("/restate/attach", ByBody("attach")),
    ("/restate/output", ByBody("output")),
    ("/restate/lookup", ByBody("lookup")),
    ("/restate/invocation/inv_1/attach", ById("attach", "inv_1")),
    ("/restate/invocation/inv_1/output", ById("output", "inv_1")),
    ("/restate/invocation/Greeter/greet/k/attach", ByKey("attach", "Greeter", ("greet", "k"))),
    ("/restate/invocation/Plane/N1/depart/k%2F1/output", ByKey("output", "Plane", ("N1", "depart", "k/1"))),
    ("/restate/workflow/Trip/t1/attach", ByWorkflow("attach", "Trip", "t1")),
    ("/restate/workflow/Trip/t%2F1/output", ByWorkflow("output", "Trip", "t/1")),
    ("/restate/awakeables/sign_1x/resolve", Awakeable("resolve", "sign_1x")),
    ("/restate/a/sign_1x/reject", Awakeable("reject", "sign_1x")),
]


@pytest.mark.parametrize(("path", "route"), ROUTES)
def test_a_path_says_what_is_wanted(path: str, route: Route) -> None:
    assert parse_path(path.encode()) == route


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 400),
        ("/health", 400),
        ("/restate", 400),
        ("/restate/", 400),
        ("/restate/call", 400),
        ("/restate/lookup/inv_1", 400),
        ("/restate/attach/x/y", 400),
        ("/restate/invocation/x", 400),
        ("/restate/workflow/Trip/t1", 400),
        ("/restate/a/x", 400),
        ("/restate/unknown", 404),
        ("/restate/foo/bar", 404),
        ("/restate/workflow/Trip/t1/foo", 404),
        ("/restate/invocation/x/foo", 404),
        ("/restate/a/x/foo", 404),
        ("/restate/scope/s/call/Greeter/greet", 501),
        ("/Plane/%FF/depart", 400),
    ],
)
def test_a_path_that_is_none(path: str, status: int) -> None:
    with pytest.raises(PathError) as caught:
        parse_path(path.encode())
    assert caught.value.status == status


@given(key=st.text(), send=st.booleans())
def test_any_key_comes_through_both_forms(key: str, send: bool) -> None:
    """Restate's clients encode it as encodeURIComponent does."""
    part = quote(key, safe="~()*!'")
    verb = "send" if send else "call"
    modern = parse_path(f"/restate/{verb}/Plane/{part}/depart".encode())
    older = parse_path(f"/Plane/{part}/depart{'/send' if send else ''}".encode())
    for route in (modern, older):
        assert isinstance(route, Invoke)
        assert key_and_handler(route, keyed=True) == (key, "depart", send)


@given(st.binary())
def test_no_path_breaks_the_parser(raw: bytes) -> None:
    with suppress(PathError):
        parse_path(b"/" + raw)


def test_a_handler_named_send_is_a_handler() -> None:
    assert key_and_handler(Invoke("Post", ("send",), None), keyed=False) == (None, "send", False)
    assert key_and_handler(Invoke("Post", ("send", "send"), None), keyed=False) == (None, "send", True)
    assert key_and_handler(Invoke("Box", ("send", "put"), None), keyed=True) == ("send", "put", False)


@pytest.mark.parametrize(
    ("route", "keyed"),
    [
        (Invoke("Plane", ("depart",), False), True),
        (Invoke("Plane", ("depart",), None), True),
        (Invoke("Greeter", ("k", "greet"), False), False),
        (Invoke("Greeter", ("k", "greet"), None), False),
        (Invoke("Greeter", ("greet", "send"), True), False),
        (Invoke("Plane", ("k", "depart", "call"), None), True),
    ],
)
def test_a_key_where_none_belongs_or_none_where_one_does(route: Invoke, keyed: bool) -> None:
    with pytest.raises(PathError, match=f"'{route.service}'") as caught:
        key_and_handler(route, keyed)
    assert caught.value.status == 400
