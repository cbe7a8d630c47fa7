"""The ingress as an ASGI application: bodies, limits, clients that go away, the end. `Routing` knows the rest.

Plain ASGI instead of a framework's routing: frameworks decode a path before they split it, and a key may contain a
slash. A request that waits costs a connection and two tasks, no thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from barnabas.ingress.errors import GatewayError
from barnabas.ingress.http.paths import Health, PathError, Route
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused, Response
from barnabas.ingress.http.routing import Routing, error_answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: How long a request waits before somebody looks whether its client is still there: most are answered sooner.
WATCH_AFTER_SECONDS: Final = 0.25
#: How long a client may take to send its body.
BODY_SECONDS: Final = 60.0
#: Bodies that are being read, all together.
MAX_BUFFERED_BYTES: Final = 256 << 20
_RETRY_SECONDS: Final = 1


class Authorize(Protocol):
    """Says whether a request may come in: None, or the answer that it gets instead. Called before its body is read."""

    def __call__(self, request: HttpRequest, route: Route) -> Response | None: ...


class _Gone(Exception):
    """The client went away: nobody to answer."""


class IngressApp:
    """The ASGI application. `authorize` None: everybody who can connect may ask for everything."""

    def __init__(
        self, routing: Routing, *, max_body_bytes: int, max_requests: int, authorize: Authorize | None = None
    ) -> None:
        self._routing = routing
        self._max_body_bytes = max_body_bytes
        self._max_requests = max_requests
        self._authorize = authorize
        self._underway: set[_Underway] = set()
        self._buffered = 0
        self._draining = False

    @property
    def underway(self) -> int:
        """Requests that are being answered."""
        return len(self._underway)

    def drain(self) -> None:
        """Refuse what comes from now on; what is under way goes on."""
        self._draining = True

    def give_up(self) -> None:
        """Answer what is still under way with 503."""
        for one in list(self._underway):
            one.end(_ending())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise ValueError(f"the ingress speaks HTTP, not {scope['type']}")
        try:
            response = await self._respond(HttpRequest(scope), receive)
        except _Gone:
            return
        length = str(len(response.body)).encode()
        headers = [*response.headers, (b"content-length", length)]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, request: HttpRequest, receive: Receive) -> Response:
        try:
            if self._draining:
                raise _ending()
            route = self._routing.route(request)
            if len(self._underway) >= self._max_requests and not isinstance(route, Health):
                raise Refused(
                    429,
                    f"{self._max_requests} requests are being answered, no more are taken now",
                    retry_after=_RETRY_SECONDS,
                )
            underway = _Underway(receive)
            self._underway.add(underway)
            try:
                return await self._answer(request, route, receive, underway)
            except asyncio.CancelledError:
                raise underway.reason() from None
            finally:
                underway.over()
                self._underway.discard(underway)
        except (Refused, PathError, GatewayError) as error:
            return error_answer(error)

    async def _answer(self, request: HttpRequest, route: Route, receive: Receive, underway: _Underway) -> Response:
        if self._authorize is not None:
            refusal = self._authorize(request, route)
            if refusal is not None:
                return refusal
        underway.expect_body()
        request.body = await self._body(request, receive)
        underway.watch()
        return await self._routing.answer(request, route)

    async def _body(self, request: HttpRequest, receive: Receive) -> bytes:
        """Raises Refused 413, 429, and _Gone."""
        announced = request.header("content-length")
        if announced is not None and announced[:18].isdecimal() and int(announced[:18]) > self._max_body_bytes:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            return body
        return await self._long_body(message, receive)

    async def _long_body(self, message: Message, receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise _Gone
                part = message.get("body", b"")
                body += part
                self._buffered += len(part)
                if len(body) > self._max_body_bytes:
                    raise self._too_large()
                if self._buffered > MAX_BUFFERED_BYTES:
                    raise Refused(429, "too many bodies are being read now", retry_after=_RETRY_SECONDS)
                if not message.get("more_body"):
                    return bytes(body)
                message = await receive()
        finally:
            self._buffered -= len(body)

    def _too_large(self) -> Refused:
        # The connection stays: were it closed, most clients would see its end while they send, and not the answer.
        return Refused(
            413, f"the body is larger than {self._max_body_bytes} bytes. Put the content elsewhere and send a reference"
        )


def _ending() -> Refused:
    return Refused(
        503,
        "this process is ending, ask another one. An invocation that was accepted goes on: ask again with the same "
        "idempotency key, or attach to it",
        retry_after=_RETRY_SECONDS,
        close=True,
    )


class _Underway:
    """A request that is being answered, by the current task; who ends it early says why."""

    __slots__ = ("_reason", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] | None = task
        self._receive = receive
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._reason: Exception | None = None

    def expect_body(self) -> None:
        """The body is being read from now on."""
        late = Refused(408, f"the body did not come within {BODY_SECONDS:g} s", close=True)
        self._timer = asyncio.get_running_loop().call_later(BODY_SECONDS, self.end, late)

    def watch(self) -> None:
        """The body was read; after a while, look whether the client is still there."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start_watching)

    def _start_watching(self) -> None:
        if self._task is not None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(_Gone())

    def end(self, reason: Exception) -> None:
        """Have the task go on with this error."""
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    def reason(self) -> BaseException:
        """Why the task was cancelled."""
        if self._reason is None or self._task is None:
            return asyncio.CancelledError()  # by somebody else
        self._task.uncancel()
        return self._reason

    def over(self) -> None:
        """The answer is there."""
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
