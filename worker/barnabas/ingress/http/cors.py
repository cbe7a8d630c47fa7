"""Cross-origin resource sharing: browsers let pages of named origins call, and read answers. Used by `process`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from barnabas.ingress.http.origins import ANY

_METHODS: Final = ("GET", "POST")
#: Of an answer, what a page does not see unasked, though clients read it.
_EXPOSED: Final = ("x-restate-id", "x-restate-error-source", "idempotency-expires", "retry-after")


def with_cors(app: Any, origins: Collection[str]) -> Any:
    """The ASGI application, for pages of these origins too; as it is where there are none.

    Only named origins may have the browser add what it has, a client certificate above all: with `*` any page could act
    as whoever looks at it.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=(ANY,),  # they reach the handler, so which ones there are is its own affair
        allow_credentials=ANY not in origins,
        expose_headers=_EXPOSED,
    )
