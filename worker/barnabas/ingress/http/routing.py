"""From a request to its answer: which part of the ingress does what, with which methods. Used by `app`."""

from __future__ import annotations

from typing import Final

from barnabas.ingress.errors import GatewayError
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.http.existing import Existing
from barnabas.ingress.http.invoking import Invoking
from barnabas.ingress.http.paths import Awakeable, ByBody, Health, Invoke, PathError, Route, parse_path
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Refused, Response, error_response, json_response

_RETRY_SECONDS: Final = 1
_UNAVAILABLE: Final = 503


class Routing:
    """The ingress without its connections."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._invoking = Invoking(gateway)
        self._existing = Existing(gateway)

    def route(self, http: HttpRequest) -> Route:
        """What the request is for. Raises PathError, or Refused for a method that the path does not have."""
        route = parse_path(http.raw_path)
        methods = _methods(route)
        if http.method not in methods:
            raise Refused(405, "method not allowed", allow=methods)
        return route

    async def answer(self, http: HttpRequest, route: Route) -> Response:
        """The answer to a request whose body was read. Raises what `error_answer` knows."""
        match route:
            case Invoke():
                return await self._invoking.answer(http, route)
            case Health():
                public = sorted(name for name, service in self._gateway.services().items() if service.public)
                return json_response(200, {"services": public})
            case Awakeable():
                return await self._existing.awakeable(http, route)
            case _:
                return await self._existing.answer(http, route)


def _methods(route: Route) -> tuple[str, ...]:
    match route:
        case Invoke():
            return ("POST", "GET")
        case ByBody() | Awakeable():
            return ("POST",)
        case _:
            return ("GET",)


def error_answer(error: Refused | PathError | GatewayError) -> Response:
    """The answer that an error stands for."""
    if isinstance(error, Refused):
        return error.response()
    answer = error_response(error.status, str(error))
    if error.status == _UNAVAILABLE:
        answer.headers.append((b"retry-after", b"%d" % _RETRY_SECONDS))
    return answer
