"""Calls and sends over HTTP: from path, headers and body to a request for the gateway, and back. Used by `routing`."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

from barnabas.contract.records import Reply
from barnabas.ingress.errors import Unavailable
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.http.delays import parse_delay
from barnabas.ingress.http.inputs import check_input
from barnabas.ingress.http.paths import Invoke, key_and_handler
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import (
    Refused,
    Response,
    execution_time,
    failure_response,
    json_response,
    result_response,
)
from barnabas.ingress.requests import Known, Request, request_of
from barnabas.store.port import Service

DEFAULT_CONTENT_TYPE: Final = "application/json"


class _Wanted(NamedTuple):
    """What a request to call or send wants, checked."""

    request: Request
    send: bool
    due: int | None  # as asked for; a request without delay has none
    content_type: str  # of the result


class Invoking:
    """Calls and sends."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sending: dict[bytes, asyncio.Future[bool]] = {}  # derived ids, while they are looked up and produced

    async def answer(self, http: HttpRequest, route: Invoke) -> Response:
        """Raises Refused, PathError and GatewayError."""
        wanted = await self._wanted(http, route)
        if wanted.send:
            return await self._send(wanted)
        http.body = b""  # who waits needs no memory for it
        return await self._call(wanted)

    # -- what is wanted

    async def _wanted(self, http: HttpRequest, route: Invoke) -> _Wanted:
        service = await self.service(route.service)
        key, handler, send = key_and_handler(route, service.kind != "service")
        if handler not in service.handlers:
            service = await self._with_handler(service, handler)
        about = about_handler(service, handler)
        if not service.is_public(handler):
            what = "handler" if service.public else "service"
            raise Refused(400, f"the invoked {what} is not public: {service.name}/{handler}")
        if http.header("x-restate-limit-key") is not None or _query(http, "limit-key") is not None:
            raise Refused(501, "limit keys are not supported by Barnabas; leave it out")
        idempotency_key = http.header("idempotency-key")
        if idempotency_key is not None and service.handlers[handler] == "workflow":
            raise Refused(
                400,
                "cannot use the idempotency key with workflow handlers. The invocation is idempotent by the "
                "workflow's key already",
            )
        due = self._due(_query(http, "delay"), send)
        check_input(about, http.header("content-type"), http.body)
        request = request_of(
            service,
            handler,
            key,
            http.body,
            headers=http.passed_on(),
            idempotency_key=idempotency_key,
            due=due if due is not None and due > self._gateway.clock() else None,
        )
        return _Wanted(request, send, due, content_type_of(service, handler))

    async def service(self, name: str) -> Service:
        """A service by its name. Raises Refused."""
        service = await self._gateway.service(name)
        if service is None:
            raise Refused(404, f"service '{name}' not found, start a worker that serves it before calling it")
        return service

    async def _with_handler(self, service: Service, handler: str) -> Service:
        """The service as it is registered now, which may have got the handler meanwhile."""
        fresh = await self._gateway.service(service.name, handler) or service
        if handler in fresh.handlers:
            return fresh
        raise Refused(
            404,
            f"the service '{service.name}' exists, but the handler '{handler}' was not found, "
            f"it has: {', '.join(sorted(fresh.handlers))}",
        )

    def _due(self, delay: str | None, send: bool) -> int | None:
        if delay is None:
            return None
        if not send:
            raise Refused(
                400, "cannot use the delay query parameter with calls. The delay is supported only with sends"
            )
        try:
            return self._gateway.clock() + parse_delay(delay)
        except ValueError as error:
            raise Refused(400, f"bad delay query parameter: {error}") from None

    # -- calls

    async def _call(self, wanted: _Wanted) -> Response:
        request, content_type = wanted.request, wanted.content_type
        if request.idempotency_key is not None:
            known = await self._known(request)
            if known is not None and known.finished:
                return known_response(str(request.id), known, content_type)
        waiting = self._gateway.begin(request)
        id_ = str(request.id)
        del request, wanted  # and with them the body
        return reply_response(id_, await self._gateway.outcome(waiting), content_type)

    async def _known(self, request: Request) -> Known | None:
        """What is known of it; without the store it is for the shard to tell."""
        try:
            return await self._gateway.known(request.id, derived=True)
        except Unavailable:
            return None

    # -- sends

    async def _send(self, wanted: _Wanted) -> Response:
        request = wanted.request
        if request.derived:
            known = await self._send_once(request)
        else:
            known = None
            await self._gateway.send(request)
        answer: dict[str, Any] = {"invocationId": str(request.id)}
        due = wanted.due if known is None else known.due  # of what was accepted, whatever a repeat asks for
        if due is not None:
            answer["executionTime"] = execution_time(due)
        answer["status"] = "Accepted" if known is None else "PreviouslyAccepted"
        return json_response(202, answer, str(request.id))

    async def _send_once(self, request: Request) -> Known | None:
        """What was known of a request before, or None and it was sent. Two at a time: the second sees the first."""
        sending = self._sending
        while (first := sending.get(request.id)) is not None:
            await asyncio.wait([first])
        own = sending[request.id] = asyncio.get_running_loop().create_future()
        try:
            known = await self._gateway.known(request.id, derived=True)
            if known is None:
                await self._gateway.send(request)
            return known
        finally:
            del sending[request.id]
            own.set_result(True)


def about_handler(service: Service, handler: str) -> dict[str, Any]:
    """What the registry says about a handler; empty if an older worker registered it."""
    handlers: dict[str, Any] = service.about.get("handlers", {})
    found: dict[str, Any] = handlers.get(handler, {})
    return found


def content_type_of(service: Service | None, handler: str) -> str:
    """Of what the handler returns."""
    if service is None:
        return DEFAULT_CONTENT_TYPE
    found: str = about_handler(service, handler).get("content_type") or DEFAULT_CONTENT_TYPE
    return found


def reply_response(id_: str, reply: Reply, content_type: str) -> Response:
    """How an invocation ended, as its shard has told."""
    if reply.failure is not None:
        return failure_response(reply.failure, id_)
    return result_response(id_, reply.result or b"", content_type, None)


def known_response(id_: str, known: Known, content_type: str) -> Response:
    """How an invocation ended, as the store has it."""
    if known.failure is not None:
        return failure_response(known.failure, id_)
    return result_response(id_, known.result or b"", content_type, known.expires_at)


def _query(http: HttpRequest, name: str) -> str | None:
    try:
        return http.query(name)
    except ValueError:
        raise Refused(400, "bad query: at most 100 parameters, percent-encoded") from None
