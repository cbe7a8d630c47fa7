"""One session of an idempotent producer on librdkafka. Opened by the outbox's shell, which opens another at its end.

Who serves the delivery reports: the loop, every few milliseconds while something is on its way. librdkafka's Python
binding takes the interpreter's lock once a report, so a thread that serves thousands of them beside a busy loop waits
up to 5 ms for each (measured: 46,000 of 60,000 reports behind, against 180 when the loop serves them), and for a single
one waking the thread and then the loop costs more than all the rest (measured: 0.2 ms of processor time). Nobody waits
for a report: it only lets an entry leave the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Driver

from barnabas.log.kafka_complaints import Complaints, is_fatal, library_logger
from barnabas.log.port import BatchRefusedError, OutRecord, ProducerEvents, UndeliverableError
from barnabas.log.settings import KafkaSettings

logger = logging.getLogger("barnabas.log")

_BURST = 64  # records on their way
_BURST_SECONDS = 0.001  # how often reports are served with more than that
_QUIET_SECONDS = 0.002  # and with less
_FATAL_SECONDS = 0.5  # how long a fatal error waits for the reports of what it ended
_IDLE_SECONDS = 1.0  # how often logs and errors are looked for while nothing is on its way

# Refused because of where the record goes: true of each record on its own.
_NO_SUCH_PLACE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
# Refused because of what is in it: the broker says so of a whole batch.
_BAD_CONTENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
    }
)


class ProducerSession:
    """Implements the port `Producer`. With `one_by_one` every record travels in a batch of its own."""

    def __init__(
        self,
        settings: KafkaSettings,
        events: ProducerEvents,
        loop: asyncio.AbstractEventLoop,
        *,
        one_by_one: bool = False,
    ) -> None:
        self._events = events
        self._loop = loop
        self._one_by_one = one_by_one
        self._on_their_way = 0
        self._delivered: list[object] = []
        self._failed: list[tuple[object, KafkaError]] = []
        self._unfit: list[tuple[object, UndeliverableError]] = []  # refused before they were sent
        self._fatal: KafkaError | None = None
        self._complaints = Complaints("producer")
        self._fatal_since: float | None = None
        self._over = False
        self._closed = False
        self._drained: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._driver = Driver({**_config(settings, one_by_one), "error_cb": self._on_error, "logger": library_logger})
        self._arm()

    def produce(self, record: OutRecord, token: object) -> bool:
        if self._over or self._failed or self._unfit:
            return False  # `on_session_over` is on its way or was called
        topic, partition, key, value, headers = record
        report = partial(self._on_report, token)
        try:
            self._driver.produce(topic, value, key, partition, on_delivery=report, headers=headers)  # type: ignore[arg-type]
        except BufferError:
            return False
        except KafkaException as error:
            return self._refused(token, error.args[0])
        self._on_their_way += 1
        if self._on_their_way == 1:
            self._arm()
        return True

    def _refused(self, token: object, error: KafkaError) -> bool:
        """librdkafka would not take the record. An end of the session is told after `produce` has returned."""
        self._loop.call_soon(self._end_if_failed)
        if error.code() == KafkaError._FATAL:
            self._fatal = self._fatal or error
            return False
        if error.code() in _NO_SUCH_PLACE or error.code() in _BAD_CONTENT:
            self._unfit.append((token, UndeliverableError(_words(error))))
        else:
            self._failed.append((token, error))
        return True

    async def aclose(self, flush_seconds: float) -> None:
        if not self._over and self._on_their_way:
            self._drained = asyncio.Event()
            try:
                async with asyncio.timeout(flush_seconds):
                    await self._drained.wait()
            except TimeoutError:
                logger.warning("%d records were not acknowledged within %.1f s", self._on_their_way, flush_seconds)
        if not self._over:
            self._end()
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._driver.purge()
        self._driver.close()

    # Serving the reports.

    def _arm(self) -> None:
        """Settle when to serve next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over:
            return
        if self._on_their_way == 0 and not self._fatal:
            seconds = _IDLE_SECONDS
        else:
            seconds = _BURST_SECONDS if self._on_their_way > _BURST else _QUIET_SECONDS
        self._timer = self._loop.call_later(seconds, self._serve)

    def _serve(self) -> None:
        if self._over:
            return
        self._poll()
        if self._delivered:
            if self._complaints:
                self._complaints.going_on()
            delivered, self._delivered = self._delivered, []
            self._on_their_way -= len(delivered)
            self._events.on_delivered(delivered)
        self._end_if_failed()
        if self._on_their_way == 0 and self._drained is not None:
            self._drained.set()
        self._arm()

    def _poll(self) -> None:
        try:
            self._driver.poll(0)
        except KafkaException as error:  # how the binding tells of a fatal error, besides `error_cb`
            self._fatal = error.args[0]

    # Callbacks of librdkafka; they run inside poll and cannot raise.

    def _on_report(self, token: object, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append((token, error))
        elif not self._failed:  # what comes after a failure is reported no more
            self._delivered.append(token)

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal = error
        else:
            self._complaints.tell(error)

    # The end.

    def _end_if_failed(self) -> None:
        if self._over or not (self._failed or self._unfit or self._fatal) or self._reports_are_due():
            return
        failed = list(self._failed)  # the purge below reports failures of its own
        undeliverable = self._undeliverable(failed)
        cause = self._cause(undeliverable, failed)
        logger.error("a producer session is over: %s", cause)
        self._end()
        if self._drained is not None:
            self._drained.set()
        self._events.on_session_over(undeliverable, cause)

    def _reports_are_due(self) -> bool:
        """After a fatal error everything on its way fails, and those reports say what was wrong: give them a moment."""
        if self._failed or self._unfit or self._on_their_way == 0:
            return False
        if self._fatal_since is None:
            self._fatal_since = self._loop.time()
        return self._loop.time() < self._fatal_since + _FATAL_SECONDS

    def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._driver.purge(blocking=False)

    def _undeliverable(self, failed: list[tuple[object, KafkaError]]) -> list[tuple[object, UndeliverableError]]:
        """Bad content is said of a whole batch, whose reports come together: a single one means it had one record."""
        bad = [failure for failure in failed if failure[1].code() in _BAD_CONTENT]
        hopeless = [failure for failure in failed if failure[1].code() in _NO_SUCH_PLACE]
        if len(bad) == 1 or self._one_by_one:
            hopeless += bad
        return [*self._unfit, *((token, UndeliverableError(_words(error))) for token, error in hopeless)]

    def _cause(
        self, undeliverable: list[tuple[object, UndeliverableError]], failed: list[tuple[object, KafkaError]]
    ) -> BaseException:
        if undeliverable:
            return undeliverable[0][1]
        for _, error in failed:
            if error.code() in _BAD_CONTENT:
                return BatchRefusedError(_words(error))
        return KafkaException(self._fatal or failed[0][1])


def _words(error: KafkaError) -> str:
    return f"{error.name()}: {error.str()}"


def _config(settings: KafkaSettings, one_by_one: bool) -> dict[str, object]:
    config: dict[str, object] = {
        **settings.common(),
        **settings.options,
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "linger.ms": settings.linger_ms,
        "batch.size": settings.batch_bytes,
        "queue.buffering.max.messages": settings.producer_queue,
    }
    if one_by_one:
        config["batch.num.messages"] = 1
    return config
