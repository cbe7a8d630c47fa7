"""An admin process: the gateway, the application, its connections. Used by the command line (`barnabas admin`).

Stateless: any number of them may run, each may be killed at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from barnabas.ingress.access.keys import Role
from barnabas.ingress.admin.access import authorize_by
from barnabas.ingress.admin.admin import Admin
from barnabas.ingress.admin.app import make_app
from barnabas.ingress.admin.settings import AdminSettings
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.http.server import Server, listen, url_of
from barnabas.store.looking import RedisLooks


class AdminProcess:
    """Serves until `stop`. `run` raises NotReady, UnsafeStore, StoreUnavailable or LogUnavailableError at its start."""

    def __init__(self, settings: AdminSettings, on_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self.gateway = Gateway(settings)
        self._looks = RedisLooks(settings.redis.get_secret_value(), settings.namespace)
        self._door = settings.door()
        self.app = make_app(Admin(self.gateway, self._looks, settings), authorize_by(self._door))
        #: Where it is served, once `run` has begun.
        self.url = ""

    def stop(self) -> None:
        """Take no more, answer what is under way within `drain_seconds`, then end. May be called more than once."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._looks.aclose)
            tls = settings.tls()
            listening = listen(settings.admin_host, settings.admin_port)
            stack.callback(listening.close)
            self.url = url_of(listening, tls)
            stack.push_async_callback(self._door.aclose)
            await self._door.open(listening.getsockname()[0], Role.OPERATE)
            await self.gateway.start()
            stack.push_async_callback(self.gateway.aclose)
            server = Server(
                self.app,
                listening,
                max_header_bytes=settings.admin_max_header_bytes,
                drain_seconds=settings.drain_seconds,
                tls=tls,
            )
            await self._serve(server)

    async def _serve(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        serving = loop.create_task(server.run(), name="barnabas admin")
        stopping = loop.create_task(self._stop.wait())
        try:
            await server.started()
            self._on_ready()
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            server.stop()
            await serving
        finally:
            for task in (serving, stopping):
                task.cancel()
            await asyncio.wait([serving, stopping])
