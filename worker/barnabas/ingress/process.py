"""An ingress process: the gateway, the application, its connections. Used by the command line (`barnabas ingress`).

Stateless: any number of them may run, each may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from socket import socket
from ssl import SSLContext

from barnabas.ingress.access.keys import Role
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.http.access import authorize_by
from barnabas.ingress.http.app import IngressApp
from barnabas.ingress.http.cors import with_cors
from barnabas.ingress.http.routing import Routing
from barnabas.ingress.http.server import Server, listen, url_of
from barnabas.ingress.settings import IngressSettings

log = logging.getLogger("barnabas.ingress")


class IngressProcess:
    """Serves until `stop`. `run` raises NotReady, UnsafeStore, StoreUnavailable or LogUnavailableError at its start."""

    def __init__(self, settings: IngressSettings, on_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._door = settings.door()
        self._stop = asyncio.Event()
        self.gateway = Gateway(settings)
        self.app = IngressApp(
            Routing(self.gateway),
            max_body_bytes=settings.ingress_max_body_bytes,
            max_requests=settings.ingress_max_requests,
            authorize=authorize_by(self._door, settings.ingress_cors_origins),
        )
        #: Where it is served, once `run` has begun.
        self.url = ""

    def stop(self) -> None:
        """Take no more, answer what is under way within `drain_seconds`, then end. May be called more than once."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`."""
        async with AsyncExitStack() as stack:
            tls = self._settings.tls()
            listening = listen(self._settings.ingress_host, self._settings.ingress_port)
            stack.callback(listening.close)
            self.url = url_of(listening, tls)
            stack.push_async_callback(self._door.aclose)
            await self._door.open(listening.getsockname()[0], Role.INVOKE)
            await self.gateway.start()
            stack.push_async_callback(self.gateway.aclose)
            await self._serve(listening, tls)

    async def _serve(self, listening: socket, tls: SSLContext | None) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        server = Server(
            with_cors(self.app, settings.ingress_cors_origins),
            listening,
            max_header_bytes=settings.ingress_max_header_bytes,
            drain_seconds=settings.drain_seconds,
            tls=tls,
        )
        serving = loop.create_task(server.run(), name="barnabas ingress")
        stopping = loop.create_task(self._stop.wait())
        try:
            await server.started()
            self._on_ready()
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            self.app.drain()
            log.info("answering %d requests, for at most %g s", self.app.underway, settings.drain_seconds)
            server.stop()
            last = loop.call_later(settings.drain_seconds, self.app.give_up)
            await serving
            last.cancel()
        finally:
            for task in (serving, stopping):
                task.cancel()
            await asyncio.wait([serving, stopping])
