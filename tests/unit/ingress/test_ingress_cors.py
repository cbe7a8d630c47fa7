"""Web pages at the ingress: which origins may call, what a browser is told, and which pages are stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from pydantic import ValidationError

from barnabas.ingress.access.door import Authentication, Door
from barnabas.ingress.access.keys import Role, new_key
from barnabas.ingress.http.access import authorize_by
from barnabas.ingress.http.app import IngressApp
from barnabas.ingress.http.cors import with_cors
from barnabas.ingress.http.origins import checked_origins
from barnabas.ingress.http.paths import Route, parse_path
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused, Response
from barnabas.ingress.http.routing import Routing
from barnabas.ingress.settings import IngressSettings
from barnabas.store.api_keys import MemoryApiKeys

SHOP, OTHER = "https://shop.example", "https://evil.example"
CALL = "/restate/call/Greeter/greet"


class Routes:
    """Answers every call, and fails where the path says so."""

    def __init__(self) -> None:
        self.asked = 0

    def route(self, request: HttpRequest) -> Route:
        return parse_path(request.raw_path)

    async def answer(self, request: HttpRequest, route: Route) -> Response:
        self.asked += 1
        if b"fail" in request.raw_path:
            raise Refused(400, "no")
        return Response(200, [(b"x-restate-id", b"inv_1")], b"1")


class Ingress:
    """An ingress for pages of these origins; `http` is what a browser on its machine sends."""

    def __init__(self, origins: tuple[str, ...], door: Door) -> None:
        self.routes = Routes()
        app = IngressApp(
            cast(Routing, self.routes), max_body_bytes=100, max_requests=3, authorize=authorize_by(door, origins)
        )
        transport = httpx.ASGITransport(app=with_cors(app, origins))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


@pytest.fixture
async def ingress(request: pytest.FixtureRequest) -> AsyncIterator[Ingress]:
    """By the parameter: origins, or origins and how it authenticates."""
    origins, authentication = getattr(request, "param", ((), "auto"))
    door = Door(cast(Authentication, authentication), MemoryApiKeys(), None, client_certificates=True)
    await door.open("127.0.0.1", Role.INVOKE)
    found = Ingress(origins, door)
    yield found
    await found.http.aclose()
    await door.aclose()


def with_origins(*origins: str, authentication: str = "auto") -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ingress", [(origins, authentication)], indirect=True)


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "content-type,idempotency-key,authorization,x-of-a-handler",
    }


def names(answer: httpx.Response, header: str) -> set[str]:
    return {part.strip().lower() for part in answer.headers[header].split(",")}


# -- what a browser is told


@with_origins(SHOP, "http://localhost:3000")
async def test_a_preflight_of_a_named_origin(ingress: Ingress) -> None:
    answer = await ingress.http.options(CALL, headers=preflight(SHOP))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert names(answer, "access-control-allow-methods") == {"get", "post"}
    wanted = {"content-type", "idempotency-key", "authorization", "x-of-a-handler"}
    assert wanted <= names(answer, "access-control-allow-headers")
    assert "origin" in names(answer, "vary")
    assert ingress.routes.asked == 0


@with_origins(SHOP)
@pytest.mark.parametrize(
    ("origin", "method"), [(OTHER, "POST"), (f"{SHOP}:8443", "POST"), ("null", "POST"), (SHOP, "PUT")]
)
async def test_a_preflight_that_is_refused(ingress: Ingress, origin: str, method: str) -> None:
    answer = await ingress.http.options(CALL, headers=preflight(origin, method))
    assert answer.status_code == 400
    assert answer.headers.get("access-control-allow-origin") == (None if origin != SHOP else SHOP)


@with_origins(SHOP, authentication="keys")
async def test_a_preflight_needs_no_key(ingress: Ingress) -> None:
    """Browsers send none with it. The call itself needs one, and the page can read that it does."""
    assert (await ingress.http.options(CALL, headers=preflight(SHOP))).status_code == 200
    answer = await ingress.http.post(CALL, headers={"origin": SHOP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, SHOP)


@with_origins(SHOP)
@pytest.mark.parametrize(("path", "status"), [(CALL, 200), ("/Greeter/fail", 400), ("/restate/nowhere", 404)])
async def test_a_page_reads_answers_errors_and_their_headers(ingress: Ingress, path: str, status: int) -> None:
    answer = await ingress.http.post(path, headers={"origin": SHOP, "sec-fetch-site": "cross-site"})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "origin" in names(answer, "vary")
    exposed = {"x-restate-id", "x-restate-error-source", "idempotency-expires", "retry-after"}
    assert names(answer, "access-control-expose-headers") == exposed


@with_origins("*")
async def test_every_origin_but_without_what_a_browser_adds_by_itself(ingress: Ingress) -> None:
    page = {"origin": OTHER, "sec-fetch-site": "cross-site"}
    for answer in (
        await ingress.http.options(CALL, headers=preflight(OTHER)),
        await ingress.http.post(CALL, headers=page),
    ):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert "access-control-allow-credentials" not in answer.headers


async def test_by_default_no_origin_may(ingress: Ingress) -> None:
    for answer in (
        await ingress.http.options(CALL, headers=preflight(SHOP)),
        await ingress.http.post(CALL, headers={"origin": SHOP}),
        await ingress.http.post(CALL),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


# -- which pages are stopped

FOREIGN = [
    {"origin": OTHER},
    {"origin": "null"},
    {"origin": "http://["},
    {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},  # another port
    {"origin": OTHER, "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},  # an image, a link
]
WELCOME: list[dict[str, str]] = [
    {},
    {"origin": "http://localhost:8080"},
    {"origin": "https://localhost:8080"},  # behind a proxy that has TLS
    {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"},
    {"origin": OTHER, "sec-fetch-site": "same-origin"},  # behind a proxy that changes the host
    {"sec-fetch-site": "none"},  # typed by a person
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("ingress", [((), "auto"), ((SHOP,), "none"), ((SHOP,), "certificates")], indirect=True)
async def test_pages_of_other_origins_are_stopped_where_no_key_is_asked_for(
    ingress: Ingress, headers: dict[str, str]
) -> None:
    """A form or an image needs no preflight, and what it asks for would be done."""
    for method, path in (("POST", CALL), ("GET", f"{CALL}/send"), ("POST", "/restate/awakeables/sign_1x/resolve")):
        answer = await ingress.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["source"]) == (403, "ingress")
        assert "--cors-origin" in answer.json()["message"]
    assert ingress.routes.asked == 0
    assert (await ingress.http.get("/restate/health", headers=headers)).json() == {"services": []}


@pytest.mark.parametrize("headers", WELCOME)
async def test_programs_and_pages_of_the_ingress_itself_are_not(ingress: Ingress, headers: dict[str, str]) -> None:
    assert (await ingress.http.post(CALL, headers=headers)).status_code == 200


async def test_where_keys_are_asked_for_a_page_has_one_or_not() -> None:
    """Whoever put CORS into a proxy before the ingress goes on as before."""
    key = new_key([Role.INVOKE], "", 0)
    keys = MemoryApiKeys()
    await keys.put(key.entry.id, key.entry.encode())
    door = Door("keys", keys, None, client_certificates=False)
    await door.open("127.0.0.1", Role.INVOKE)
    ingress = Ingress((), door)
    try:
        page = {"origin": OTHER, "sec-fetch-site": "cross-site"}
        with_key = page | {"authorization": f"Bearer {key.text}"}
        answers = [await ingress.http.post(CALL, headers=headers) for headers in (page, with_key)]
        assert [answer.status_code for answer in answers] == [401, 200]
    finally:
        await ingress.http.aclose()
        await door.aclose()


# -- how origins are named


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (f"{SHOP}, http://localhost:3000 ,", (SHOP, "http://localhost:3000")),
        ("HTTPS://Shop.Example/", (SHOP,)),
        (["http://[::1]:3000", "tauri://localhost"], ("http://[::1]:3000", "tauri://localhost")),
    ],
)
def test_origins(value: object, origins: tuple[str, ...]) -> None:
    assert checked_origins(value) == origins


@pytest.mark.parametrize(
    "value",
    ["shop.example", "https://", "https://*.shop.example", f"{SHOP}/path", f"{SHOP}?x", "https://ä.example", "null", 7],
)
def test_what_no_browser_would_send(value: object) -> None:
    with pytest.raises(ValueError, match="origin"):
        checked_origins(value)


def settings(**fields: Any) -> IngressSettings:
    return IngressSettings(kafka="k:1", redis="redis://r:1", **fields)


def test_the_variable_has_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().ingress_cors_origins == ()
    monkeypatch.setenv("BARNABAS_INGRESS_CORS_ORIGINS", f"{SHOP},http://localhost:3000")
    assert settings().ingress_cors_origins == (SHOP, "http://localhost:3000")
    assert settings(ingress_cors_origins=["*"]).ingress_cors_origins == ("*",)
    monkeypatch.setenv("BARNABAS_INGRESS_CORS_ORIGINS", "shop.example")
    with pytest.raises(ValidationError, match="is no origin: write"):
        settings()
