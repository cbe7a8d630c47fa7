"""Who may do what at the ingress: a door's answers as HTTP. Made by `process`, asked by `app` for every request.

Where the door asks for no key, a page that somebody looks at could call with no more than an image's address or a form;
the browser would only keep the answer from it. So pages of other origins are stopped there unless they were named.
"""

from __future__ import annotations

from collections.abc import Collection

from barnabas.ingress.access.door import ATTACHING, INVOKING, Denied, Door
from barnabas.ingress.http.app import Authorize
from barnabas.ingress.http.origins import ANY, foreign_page
from barnabas.ingress.http.paths import Awakeable, Health, Invoke, Route
from barnabas.ingress.http.requests import HttpRequest
from barnabas.ingress.http.responses import Response, error_response, json_response


def authorize_by(door: Door, origins: Collection[str] = ()) -> Authorize:
    """What the application asks before it reads a body. `origins`: of pages that may call."""

    def authorize(request: HttpRequest, route: Route) -> Response | None:
        accepted = INVOKING if isinstance(route, Invoke | Awakeable) else ATTACHING
        denied = door.check(request.header("authorization"), accepted)
        if denied is None and not door.asks_for_keys:
            denied = _deny_page(request, origins)
        if denied is None:
            return None
        if isinstance(route, Health):  # a probe has no key; it learns no names either
            return json_response(200, {"services": []})
        answer = error_response(denied.status, denied.message)
        answer.headers.extend((name.encode(), value.encode()) for name, value in denied.headers.items())
        return answer

    return authorize


def _deny_page(request: HttpRequest, origins: Collection[str]) -> Denied | None:
    origin = foreign_page(request)
    if origin is None or ANY in origins or origin in origins:
        return None
    return Denied(
        403,
        "a web page of another origin has sent this, and there are no API keys to tell who may. Name its origin: "
        f"barnabas ingress --cors-origin {origin or 'ORIGIN'}",
    )
