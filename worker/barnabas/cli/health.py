"""Probes of processes that serve no HTTP themselves, worker and scheduler: `/live` and `/ready` on a port of their own.

`/live` is answered as long as the event loop turns; `/ready` with 200 between "ready" and the wish to end, else 503.
Nothing else is told, so the port needs no key. Used by `members`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from barnabas.ingress.http.server import Server, listen

_MAX_HEADER_BYTES = 8 << 10


class HealthAddress(NamedTuple):
    """Where probes ask. Port 0: any, for tests."""

    host: str
    port: int


class Health:
    """What probes are told. `state`: starting, ready, or ending."""

    def __init__(self) -> None:
        self.state = "starting"

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """The ASGI application."""
        match scope["path"]:
            case "/live":
                status = 200
            case "/ready":
                status = 200 if self.state == "ready" else 503
            case _:
                status = 404
        content = {"status": self.state} if status != 404 else {"message": "there are /live and /ready"}
        body = json.dumps(content).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def answering(health: Health, address: HealthAddress | None) -> AsyncIterator[None]:
    """Answer probes meanwhile; None: there are none. Raises NotReady where the port cannot be had."""
    if address is None:
        yield
        return
    server = Server(health, listen(*address), max_header_bytes=_MAX_HEADER_BYTES, drain_seconds=0)
    serving = asyncio.create_task(server.run(), name="barnabas health")
    try:
        yield
    finally:
        server.stop()
        await serving
