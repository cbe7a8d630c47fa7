"""The ASGI application: bodies, limits, clients that go away, the end. A stub stands in for what it routes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from barnabas.ingress.errors import NoAnswer, TooLarge, Unavailable, UnknownTarget
from barnabas.ingress.http import app as module
from barnabas.ingress.http.app import IngressApp, Message
from barnabas.ingress.http.paths import Health, Invoke, Route, parse_path
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused, Response, error_response
from barnabas.ingress.http.routing import Routing

CALL = "/restate/call/Greeter/greet"


class Routes:
    """Answers with the body, or as the test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.until: asyncio.Event | None = None
        self.asked = 0
        self.forgotten = 0

    def route(self, request: HttpRequest) -> Route:
        return parse_path(request.raw_path)

    async def answer(self, request: HttpRequest, route: Route) -> Response:
        self.asked += 1
        if self.error is not None:
            raise self.error
        try:
            if self.until is not None:
                await self.until.wait()
        except asyncio.CancelledError:
            self.forgotten += 1
            raise
        return Response(200, [], request.body)


class Connection:
    """One request and what came back."""

    def __init__(self, app: IngressApp, *body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._app = app
        self._parts = list(body) or [b""]
        self._headers = headers
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self.received = 0

    async def run(self, path: str = CALL) -> Connection:
        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": self._headers,
        }
        await self._app(scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        self.received += 1
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return cast(int, self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return cast(bytes, self.sent[1]["body"])

    @property
    def error(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.body))

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def application(routes: Routes, **options: Any) -> IngressApp:
    return IngressApp(cast(Routing, routes), **{"max_body_bytes": 100, "max_requests": 3} | options)


@pytest.fixture
def routes() -> Routes:
    return Routes()


async def test_a_body_comes_through_in_one_piece_or_in_several(routes: Routes) -> None:
    app = application(routes)
    for parts in ((b"abcdef",), (b"abc", b"", b"def")):
        answer = await Connection(app, *parts).run()
        assert (answer.status, answer.body) == (200, b"abcdef")
        assert answer.headers[b"content-length"] == b"6"
    assert app.underway == 0


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ((b"",), ((b"content-length", b"101"),)),
        ((b"x" * 101,), ()),
        ((b"x" * 60, b"x" * 60), ()),
        ((b"",), ((b"content-length", b"9" * 40),)),
    ],
)
async def test_a_body_that_is_too_large(
    routes: Routes, parts: tuple[bytes, ...], headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    answer = await Connection(application(routes), *parts, headers=headers).run()
    assert answer.status == 413
    assert answer.error["source"] == "ingress"
    assert "100 bytes" in answer.error["message"]
    assert b"connection" not in answer.headers
    assert routes.asked == 0


async def test_a_body_that_is_announced_too_large_is_not_read(routes: Routes) -> None:
    answer = await Connection(application(routes), b"x", headers=((b"content-length", b"101"),)).run()
    assert answer.received == 0


async def test_a_body_of_the_greatest_size(routes: Routes) -> None:
    answer = await Connection(application(routes), b"x" * 100, headers=((b"content-length", b"100"),)).run()
    assert answer.status == 200


async def test_bodies_that_are_read_at_the_same_time_have_a_bound(
    routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_BYTES", 50)
    app = application(routes)
    answer = await Connection(app, b"x" * 40, b"x" * 40).run()
    assert answer.status == 429
    assert (await Connection(app, b"x" * 40, b"").run()).status == 200  # what was counted is counted back


async def test_a_client_that_goes_away_in_the_middle_of_its_body(routes: Routes) -> None:
    connection = Connection(application(routes), b"x", b"y")
    connection._parts.pop()
    connection._parts = []

    async def receive() -> Message:
        connection.received += 1
        if connection.received == 1:
            return {"type": "http.request", "body": b"x", "more_body": True}
        return {"type": "http.disconnect"}

    connection._receive = receive  # type: ignore[method-assign]
    await connection.run()
    assert connection.sent == []
    assert routes.asked == 0


async def test_a_body_that_does_not_come(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 0.01)
    app = application(routes)
    for parts in ((), (b"x",)):
        connection = Connection(app)
        connection._parts = list(parts)

        async def receive(connection: Connection = connection) -> Message:
            if connection._parts:
                return {"type": "http.request", "body": connection._parts.pop(), "more_body": True}
            await connection.gone.wait()
            raise AssertionError("it never goes away")

        connection._receive = receive  # type: ignore[method-assign]
        answer = await connection.run()
        assert answer.status == 408
        assert answer.headers[b"connection"] == b"close"
    assert (routes.asked, app.underway, app._buffered) == (0, 0, 0)


async def test_more_requests_than_allowed(routes: Routes) -> None:
    routes.until = asyncio.Event()
    app = application(routes)
    waiting = [asyncio.create_task(Connection(app).run()) for _ in range(3)]
    await until(lambda: routes.asked == 3)
    answer = await Connection(app).run()
    assert answer.status == 429
    assert answer.headers[b"retry-after"] == b"1"
    routes.until.set()
    assert {connection.status for connection in await asyncio.gather(*waiting)} == {200}
    assert (await Connection(app).run()).status == 200


async def test_a_full_process_is_alive(routes: Routes) -> None:
    """A probe that got 429 would have whoever watches kill it, with all who wait."""
    routes.until = asyncio.Event()
    app = application(routes, max_requests=1)
    waiting = asyncio.create_task(Connection(app).run())
    await until(lambda: routes.asked == 1)
    probe = asyncio.create_task(Connection(app).run("/restate/health"))
    routes.until.set()
    assert [(await one).status for one in (waiting, probe)] == [200, 200]


async def test_a_client_that_goes_away_is_forgotten(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_AFTER_SECONDS", 0.01)
    routes.until = asyncio.Event()
    app = application(routes)
    connection = Connection(app, b"x")
    running = asyncio.create_task(connection.run())
    await until(lambda: connection.received == 2)  # somebody watches
    connection.gone.set()
    await running
    assert (routes.forgotten, app.underway, connection.sent) == (1, 0, [])


async def test_nobody_watches_a_request_that_is_answered_at_once(routes: Routes) -> None:
    answer = await Connection(application(routes), b"x").run()
    assert answer.received == 1


async def test_a_request_that_somebody_else_cancels_is_cancelled(routes: Routes) -> None:
    routes.until = asyncio.Event()
    app = application(routes)
    running = asyncio.create_task(Connection(app).run())
    await until(lambda: routes.asked == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert app.underway == 0


async def test_the_end(routes: Routes) -> None:
    """What is under way is answered, what comes is refused, and at last the rest is."""
    routes.until = asyncio.Event()
    app = application(routes)
    first = asyncio.create_task(Connection(app).run())
    await until(lambda: routes.asked == 1)
    app.drain()
    refused = await Connection(app).run()
    assert refused.status == 503
    assert (refused.headers[b"connection"], refused.headers[b"retry-after"]) == (b"close", b"1")
    routes.until.set()
    assert (await first).status == 200


async def test_what_does_not_end_in_time_is_told_that_it_goes_on(routes: Routes) -> None:
    routes.until = asyncio.Event()
    app = application(routes)
    first = asyncio.create_task(Connection(app).run())
    await until(lambda: routes.asked == 1)
    app.drain()
    app.give_up()
    answer = await first
    assert answer.status == 503
    assert "goes on" in answer.error["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused(404, "no"), 404),
        (UnknownTarget("no"), 404),
        (TooLarge("no"), 413),
        (Unavailable("no"), 503),
        (NoAnswer("no"), 504),
    ],
)
async def test_what_the_gateway_raises_is_an_answer(routes: Routes, error: Exception, status: int) -> None:
    routes.error = error
    answer = await Connection(application(routes)).run()
    assert answer.status == status
    assert answer.error == {"code": status, "message": "no", "source": "ingress"}
    assert answer.headers[b"x-restate-error-source"] == b"ingress"
    assert (b"retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(("path", "status"), [("/restate/foo", 404), ("/", 400), ("/restate/scope/s/call/a/b", 501)])
async def test_a_path_that_is_none(routes: Routes, path: str, status: int) -> None:
    assert (await Connection(application(routes)).run(path)).status == status


async def test_who_may_not_come_in_is_told_before_the_body_is_read(routes: Routes) -> None:
    asked: list[tuple[str | None, Route]] = []

    def authorize(request: HttpRequest, route: Route) -> Response | None:
        asked.append((request.header("authorization"), route))
        return None if isinstance(route, Health) else error_response(401, "who are you?")

    app = application(routes, authorize=authorize)
    answer = await Connection(app, b"x", headers=((b"authorization", b"Bearer k"),)).run()
    assert (answer.status, answer.received) == (401, 0)
    assert (await Connection(app).run("/restate/health")).status == 200
    assert asked == [("Bearer k", Invoke("Greeter", ("greet",), False)), (None, Health())]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of the application's own
            await asyncio.sleep(0)
