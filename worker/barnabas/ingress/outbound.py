"""Records from outside on their way to Kafka, through one producer session at a time (R2). Part of the gateway.

When a session ends, nobody knows which of its records are in the log. Another session produces those again whose repeat
is harmless for ever, because the receiver knows their id (idempotent requests, workflows' runs, signals). A plain
invocation is known only while it runs and a little after: what becomes of it is left to who asked (`in_doubt`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, cast

from barnabas.ingress.errors import GatewayError, TooLarge, Unavailable
from barnabas.ingress.ports import OpenSession
from barnabas.log.port import BatchRefusedError, OutRecord, Producer, UndeliverableError

log = logging.getLogger("barnabas.ingress")

#: A session that ended is followed by another after this long, so that a broken topic does not make a busy loop.
PAUSE_SECONDS: Final = 0.2
#: What Kafka has not acknowledged may be so much; more is refused, so that an outage does not fill the memory.
MAX_RECORDS: Final = 50_000
MAX_BYTES: Final = 64 << 20
#: Of a record with all that belongs to it: librdkafka's own bound, and a little under Kafka's of a batch.
MAX_RECORD_BYTES: Final = 990_000
_OVERHEAD: Final = 200  # of a record in a batch


class Outgoing:
    """One record, until Kafka has it. Subclasses say what happens then; each is told once at most."""

    __slots__ = ("failed", "record", "repeatable", "since", "size")

    def __init__(self, record: OutRecord, *, repeatable: bool) -> None:
        self.record = record
        self.repeatable = repeatable
        self.size = len(record.value or b"") + len(record.key or b"") + _OVERHEAD
        self.since = 0.0
        self.failed = False  # nobody waits for it any more

    def on_acknowledged(self) -> None:
        """Kafka has it."""

    def on_failed(self, error: GatewayError) -> None:
        """It will not be acknowledged, or not in time."""

    def on_in_doubt(self) -> None:
        """It may be in the log or not, and to produce it again could run it twice."""
        self.on_failed(
            Unavailable(
                "Kafka may have taken the request or not. Ask again with an idempotency key if it must not run twice"
            )
        )

    def fail(self, error: GatewayError) -> None:
        """Tell of the failure, unless one was told of before."""
        if not self.failed:
            self.failed = True
            self.on_failed(error)


class Outbound:
    """The one producer of this process. `aclose` in the end."""

    def __init__(self, open_session: OpenSession, acknowledge_seconds: float) -> None:
        self._open = open_session
        self._seconds = acknowledge_seconds
        self._loop = asyncio.get_running_loop()
        self._pending: dict[Outgoing, None] = {}  # with the session, oldest first
        self._bytes = 0
        self._backlog: deque[Outgoing] = deque()  # that the session has no room for, or that wait for one
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.sessions = 1
        self._session: Producer | None = self._open(self, one_by_one=False)
        self._timer = self._loop.call_later(1.0, self._give_up_overdue)

    @property
    def unacknowledged(self) -> int:
        """Records that Kafka has not acknowledged."""
        return len(self._pending) + len(self._backlog)

    def produce(self, outgoing: Outgoing) -> None:
        """Hand a record over; it is told what came of it. Raises Unavailable or TooLarge at once if it cannot go."""
        if outgoing.size > MAX_RECORD_BYTES:
            raise TooLarge(
                f"the request has {outgoing.size} bytes with its headers, a record on Kafka holds {MAX_RECORD_BYTES}. "
                "Put the content elsewhere and send a reference to it"
            )
        if self._closed:
            raise Unavailable("this process is ending, ask another one")
        if self.unacknowledged >= MAX_RECORDS or self._bytes >= MAX_BYTES:
            raise Unavailable(
                f"Kafka has not acknowledged the last {self.unacknowledged} records, so no more are taken now"
            )
        outgoing.since = self._loop.time()
        self._bytes += outgoing.size
        self._hand_over(outgoing)

    def _hand_over(self, outgoing: Outgoing) -> None:
        if self._session is None or self._backlog:
            self._backlog.append(outgoing)
            return
        self._pending[outgoing] = None  # first: a session that refuses it for good says so by its token
        if not self._session.produce(outgoing.record, outgoing):
            del self._pending[outgoing]
            self._backlog.append(outgoing)

    def _drain_backlog(self) -> None:
        backlog, self._backlog = self._backlog, deque()
        while backlog:
            outgoing = backlog.popleft()
            if outgoing.failed:  # nobody waits, and it never was with a session: forget it
                self._bytes -= outgoing.size
                continue
            self._hand_over(outgoing)
            if self._backlog:  # no room again
                self._backlog.extend(backlog)
                return

    def _give_up_overdue(self) -> None:
        """Who has waited too long for an acknowledgement is told; the record stays on its way, and counts."""
        self._timer = self._loop.call_later(1.0, self._give_up_overdue)
        limit = self._loop.time() - self._seconds
        for waiting in (self._pending, self._backlog):
            for outgoing in list(waiting):
                if outgoing.since > limit:
                    break
                outgoing.fail(
                    Unavailable(
                        f"Kafka has not acknowledged the request within {self._seconds:g} s. It may still run: "
                        "ask again with an idempotency key if it must not run twice"
                    )
                )

    # -- what the session tells (log.port.ProducerEvents)

    def on_delivered(self, tokens: list[object]) -> None:
        for outgoing in cast(list[Outgoing], tokens):
            if outgoing not in self._pending:
                continue  # of a session before
            del self._pending[outgoing]
            self._bytes -= outgoing.size
            if not outgoing.failed:
                outgoing.on_acknowledged()
        if self._backlog and self._session is not None:
            self._drain_backlog()

    def on_session_over(self, undeliverable: list[tuple[object, UndeliverableError]], error: BaseException) -> None:
        log.warning("the producer session has ended, starting another: %s", error)
        over, self._session = self._session, None
        if over is not None:
            self._keep(self._loop.create_task(over.aclose(0)))
        hopeless = {cast(Outgoing, token): why for token, why in undeliverable}
        rest = [outgoing for outgoing in self._pending if outgoing not in hopeless]
        self._pending.clear()
        for outgoing, why in hopeless.items():
            self._bytes -= outgoing.size
            outgoing.fail(_refused(outgoing, why))
        again = [outgoing for outgoing in rest if outgoing.repeatable and not outgoing.failed]
        for outgoing in rest:
            if not outgoing.repeatable or outgoing.failed:
                self._bytes -= outgoing.size
        self._backlog.extendleft(reversed(again))
        # Last: what they do may produce more, which goes behind the others.
        for outgoing in rest:
            if not outgoing.repeatable and not outgoing.failed:
                outgoing.on_in_doubt()
        one_by_one = isinstance(error, BatchRefusedError)
        if not self._closed:
            self._loop.call_later(PAUSE_SECONDS, self._reopen, one_by_one)

    def _reopen(self, one_by_one: bool) -> None:
        if self._session is None and not self._closed:
            self.sessions += 1
            self._session = self._open(self, one_by_one=one_by_one)
            self._drain_backlog()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self, flush_seconds: float) -> None:
        """Deliver what is on its way, for at most that long; who still waits then gets Unavailable."""
        self._closed = True
        self._timer.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.aclose(flush_seconds)
        await asyncio.gather(*self._closing)
        for outgoing in [*self._pending, *self._backlog]:
            outgoing.fail(Unavailable("this process has ended before Kafka acknowledged the request"))
        self._pending.clear()
        self._backlog.clear()


def _refused(outgoing: Outgoing, why: UndeliverableError) -> GatewayError:
    text = f"Kafka will never take this record for {outgoing.record.topic}: {why}"
    return TooLarge(text) if "TOO_LARGE" in str(why) or "SIZE" in str(why) else Unavailable(text)
