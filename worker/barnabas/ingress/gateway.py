"""What the HTTP ingress, the admin API and the command line share: the one way for requests from outside.

A `Gateway` produces invocations and signals as records without a label (from outside), waits for the replies to its own
requests, looks things up in the store, and knows the registered services. Any number of callers of one event loop share
one. Nothing that it was asked for is in this process alone: one that dies is replaced by another, whose callers ask
again.
"""

# ruff: noqa: ASYNC109 - `timeout=` is a convenience for callers; what it does is asyncio.timeout

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final
from uuid import uuid4

from barnabas.contract.codec import encode_invocation, encode_signal
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Invocation, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.ingress.errors import GatewayError, NoAnswer, Unavailable, UnknownTarget
from barnabas.ingress.lookup import Lookup
from barnabas.ingress.outbound import Outbound, Outgoing
from barnabas.ingress.ports import Ports, check_store, real_ports
from barnabas.ingress.registry import Registry
from barnabas.ingress.replies import Replies, Waiting
from barnabas.ingress.requests import Known, Request
from barnabas.ingress.settings import GatewaySettings
from barnabas.log.port import OutRecord
from barnabas.store.port import Service, StoreUnavailable
from barnabas.worker.member import require_topics

log = logging.getLogger("barnabas.ingress")

REMEDY: Final = "barnabas topics apply APP, with any app of the namespace"
_CLOCK_SECONDS: Final = 60.0
_FLUSH_SECONDS: Final = 10.0
_NOT_FOUND: Final = 404


class Gateway:
    """Requests from outside. `start` before anything else, `aclose` in the end.

    All methods that ask for something raise GatewayError (see `errors`); a handler's failure is part of the Reply.
    """

    def __init__(self, settings: GatewaySettings, ports: Ports | None = None) -> None:
        """Connects to nothing yet. `ports`: others than Kafka and Redis."""
        self._settings = settings
        self._ports = ports = ports or real_ports(settings)
        self.names: Final = TopicNames(settings.namespace)
        self.store: Final = ports.store
        #: For facts about topics, and for single records.
        self.admin: Final = ports.admin
        self.reader: Final = ports.reader
        self.registry: Final = Registry(self.store)
        self.lookup: Lookup
        self._replies: Replies
        self._outbound: Outbound
        self._partitions: dict[str, int] = {}  # of the shared topics
        self._clock_offset = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    # -- life

    async def start(self) -> None:
        """Connect. Raises NotReady, UnsafeStore, StoreUnavailable or LogUnavailableError where it cannot work."""
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise

    async def _start(self) -> None:
        names = self.names
        self._stack.push_async_callback(self.store.aclose)
        self._stack.push_async_callback(self.reader.aclose)
        await check_store(self.store)
        await self._set_clock()
        await self.registry.refresh()
        self._partitions = await require_topics(self.admin, [names.replies, names.delays, names.dead_letters], REMEDY)
        self.lookup = Lookup(self.store, self.registry, self._partitions[names.delays])
        replies = self._replies = Replies(
            self._ports.open_consumer,
            names.replies,
            self._partitions[names.replies],
            f"barnabas-ingress-{uuid4().hex}",
            self._ask_again,
        )
        place = (replies.topic, replies.partition)
        ends = await self.admin.end_offsets([place])
        replies.start(ends[place][1])
        self._stack.push_async_callback(replies.aclose)
        self._outbound = Outbound(self._ports.open_session, self._settings.acknowledge_seconds)
        self._stack.push_async_callback(self._outbound.aclose, _FLUSH_SECONDS)
        self._stack.callback(self._release_waiting)
        self._spawn(self.registry.keep_fresh())
        self._spawn(self._keep_clock())

    async def aclose(self) -> None:
        """Deliver what was handed over, then disconnect. Who still waits for a reply gets Unavailable."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._stack.aclose()

    def _release_waiting(self) -> None:
        for waiting in self._replies.waiting():
            _fail(waiting, Unavailable("this process is ending; the invocation goes on"))

    # -- what it knows

    def services(self) -> Mapping[str, Service]:
        """The registered services, as they were two seconds ago at most."""
        return self.registry.services

    async def service(self, name: str, handler: str | None = None) -> Service | None:
        """A service, asked for at once if it is not known, or has no such handler; None: nobody has registered it."""
        with _told():
            return await self.registry.find(name, handler)

    def service_of(self, id_: InvocationId) -> Service:
        """Whose invocation this is. Raises UnknownTarget."""
        service = self.registry.service_of(id_)
        if service is None:
            raise UnknownTarget(f"there is no invocation {id_}: no registered service has ids like this")
        return service

    def clock(self) -> int:
        """The store's time, ms since the epoch."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    @property
    def late_replies(self) -> int:
        """Replies that came when nobody waited for them any more; they were dropped."""
        return self._replies.late

    @property
    def waiting(self) -> int:
        """How many wait for a reply now."""
        return len(self._replies.waiting())

    async def known(self, id_: InvocationId, *, derived: bool = False) -> Known | None:
        """What the store, or this process, knows of an invocation; None: nothing.

        `derived`: the id belongs to an idempotency key or to a workflow's run, which is all that has to be looked for.
        """
        with _told():
            return await self.lookup.find(id_, derived=derived)

    # -- what it does

    async def call(self, request: Request) -> Reply:
        """Ask for an invocation and wait for its outcome. Cancelling the caller forgets it; the invocation goes on."""
        return await self.outcome(self.begin(request))

    def begin(self, request: Request) -> Waiting:
        """The first half of a call: what is left of the request, once Kafka has it, is someone who waits.

        `outcome` must follow.
        """
        waiting = self._replies.expect(request.id, for_outcome=True)
        try:
            invocation = request.invocation(ReplyTo(self._replies.client, waiting.number))
            record = self._invocation_record(request, invocation)
            self._outbound.produce(_Call(record, request.derived, waiting, self))
        except BaseException:
            self._replies.forget(waiting)
            raise
        return waiting

    async def outcome(self, waiting: Waiting) -> Reply:
        """The second half of a call."""
        try:
            return await waiting.future
        finally:
            self._replies.forget(waiting)

    async def send(self, request: Request) -> None:
        """Ask for an invocation; returns when Kafka has the request."""
        invocation = request.invocation(None)
        await self._acknowledged(self._invocation_record(request, invocation), repeatable=request.derived)
        self.lookup.remember(request.id, request.due)

    async def attach(self, id_: InvocationId, *, timeout: float | None = None) -> Reply:
        """The outcome of an invocation, as soon as it is there; a failure 404 if it is not known."""
        reply = await self.signal(Signal(SignalKind.ATTACH, id_), wait=True, timeout=timeout)
        assert reply is not None
        return reply

    async def signal(self, signal: Signal, *, wait: bool, timeout: float | None = None) -> Reply | None:
        """Send a signal. Returns when Kafka has it, or with `wait` what the shard's owner has answered.

        Raises UnknownTarget for an id of no registered service, NoAnswer after `timeout` seconds.
        """
        with _told():
            await self.registry.owner(InvocationId(signal.invocation))  # which may be newer than what is known here
        if not wait:
            await self._acknowledged(self._signal_record(signal), repeatable=True)
            return None
        waiting = self._replies.expect(signal.invocation, for_outcome=signal.kind is SignalKind.ATTACH)
        try:
            signal.reply_to = ReplyTo(self._replies.client, waiting.number)
            self._outbound.produce(_Ask(self._signal_record(signal), True, waiting, self))
            async with asyncio.timeout(timeout):
                return await waiting.future
        except TimeoutError:
            raise NoAnswer(
                f"no answer about {InvocationId(signal.invocation)} within {timeout:g} s: "
                "is a worker of its service running?"
            ) from None
        finally:
            self._replies.forget(waiting)

    async def produce(self, record: OutRecord) -> None:
        """Produce any record, once more if a producer session ends on the way. Returns when Kafka has it."""
        await self._acknowledged(record, repeatable=True)

    # -- inside

    async def _acknowledged(self, record: OutRecord, *, repeatable: bool) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbound.produce(_Send(record, repeatable, future))
        await future

    def _invocation_record(self, request: Request, invocation: Invocation) -> OutRecord:
        id_ = request.id
        if id_.delayed:
            topic, partitions = self.names.delays, self._partitions[self.names.delays]
        else:
            topic, partitions = self.names.invocations(request.service.name), request.service.partitions
        key = id_.service_partition_key if request.key is None else request.key
        return OutRecord(topic, id_.partition(partitions), key.encode(), encode_invocation(invocation), None)

    def _signal_record(self, signal: Signal) -> OutRecord:
        """By `delays` where the id says that the invocation may wait there (R8); only what runs has awakeables."""
        id_ = InvocationId(signal.invocation)
        service = self.service_of(id_)
        of_awakeable = signal.kind is SignalKind.RESOLVE and signal.name is None
        if id_.delayed and not of_awakeable:
            topic, partitions = self.names.delays, self._partitions[self.names.delays]
        else:
            topic, partitions = self.names.signals(service.name), service.partitions
        # The key of an object cannot be told from the id. The partition can, and readers go by that.
        return OutRecord(
            topic, id_.partition(partitions), id_.service_partition_key.encode(), encode_signal(signal), None
        )

    def _ask_again(self) -> None:
        """Replies were lost: attach to all that is waited for. Who waits there already is not answered twice."""
        for waiting in self._replies.waiting():
            if not waiting.for_outcome:
                _fail(waiting, Unavailable("the answer was lost; look at the invocation, and ask again"))
            elif waiting.acknowledged:
                self.attach_for(waiting)
            else:  # before Kafka has the invocation itself, its shard would not know it
                waiting.reply_lost = True

    def attach_for(self, waiting: Waiting) -> None:
        """Ask again for an outcome whose reply may be lost."""
        signal = Signal(SignalKind.ATTACH, waiting.invocation, reply_to=ReplyTo(self._replies.client, waiting.number))
        try:
            self._outbound.produce(_Ask(self._signal_record(signal), True, waiting, self))
        except GatewayError as error:
            _fail(waiting, error)

    def settle(self, call: _Call) -> None:
        """A call may be in the log or not: ask its shard."""
        self._spawn(self._settle(call))

    async def _settle(self, call: _Call) -> None:
        """Its own answer would come before ours, so that 404 before any other means that it never was in the log."""
        waiting = call.waiting
        try:
            reply = await self.attach(InvocationId(waiting.invocation))
            if waiting.future.done():
                return
            if reply.failure is not None and reply.failure.code == _NOT_FOUND:
                self._outbound.produce(_Call(call.record, False, waiting, self))
            else:
                waiting.future.set_result(reply)
        except GatewayError as error:
            _fail(waiting, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a part of the gateway has ended: %s", error, exc_info=error)

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(_CLOCK_SECONDS)
            try:
                await self._set_clock()
            except StoreUnavailable as error:
                log.warning("%s", error)

    async def _set_clock(self) -> None:
        before = time.monotonic()
        theirs = await self.store.time_ms() / 1000
        self._clock_offset = theirs - (before + time.monotonic()) / 2


@contextmanager
def _told() -> Iterator[None]:
    """The store's outage as the gateway's."""
    try:
        yield
    except StoreUnavailable as error:
        raise Unavailable(str(error)) from error


def _fail(waiting: Waiting, error: GatewayError) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


class _Ask(Outgoing):
    """A record whose answer somebody waits for; nobody waits for Kafka's acknowledgement."""

    __slots__ = ("gateway", "waiting")

    def __init__(self, record: OutRecord, repeatable: bool, waiting: Waiting, gateway: Gateway) -> None:
        super().__init__(record, repeatable=repeatable)
        self.waiting = waiting
        self.gateway = gateway

    def on_acknowledged(self) -> None:
        self.waiting.acknowledged = True
        if self.waiting.reply_lost:
            self.waiting.reply_lost = False
            self.gateway.attach_for(self.waiting)

    def on_failed(self, error: GatewayError) -> None:
        _fail(self.waiting, error)


class _Call(_Ask):
    """An invocation whose outcome somebody waits for."""

    __slots__ = ()

    def on_acknowledged(self) -> None:
        super().on_acknowledged()
        if self.repeatable:  # others may ask for the same one before its shard has stored it
            self.gateway.lookup.remember(self.waiting.invocation, None)

    def on_in_doubt(self) -> None:
        if not self.waiting.future.done():
            self.gateway.settle(self)


class _Send(Outgoing):
    """A record of which somebody wants to know that Kafka has it."""

    __slots__ = ("_future",)

    def __init__(self, record: OutRecord, repeatable: bool, future: asyncio.Future[None]) -> None:
        super().__init__(record, repeatable=repeatable)
        self._future = future

    def on_acknowledged(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def on_failed(self, error: GatewayError) -> None:
        if not self._future.done():
            self._future.set_exception(error)
