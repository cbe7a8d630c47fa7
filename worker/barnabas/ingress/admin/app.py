"""The admin API as an ASGI application: routes, who may ask, errors as `{"message", "restate_code"}`, its document.

FastAPI, because here the document is the point: it is made of the same types that requests are checked by. The hot path
is not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any, Final, Literal, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from barnabas.ingress.admin import routes_invocations, routes_log, routes_services
from barnabas.ingress.admin.admin import Admin, AdminError
from barnabas.ingress.errors import GatewayError
from barnabas.log.port import LogUnavailableError
from barnabas.store.port import StoreCorrupt, StoreUnavailable

#: Where the API describes itself.
DOCUMENT_PATH: Final = "/openapi"
#: Of probes, which have no key and are answered however busy it is.
HEALTH_PATH: Final = "/health"
Need = Literal["read", "operate"]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ROUTERS: Final = (routes_services.router, routes_invocations.router, routes_log.router)
_READING_POSTS: Final = frozenset({"/query"})


class AdminAuthorize(Protocol):
    """Says whether a request may come in: None, or status and message of its refusal. `need`: what it wants to do."""

    def __call__(self, scope: MutableMapping[str, Any], need: Need) -> tuple[int, str] | None: ...


def make_app(admin: Admin, authorize: AdminAuthorize | None = None) -> Any:
    """The application. `authorize` None: everybody who can connect may ask for everything."""
    app = FastAPI(title="Barnabas admin API", version=_version(), openapi_url=None, docs_url=None, redoc_url=None)
    app.state.admin = admin
    for router in _ROUTERS:
        app.include_router(router)
    app.add_api_route(DOCUMENT_PATH, _document, methods=["GET"], tags=["process"], response_model=dict[str, Any])
    app.add_exception_handler(AdminError, _on_admin_error)
    app.add_exception_handler(RequestValidationError, _on_malformed)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in (GatewayError, StoreUnavailable, LogUnavailableError, StoreCorrupt):
        app.add_exception_handler(kind, _on_outage)
    return Gate(app, admin.settings.admin_max_body_bytes, authorize, admin.settings.admin_max_requests)


async def _document(request: Request) -> dict[str, Any]:
    """This document, OpenAPI 3.1."""
    return document(request.app)


def document(app: FastAPI) -> dict[str, Any]:
    """The API's OpenAPI document, with our errors in the place of FastAPI's."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for operations in found["paths"].values():
            for operation in operations.values():
                answers = operation["responses"]
                if "HTTPValidationError" in str(answers.get("422")):
                    del answers["422"]
        for unused in ("HTTPValidationError", "ValidationError"):
            found["components"]["schemas"].pop(unused, None)
        app.openapi_schema = found
    return app.openapi_schema


class Gate:
    """What comes before the routes: who may ask, how large a body may be, and how many ask at the same time."""

    def __init__(self, app: FastAPI, max_body_bytes: int, authorize: AdminAuthorize | None, max_requests: int) -> None:
        self._max_requests = max_requests
        self._underway = 0
        self.app = app
        self._max_body_bytes = max_body_bytes
        self._authorize = authorize

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise ValueError(f"the admin API speaks HTTP, not {scope['type']}")
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refused(*refusal)(scope, receive, send)
            return
        if self._underway >= self._max_requests and scope["path"] != HEALTH_PATH:
            message = f"{self._max_requests} requests are being answered, no more are taken now"
            await _error(429, message, {"retry-after": "1"})(scope, receive, send)
            return
        self._underway += 1
        try:
            await self.app(scope, _Bounded(receive, self._max_body_bytes), send)
        finally:
            self._underway -= 1

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        if self._authorize is not None and scope["path"] != HEALTH_PATH:
            method, path = scope["method"], scope["path"]
            reads = method in ("GET", "HEAD", "OPTIONS") or (method == "POST" and path in _READING_POSTS)
            refusal = self._authorize(scope, "read" if reads else "operate")
            if refusal is not None:
                return refusal
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced[:18]) > self._max_body_bytes:
            return 413, _too_large(self._max_body_bytes)
        return None


class _Bounded:
    """A body that is read until it is too large."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._read = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise HTTPException(413, _too_large(self._most))  # any other error is a 400 to FastAPI
        return message


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes"


# -- errors


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"message": message, "restate_code": None}, status, headers)


def _refused(status: int, message: str) -> JSONResponse:
    return _error(status, message, {"www-authenticate": "Bearer"} if status == 401 else None)


async def _on_admin_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AdminError)
    return _error(error.status, str(error))


async def _on_malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    complaints = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:10])
    return _error(400, "; ".join(complaints))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """404, 405, a body that cannot be read: FastAPI's own."""
    assert isinstance(error, HTTPException)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:  # the router names the methods of the first route with this path alone
        headers["allow"] = ", ".join(sorted(_methods(request)))
    return _error(error.status_code, str(error.detail), headers)


def _methods(request: Request) -> set[str]:
    """What can be done to this path."""
    found: set[str] = set()
    for route in chain(request.app.routes, *(router.routes for router in _ROUTERS)):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= set(route.methods or ())
    return found


async def _on_outage(_: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, GatewayError) else 500 if isinstance(error, StoreCorrupt) else 503
    return _error(status, str(error))


def _version() -> str:
    try:
        return version("barnabas")
    except PackageNotFoundError:  # run from the source tree without being installed
        return "0"
