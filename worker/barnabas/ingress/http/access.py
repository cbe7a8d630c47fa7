"""Who may do what at the ingress: a door's answers as HTTP. Made by `process`, asked by `app` for every request."""

from __future__ import annotations

from barnabas.ingress.access.door import ATTACHING, INVOKING, Door
from barnabas.ingress.http.app import Authorize
from barnabas.ingress.http.paths import Awakeable, Health, Invoke, Route
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Response, error_response, json_response


def authorize_by(door: Door) -> Authorize:
    """What the application asks before it reads a body."""

    def authorize(request: HttpRequest, route: Route) -> Response | None:
        accepted = INVOKING if isinstance(route, Invoke | Awakeable) else ATTACHING
        denied = door.check(request.header("authorization"), accepted)
        if denied is None:
            return None
        if isinstance(route, Health):  # a probe has no key; it learns no names either
            return json_response(200, {"services": []})
        answer = error_response(denied.status, denied.message)
        answer.headers.extend((name.encode(), value.encode()) for name, value in denied.headers.items())
        return answer

    return authorize
