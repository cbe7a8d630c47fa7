"""Invocations that exist already, over HTTP: attach, output, lookup, and their awakeables. Used by `routing`."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from barnabas.contract.ids import InvocationId, MalformedId, idempotent_id, parse_awakeable_id, workflow_id
from barnabas.contract.records import Failure, Signal, SignalKind
from barnabas.ingress.errors import Unavailable, UnknownTarget
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.http.invoking import content_type_of, known_response, reply_response
from barnabas.ingress.http.paths import Awakeable, ByBody, ById, ByKey, ByWorkflow, PathError
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused, Response, error_response, json_response

NOT_COMPLETED: Final = 470


class _Target(NamedTuple):
    """An invocation, and its handler where the request says it."""

    id: InvocationId
    service: str | None = None
    handler: str | None = None


class Existing:
    """What is asked about invocations that exist already."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, http: HttpRequest, route: ById | ByKey | ByWorkflow | ByBody) -> Response:
        """Raises Refused, PathError and GatewayError."""
        target = await self._target(http, route)
        self._refuse_private(target)
        if route.op == "lookup":
            return json_response(200, {"invocationId": str(target.id)})
        return await (self._attach(target) if route.op == "attach" else self._output(target))

    async def _target(self, http: HttpRequest, route: ById | ByKey | ByWorkflow | ByBody) -> _Target:
        match route:
            case ById():
                return _by_id(route.invocation)
            case ByWorkflow():
                return _Target(workflow_id(route.workflow, route.key), route.workflow, "run")
            case ByKey():
                return await self._by_key(route)
            case ByBody():
                return _by_body(route.op, http.body)

    async def _by_key(self, route: ByKey) -> _Target:
        service = await self._gateway.service(route.service)
        if service is None:
            raise Refused(404, f"service '{route.service}' not found, start a worker that serves it before calling it")
        *key, handler, idempotency_key = route.rest
        if len(key) != (service.kind != "service"):
            what = "takes no key" if service.kind == "service" else "has keys, and the path needs one"
            raise PathError(400, f"bad path: '{service.name}' {what}")
        id_ = idempotent_id(service.name, handler, key[0] if key else None, idempotency_key)
        return _Target(id_, service.name, handler)

    def _refuse_private(self, target: _Target) -> None:
        """By its names nobody from outside gets at a private service; who has an id was given it."""
        service = self._gateway.services().get(target.service or "")
        if service is not None and not service.is_public(target.handler or ""):
            raise Refused(400, "the service is not public")

    async def _attach(self, target: _Target) -> Response:
        id_ = str(target.id)
        try:
            known = await self._gateway.known(target.id)
        except Unavailable:
            known = None  # the shard knows
        handler = target.handler or ("" if known is None else known.handler)
        if known is not None and known.finished:
            return known_response(id_, known, self._content_type(target, handler))
        try:
            reply = await self._gateway.attach(target.id)
        except UnknownTarget as error:
            return error_response(404, f"not found: {error}", "invocation", invocation=id_)
        return reply_response(id_, reply, self._content_type(target, handler))

    async def _output(self, target: _Target) -> Response:
        known = await self._gateway.known(target.id)
        if known is None:
            raise Refused(404, f"invocation not found: {target.id} never was, or its outcome is no longer kept")
        if not known.finished:
            raise Refused(NOT_COMPLETED, "the invocation exists but has not completed yet")
        return known_response(str(target.id), known, self._content_type(target, target.handler or known.handler))

    def _content_type(self, target: _Target, handler: str) -> str:
        return content_type_of(self._gateway.registry.service_of(target.id), handler)

    async def awakeable(self, http: HttpRequest, route: Awakeable) -> Response:
        """Resolve it with the body, or reject it with the body as the message; the first of all is what counts."""
        try:
            id_, position = parse_awakeable_id(route.id)
        except MalformedId as error:
            raise Refused(400, f"bad awakeable id: {error}") from None
        signal = Signal(SignalKind.RESOLVE, id_, position=position)
        if route.op == "resolve":
            signal.result = http.body
        else:
            signal.failure = Failure(500, http.body.decode(errors="replace"))
        await self._gateway.signal(signal, wait=False)
        return Response(202, [])


def _by_id(text: str) -> _Target:
    try:
        return _Target(InvocationId.parse(text))
    except MalformedId as error:
        raise Refused(400, f"bad invocation id: {error}") from None


def _by_body(op: str, body: bytes) -> _Target:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, f"invalid {op} body: it is no JSON") from None
    if not isinstance(content, dict):
        raise Refused(400, f"invalid {op} body: it is no JSON object")
    if content.get("scope") is not None:
        raise Refused(501, "scopes are not supported by Barnabas; leave it out")
    try:
        return _of_content(op, content)
    except UnicodeEncodeError:
        raise Refused(400, f"invalid {op} body: its text must be Unicode without lone surrogates") from None


def _of_content(op: str, content: dict[str, Any]) -> _Target:
    def text(name: str) -> str:
        value = content.get(name)
        if not isinstance(value, str):
            raise Refused(400, f"invalid {op} body: `{name}` must be there, and text")
        return value

    match content.get("target"):
        case "invocation":
            return _by_id(text("invocationId"))
        case "workflow":
            name = text("workflowName")
            return _Target(workflow_id(name, text("workflowKey")), name, "run")
        case "idempotentInvocation":
            service, handler = text("service"), text("handler")
            key = None if content.get("key") is None else text("key")
            return _Target(idempotent_id(service, handler, key, text("idempotencyKey")), service, handler)
    raise Refused(400, f"invalid {op} body: `target` must be one of invocation, idempotentInvocation, workflow")
