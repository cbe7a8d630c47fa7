"""Looks whether a call that a shard has just queued waits for itself, where its service wants such calls to fail.

The driver asks after the commit that queued the call; `introspection.deadlocks.find_cycles` says why that is late
enough. All that gathers while one look is under way shares the next, so a busy key costs one look a round trip and not
one a call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

from barnabas.contract.records import Caller
from barnabas.introspection.deadlocks import describe_cycle, find_cycles
from barnabas.introspection.graph import Node
from barnabas.introspection.reading import Ref
from barnabas.runtime.live import Live
from barnabas.runtime.shard import ShardEngine
from barnabas.store.port import Service, Store, StoreCorrupt, StoreUnavailable

log = logging.getLogger("barnabas.worker")

#: After this time a look is repeated that met calls on their way to their shards.
AGAIN_SECONDS = 0.05
#: After this time it is tried again where the store did not answer.
OUTAGE_SECONDS = 0.5
#: Calls that share a look.
TOGETHER = 100

_Asked = dict[Live, ShardEngine]


class DeadlockCheck:
    """The looks under way in this process. `services` gives all that are registered, each time it is called."""

    def __init__(
        self,
        store: Store,
        services: Callable[[], Mapping[str, Service]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._services = services
        self._pause = pause
        self._asked: _Asked = {}
        self._looking = False
        self._spawn: Callable[[Any], None] = lambda _: None
        self._between_turns: Callable[[], AbstractContextManager[None]]
        self._touch: Callable[[ShardEngine], None]

    def bind(
        self,
        spawn: Callable[[Any], None],
        between_turns: Callable[[], AbstractContextManager[None]],
        touch: Callable[[ShardEngine], None],
    ) -> None:
        """How to run a coroutine, and how to enter engines from it. Called once."""
        self._spawn = spawn
        self._between_turns = between_turns
        self._touch = touch

    def ask(self, engine: ShardEngine, live: Live) -> None:
        """Look for a cycle through this invocation, which the store has as queued; if there is one, have it fail.

        Where no handler waits for it there is none. Without the store the call waits, and is looked at later.
        """
        if any(isinstance(waiter, Caller) for waiter in live.waiters):
            self._asked[live] = engine
            if not self._looking:
                self._looking = True
                self._spawn(self._look_at_all())

    async def _look_at_all(self) -> None:
        try:
            while self._asked:
                together = dict(islice(self._asked.items(), TOGETHER))
                for live in together:
                    del self._asked[live]
                try:
                    if await self._look(together):
                        self._spawn(self._look_again(together))
                    else:
                        self._is_over(together)
                except StoreUnavailable as error:
                    self._put_off(together, error)
        finally:
            self._looking = False

    async def _look_again(self, asked: _Asked) -> None:
        await self._pause(AGAIN_SECONDS)
        try:
            await self._look(asked)
        except StoreUnavailable as error:
            self._put_off(asked, error)
        else:
            self._is_over(asked)

    def _put_off(self, asked: _Asked, error: StoreUnavailable) -> None:
        log.warning("cannot look for deadlocks of %d calls, they wait until the store is back: %s", len(asked), error)
        self._spawn(self._ask_later(asked))

    async def _ask_later(self, asked: _Asked) -> None:
        await self._pause(OUTAGE_SECONDS)
        for live, engine in asked.items():
            self.ask(engine, live)

    async def _look(self, asked: _Asked) -> bool:
        """Fail those of them that are on a cycle. Returns whether a later look may find more.

        Raises StoreUnavailable.
        """
        waiting = [live for live, engine in asked.items() if engine.deadlocks.waits(live)]
        if not waiting:
            return False
        starts = [Ref(live.id, live.service, live.handler, live.key) for live in waiting]
        try:
            cycles = await find_cycles(self._store, self._services(), starts)
        except StoreCorrupt as error:
            log.warning("cannot look for deadlocks of %d calls, they wait: %s", len(starts), error)
            return False
        if cycles.found:
            with self._between_turns():
                for live, engine in asked.items():
                    if live.id in cycles.found:
                        self._fail(engine, live, cycles.found[live.id])
        return cycles.unsettled

    def _fail(self, engine: ShardEngine, live: Live, cycle: list[Node]) -> None:
        engine.deadlocks.fail(live, f"this call would wait for itself: {describe_cycle(cycle)}")
        self._touch(engine)

    def _is_over(self, asked: _Asked) -> None:
        for live, engine in asked.items():
            if engine.deadlocks.looked_at(live):
                self._touch(engine)
