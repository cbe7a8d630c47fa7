"""A worker with the subscriptions of its app beside it, in one process. Used by `barnabas worker`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from barnabas.sdk.app import App
from barnabas.sdk.subscription import Subscription
from barnabas.subscriptions.process import SubscriptionProcess
from barnabas.subscriptions.registry import SchemaRegistry
from barnabas.worker.process import Worker
from barnabas.worker.settings import Settings


class _Part(Protocol):
    def stop(self) -> None: ...

    def run(self) -> Coroutine[Any, Any, None]: ...


class WorkerWithSubscriptions:
    """The worker comes first, since it registers the handlers that subscriptions may be for. Ready when all are.

    They end together: by `stop`, or when one of them fails, whose error `run` raises.
    """

    def __init__(
        self,
        app: App,
        subscriptions: Sequence[Subscription],
        settings: Settings,
        registry: SchemaRegistry | None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_ready = on_ready
        self._ready = asyncio.Event()
        self._stopping = False
        self._worker = Worker(app, settings, self._part_is_ready)
        self._others = [SubscriptionProcess(one, settings, registry, self._part_is_ready) for one in subscriptions]
        self._awaited = 1
        self._running: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Drain and end. May be called from a signal handler of the loop, more than once."""
        self._stopping = True
        for part in self._parts():
            part.stop()
        self._ready.set()

    async def run(self) -> None:
        """Work until `stop`. Raises what a part raises."""
        try:
            for parts in ([self._worker], self._others):
                await self._start(parts)
            if not self._stopping:
                self._on_ready()
            if self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            await asyncio.gather(*self._running, return_exceptions=True)
        for task in self._running:
            task.result()

    async def _start(self, parts: Sequence[_Part]) -> None:
        """Returns when all of them are ready, or one that runs has ended."""
        if self._stopping or not parts:
            return
        self._awaited = len(parts)
        self._ready.clear()
        self._running += [asyncio.create_task(part.run()) for part in parts]
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, *self._running], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            self.stop()

    def _part_is_ready(self) -> None:
        self._awaited -= 1
        if self._awaited == 0:
            self._ready.set()

    def _parts(self) -> list[_Part]:
        return [self._worker, *self._others]
