"""Produces the outboxes of all shards of this process through one producer session at a time (R2).

A session that ends is replaced, and every outbox starts again at its head; receivers drop what they had. Called by the
driver.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from barnabas.log.port import BatchRefusedError, OutRecord, Producer, ProducerEvents, UndeliverableError
from barnabas.runtime.engine import Engine
from barnabas.worker.failpoints import Failpoints

log = logging.getLogger("barnabas.worker")

#: A session that ended is followed by another after this long, so that a broken topic does not make a busy loop.
PAUSE_SECONDS = 0.2

Token = tuple[Engine, int]


class OpenSession(Protocol):
    """Opens a producer session."""

    def __call__(self, events: ProducerEvents, *, one_by_one: bool) -> Producer: ...


class Production:
    """The one producer of this process."""

    def __init__(
        self,
        open_session: OpenSession,
        start_over: Callable[[], None],
        undeliverable: Callable[[Engine, int, str], None],
        changed: Callable[[Engine], None],
        fail: Callable[[BaseException], None],
        failpoints: Failpoints,
    ) -> None:
        self._open = open_session
        self._start_over = start_over
        self._undeliverable = undeliverable
        self._changed = changed
        self._fail = fail
        self._failpoints = failpoints
        self._backlog: deque[tuple[OutRecord, Token]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.sessions = 1
        self._session: Producer | None = self._open(self, one_by_one=False)

    def produce(self, engine: Engine, entries: list[tuple[int, OutRecord]]) -> None:
        """Produce these outbox entries of a shard, in order."""
        self._failpoints.reach("produce.ready")
        if self._session is None:
            return  # the next session begins with every outbox's head
        if self._backlog:
            self._backlog.extend((record, (engine, number)) for number, record in entries)
            return
        for at, (number, record) in enumerate(entries):
            if not self._session.produce(record, (engine, number)):
                self._backlog.extend((record, (engine, number)) for number, record in entries[at:])
                return

    def on_delivered(self, tokens: list[object]) -> None:
        self._failpoints.reach("produce.done")
        for engine, number in cast(list[Token], tokens):
            if not engine.closed:
                engine.on_delivered([number])
                self._changed(engine)
        while self._backlog and self._session is not None and self._session.produce(*self._backlog[0]):
            self._backlog.popleft()

    def on_session_over(self, undeliverable: list[tuple[object, UndeliverableError]], error: BaseException) -> None:
        log.warning("the producer session has ended, starting another: %s", error)
        for token, why in undeliverable:
            engine, number = cast(Token, token)
            if not engine.closed:
                self._undeliverable(engine, number, str(why))
        over, self._session = self._session, None
        self._backlog.clear()
        if over is not None:
            self._keep(asyncio.get_running_loop().create_task(over.aclose(0)))
        one_by_one = isinstance(error, BatchRefusedError)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._reopen, one_by_one)

    def _reopen(self, one_by_one: bool) -> None:
        if self._session is None and not self._closed:
            self.sessions += 1
            try:
                self._session = self._open(self, one_by_one=one_by_one)
            except Exception as error:
                self._fail(error)  # without a session nothing would ever leave the outboxes
            else:
                self._start_over()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self, flush_seconds: float) -> None:
        """Deliver what is on its way, for at most that long. What is left stays in the outboxes."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.aclose(flush_seconds)
        await asyncio.gather(*self._closing)
