"""One session of an idempotent producer on librdkafka. Opened by the outbox's shell, which opens another at its end.

Who serves the delivery reports: librdkafka's Python binding takes the interpreter's lock once a report, so a thread
that serves thousands of them beside a busy event loop waits up to 5 ms for each (measured: 46,000 of 60,000 reports
behind, against 180 when the loop serves them). A thread that serves a single report wakes the loop within 0.1 ms,
though, where a timer of the loop takes 1 ms. So the right to poll has one holder at a time: the thread while few
records are on their way, the loop itself, every millisecond, in a burst. One holder also keeps the reports in order.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Driver

from barnabas.log.kafka_complaints import Complaints, is_fatal, library_logger
from barnabas.log.port import BatchRefusedError, OutRecord, ProducerEvents, UndeliverableError
from barnabas.log.settings import KafkaSettings

logger = logging.getLogger("barnabas.log")

_BURST = 64  # more records than this on their way: the loop serves the reports
_BURST_SECONDS = 0.001
_THREAD_POLL_SECONDS = 0.2
_FATAL_SECONDS = 0.5  # how long a fatal error waits for the reports of what it ended
_IDLE_SECONDS = 1.0  # how often logs and errors are looked for while nothing is on its way
_CLOSE_SECONDS = 5.0

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
        self._drained: asyncio.Event | None = None
        self._timer: asyncio.Handle | None = None
        self._thread_polls = False
        self._go = threading.Semaphore(0)
        self._driver = Driver({**_config(settings, one_by_one), "error_cb": self._on_error, "logger": library_logger})
        self._thread = threading.Thread(target=self._run, name="barnabas-producer", daemon=True)
        self._thread.start()
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
        if self._on_their_way == 1 and not self._thread_polls:
            self._rearm_soon()
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
        await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    # Serving the reports.

    def _rearm_soon(self) -> None:
        """At the end of this round of the loop, when it shows how much there is."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_soon(self._arm)

    def _arm(self) -> None:
        """Settle who polls next, and when."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over or self._thread_polls:
            return
        if self._on_their_way == 0:
            self._timer = self._loop.call_later(_IDLE_SECONDS, self._serve)
        elif self._on_their_way > _BURST or self._fatal:
            self._timer = self._loop.call_later(_BURST_SECONDS, self._serve)
        else:
            self._thread_polls = True
            self._go.release()

    def _serve(self) -> None:
        """On the loop, which holds the right to poll."""
        self._thread_polls = False
        if self._over:
            return
        self._poll(0)
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

    def _poll(self, seconds: float) -> None:
        try:
            self._driver.poll(seconds)
        except KafkaException as error:  # how the binding tells of a fatal error, besides `error_cb`
            self._fatal = error.args[0]

    def _run(self) -> None:
        """The thread: polls once for every `_go` and gives the right back; in the end closes the producer."""
        while True:
            self._go.acquire()
            if self._over:
                break
            self._poll(_THREAD_POLL_SECONDS)
            try:
                self._loop.call_soon_threadsafe(self._serve)
            except RuntimeError:  # the loop is closed: nobody listens any more
                break
        self._driver.purge()
        self._driver.close()

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
        self._go.release()

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
