"""The gateway over a log and a store in memory; a stub stands in for the workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from barnabas.contract.codec import decode_delayed, decode_invocation, decode_signal, encode_reply
from barnabas.contract.ids import InvocationId, idempotent_id, random_id, workflow_id
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Failure, Invocation, Reply, ReplyTo, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.ingress.errors import GatewayError, NoAnswer, TooLarge, Unavailable, UnknownTarget
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.ports import Ports
from barnabas.ingress.requests import Request, request_of
from barnabas.ingress.settings import GatewaySettings
from barnabas.log.memory import MemoryAdmin, MemoryConsumer, MemoryLog, MemoryProducerSession, MemoryReader
from barnabas.log.port import ConsumerEvents, OutRecord, ProducerEvents, Record
from barnabas.runtime.kept import Kept
from barnabas.runtime.live import Live
from barnabas.runtime.ring import pack_entry
from barnabas.store import keys
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Commit, Op, Service, Shard, StoreUnavailable
from barnabas.worker.member import NotReady

PARTITIONS = 4
DELAY_PARTITIONS = 3
NAMES = TopicNames("t")
GREETER = Service("Greeter", "service", PARTITIONS, "g", {"greet": "service"})
PLANE = Service("Plane", "object", PARTITIONS, "g", {"depart": "exclusive", "status": "shared"})
TRIP = Service("Trip", "workflow", PARTITIONS, "g", {"run": "workflow", "status": "shared"})

Answer = Callable[[Invocation | Signal], Reply | None]


class Reader(MemoryReader):
    async def aclose(self) -> None:
        """Nothing to close."""


class Stage:
    """A gateway, what it has produced, and who answers."""

    def __init__(self) -> None:
        self.log = MemoryLog(lambda: 0)
        self.store = MemoryStore()
        self.sessions: list[MemoryProducerSession] = []
        self.consumers: list[MemoryConsumer] = []
        self.mute = False  # records are lost on their way, and never acknowledged
        self.answer: Answer = echo
        self.numbers: dict[Shard, int] = {}
        settings = GatewaySettings(kafka="memory", redis=SecretStr("redis://nowhere:1/0"), namespace="t")
        self.gateway = Gateway(settings, self._ports())

    def _ports(self) -> Ports:
        return Ports(self.store, MemoryAdmin(self.log), Reader(self.log), self._open_session, self._open_consumer)

    def _open_session(self, events: ProducerEvents, *, one_by_one: bool) -> Session:
        session = Session(self, events)
        self.sessions.append(session)
        return session

    def _open_consumer(self, events: ConsumerEvents) -> MemoryConsumer:
        self.consumers.append(MemoryConsumer(self.log, events, asyncio.get_running_loop(), grouped=False))
        return self.consumers[-1]

    def create_topics(self) -> None:
        for name in ("Greeter", "Plane", "Trip"):
            self.log.core.create(NAMES.invocations(name), PARTITIONS)
            self.log.core.create(NAMES.signals(name), PARTITIONS)
        self.log.core.create(NAMES.delays, DELAY_PARTITIONS)
        self.log.core.create(NAMES.replies, 2)
        self.log.core.create(NAMES.dead_letters, 1)

    def reply(self, reply: Reply) -> None:
        place = partition_of(partition_hash(reply.client.encode()), 2)
        self.log.append(OutRecord(NAMES.replies, place, reply.client.encode(), encode_reply(reply), None))

    def records(self, topic: str) -> list[tuple[int, Record]]:
        count = len(self.log.core.topics[topic].partitions)
        return [(p, record) for p in range(count) for record in self.log.core.read(topic, p, 0, 1_000)]

    def invocations(self, service: str) -> list[Invocation]:
        return [decode_invocation(record.value) for _, record in self.records(NAMES.invocations(service))]

    def signals(self, service: str) -> list[Signal]:
        return [decode_signal(record.value) for _, record in self.records(NAMES.signals(service))]

    async def commit(self, shard: Shard, *ops: Op) -> None:
        """What a worker would have stored."""
        if shard not in self.numbers:
            await self.store.take(shard, b"lease", "test")
            self.numbers[shard] = 0
        self.numbers[shard] += 1
        await self.store.commit([Commit(shard, b"lease", self.numbers[shard], list(ops))])


class Session(MemoryProducerSession):
    """One whose records the stub for the workers sees."""

    def __init__(self, stage: Stage, events: ProducerEvents) -> None:
        super().__init__(stage.log, events, asyncio.get_running_loop())
        self._stage = stage

    def produce(self, record: OutRecord, token: object) -> bool:
        if self._stage.mute:
            return True
        taken = super().produce(record, token)
        if taken and record.value is not None:
            content = decode_signal(record.value) if record.topic.endswith(".signals") else decode_delayed(record.value)
            reply = self._stage.answer(content)
            if reply is not None:
                self._stage.reply(reply)
        return taken


def echo(content: Invocation | Signal) -> Reply | None:
    if content.reply_to is None:
        return None
    result = content.payload if isinstance(content, Invocation) else content.kind.value.encode()
    return answered(content, result)


def answered(content: Invocation | Signal, result: bytes | None, failure: Failure | None = None) -> Reply:
    to = content.reply_to
    assert to is not None
    id_ = content.id if isinstance(content, Invocation) else content.invocation
    return Reply(to.client, to.request, id_, result, failure)


def silent(content: Invocation | Signal) -> None:
    """Nobody answers."""


@asynccontextmanager
async def running() -> AsyncIterator[Stage]:
    stage = Stage()
    stage.create_topics()
    await stage.store.register([GREETER, PLANE, TRIP])
    await stage.gateway.start()
    try:
        yield stage
    finally:
        await stage.gateway.aclose()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with running() as stage:
        yield stage


def greeting(text: bytes = b'"Ada"', **more: str) -> Request:
    return request_of(GREETER, "greet", None, text, **more)  # type: ignore[arg-type]


# -- what goes out


async def test_a_call_gets_the_outcome_of_its_own_request(stage: Stage) -> None:
    replies = await asyncio.gather(*(stage.gateway.call(greeting(b"%d" % n)) for n in range(50)))
    assert [reply.result for reply in replies] == [b"%d" % n for n in range(50)]
    assert stage.gateway.waiting == 0


async def test_the_record_lies_where_its_readers_look(stage: Stage) -> None:
    request = request_of(PLANE, "depart", "N1/é", b"1", headers={"x-foo": "A"}, idempotency_key="k")
    await stage.gateway.call(request)
    [(partition, record)] = stage.records(NAMES.invocations("Plane"))
    assert partition == partition_of(partition_hash("N1/é".encode()), PARTITIONS)
    assert record.key == "N1/é".encode()
    invocation = decode_invocation(record.value)
    assert invocation.id == idempotent_id("Plane", "depart", "N1/é", "k")
    assert (invocation.handler, invocation.key, invocation.payload) == ("depart", "N1/é", b"1")
    assert (invocation.headers, invocation.idempotency_key, invocation.due) == ({"x-foo": "A"}, "k", None)
    assert invocation.label is None  # from outside


async def test_a_send_waits_for_kafka_and_for_no_worker(stage: Stage) -> None:
    stage.answer = silent
    request = greeting()
    await stage.gateway.send(request)
    [invocation] = stage.invocations("Greeter")
    assert (invocation.id, invocation.reply_to) == (request.id, None)


async def test_a_plain_delayed_request_waits_in_delays(stage: Stage) -> None:
    request = request_of(PLANE, "depart", "N1", b"1", due=stage.gateway.clock() + 1_000)
    await stage.gateway.send(request)
    assert request.id.delayed
    [(partition, record)] = stage.records(NAMES.delays)
    assert partition == request.id.partition(DELAY_PARTITIONS)
    assert decode_invocation(record.value).due == request.due
    assert stage.invocations("Plane") == []


@pytest.mark.parametrize(
    ("service", "handler", "idempotency_key"), [(PLANE, "depart", "k"), (TRIP, "run", None), (TRIP, "status", "k")]
)
async def test_a_delayed_request_with_a_derived_id_waits_at_its_target(
    stage: Stage, service: Service, handler: str, idempotency_key: str | None
) -> None:
    request = request_of(service, handler, "x", b"1", idempotency_key=idempotency_key, due=9_999_999_999_999)
    await stage.gateway.send(request)
    [invocation] = stage.invocations(service.name)
    assert invocation.due == request.due
    assert not request.id.delayed
    assert request.derived


async def test_a_workflow_has_one_id(stage: Stage) -> None:
    assert request_of(TRIP, "run", "t1", b"").id == workflow_id("Trip", "t1")
    assert request_of(TRIP, "status", "t1", b"").id != request_of(TRIP, "status", "t1", b"").id


async def test_a_due_time_has_an_end(stage: Stage) -> None:
    assert request_of(GREETER, "greet", None, b"", due=2**60).due == 2**53 - 1


async def test_a_request_that_is_too_large_is_refused(stage: Stage) -> None:
    with pytest.raises(TooLarge):
        await stage.gateway.call(greeting(b"x" * 1_000_000))
    assert stage.gateway.waiting == 0
    await stage.gateway.call(greeting())


async def test_a_caller_who_goes_away_costs_nothing(stage: Stage) -> None:
    stage.answer = silent
    calls = [asyncio.create_task(stage.gateway.call(greeting())) for _ in range(20)]
    await asyncio.sleep(0)
    assert stage.gateway.waiting == 20
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert stage.gateway.waiting == 0
    [first, *_] = stage.invocations("Greeter")
    stage.reply(answered(first, b"late"))
    await until(lambda: stage.gateway.late_replies == 1)


async def test_replies_for_others_are_not_ours(stage: Stage) -> None:
    stage.answer = silent
    call = asyncio.create_task(stage.gateway.call(greeting()))
    await asyncio.sleep(0)
    [invocation] = stage.invocations("Greeter")
    assert invocation.reply_to is not None
    place = partition_of(partition_hash(invocation.reply_to.client.encode()), 2)
    stranger = Reply("somebody", invocation.reply_to.request, invocation.id, b"wrong")
    for value in (encode_reply(stranger), b"no reply", None):
        stage.log.append(OutRecord(NAMES.replies, place, b"somebody", value, None))
    stage.log.append(OutRecord(NAMES.replies, place, invocation.reply_to.client.encode(), b"no reply", None))
    stage.reply(answered(invocation, b"right"))
    assert (await call).result == b"right"


# -- signals


async def test_a_signal_goes_to_its_service_and_comes_back_answered(stage: Stage) -> None:
    id_ = random_id("Greeter", None)
    reply = await stage.gateway.signal(Signal(SignalKind.PAUSE, id_), wait=True, timeout=5)
    assert reply is not None
    assert reply.result == b"PAUSE"
    [(partition, record)] = stage.records(NAMES.signals("Greeter"))
    assert partition == id_.partition(PARTITIONS)
    assert record.key == id_.service_partition_key.encode()


async def test_signals_to_what_may_wait_go_by_delays_but_not_those_to_awakeables(stage: Stage) -> None:
    """R8."""
    id_ = random_id("Plane", "N1", delayed=True)
    for kind in (SignalKind.CANCEL, SignalKind.KILL, SignalKind.ATTACH, SignalKind.PAUSE):
        await stage.gateway.signal(Signal(kind, id_), wait=False)
    assert len(stage.records(NAMES.delays)) == 4
    assert {partition for partition, _ in stage.records(NAMES.delays)} == {id_.partition(DELAY_PARTITIONS)}
    await stage.gateway.signal(Signal(SignalKind.RESOLVE, id_, position=1, result=b"1"), wait=False)
    assert [signal.kind for signal in stage.signals("Plane")] == [SignalKind.RESOLVE]


async def test_nobody_answers(stage: Stage) -> None:
    stage.answer = silent
    with pytest.raises(NoAnswer, match=r"within 0\.01 s"):
        await stage.gateway.attach(random_id("Greeter", None), timeout=0.01)
    assert stage.gateway.waiting == 0


async def test_an_id_of_no_service(stage: Stage) -> None:
    for wait in (True, False):
        with pytest.raises(UnknownTarget, match="no registered service"):
            await stage.gateway.signal(Signal(SignalKind.CANCEL, random_id("Nobody", None)), wait=wait)
    assert stage.gateway.waiting == 0
    assert await stage.gateway.known(random_id("Nobody", None)) is None


async def test_a_service_that_has_just_come_is_found_at_once(stage: Stage) -> None:
    assert await stage.gateway.service("Later") is None
    later = Service("Later", "service", 1, "g", {"one": "service"})
    stage.gateway.registry._asked_at -= 1
    await stage.store.register([later])
    assert await stage.gateway.service("Later") == later
    wider = Service("Later", "service", 1, "g", {"one": "service", "two": "service"})
    stage.gateway.registry._asked_at -= 1
    await stage.store.register([wider])
    assert await stage.gateway.service("Later", "two") == wider
    assert "Later" in stage.gateway.services()


async def test_nobody_is_said_to_be_unknown_while_the_store_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have come since. Those who are known stay known."""
    asked = 0

    async def away() -> dict[str, Service]:
        nonlocal asked
        asked += 1
        raise StoreUnavailable("the store cannot be used now")

    monkeypatch.setattr(stage.store, "services", away)
    stage.gateway.registry._asked_at -= 1
    answers = await asyncio.gather(
        *(stage.gateway.service("Later") for _ in range(20)),
        stage.gateway.service("Greeter", "later"),
        stage.gateway.attach(random_id("Later", None)),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {Unavailable}
    assert asked == 1
    assert await stage.gateway.service("Greeter") == GREETER
    assert stage.gateway.waiting == 0


# -- sessions that end (R2)


async def test_calls_that_were_acknowledged_do_not_care_for_the_session(stage: Stage) -> None:
    stage.answer = silent
    call = asyncio.create_task(stage.gateway.call(greeting()))
    await until(lambda: stage.gateway._outbound.unacknowledged == 0 and bool(stage.invocations("Greeter")))
    stage.sessions[-1].fail(RuntimeError("fenced"))
    [invocation] = stage.invocations("Greeter")
    stage.reply(answered(invocation, b"1"))
    assert (await call).result == b"1"
    assert stage.signals("Greeter") == []


async def test_an_idempotent_call_is_produced_again(stage: Stage) -> None:
    stage.mute = True
    call = asyncio.create_task(stage.gateway.call(greeting(idempotency_key="k")))
    await asyncio.sleep(0)
    stage.mute = False
    stage.sessions[-1].fail(RuntimeError("fenced"))
    assert (await call).result == b'"Ada"'
    assert [one.id for one in stage.invocations("Greeter")] == [idempotent_id("Greeter", "greet", None, "k")]


async def test_a_plain_call_that_was_written_is_found_by_attaching(stage: Stage) -> None:
    """It lies in the log, its acknowledgement got lost: it must not be produced a second time."""
    id_ = await lost(stage)
    stage.answer = lambda content: answered(content, b"found") if isinstance(content, Signal) else None
    call, request = lost_call(stage)
    stage.sessions[-1].fail(RuntimeError("fenced"))
    assert (await call).result == b"found"
    assert [signal.invocation for signal in stage.signals("Greeter")] == [request.id]
    assert [one.id for one in stage.invocations("Greeter")] == [id_]


async def test_a_plain_call_that_was_not_written_is_produced_again_once_its_shard_says_so(stage: Stage) -> None:
    await lost(stage)
    unknown = Failure(404, "not known")
    stage.answer = lambda content: (
        answered(content, None, unknown) if isinstance(content, Signal) else answered(content, b"run")
    )
    call, request = lost_call(stage)
    stage.sessions[-1].fail(RuntimeError("fenced"))
    assert (await call).result == b"run"
    assert [one.id for one in stage.invocations("Greeter")].count(request.id) == 1


async def test_a_plain_calls_own_answer_wins_also_when_it_is_404(stage: Stage) -> None:
    """A handler may fail with 404 as well: its answer comes before that of the attach, and nothing is repeated."""
    await lost(stage)
    call, request = lost_call(stage)
    waiting = stage.gateway._replies.waiting()[0]

    def answer(content: Invocation | Signal) -> Reply | None:
        client = content.reply_to.client if content.reply_to else ""
        stage.reply(Reply(client, waiting.number, request.id, None, Failure(404, "the handler's own")))
        return answered(content, None, Failure(404, "the handler's own"))

    stage.answer = answer
    stage.sessions[-1].fail(RuntimeError("fenced"))
    reply = await call
    assert reply.failure == Failure(404, "the handler's own")
    await rounds()
    assert request.id not in [one.id for one in stage.invocations("Greeter")]


async def test_a_plain_send_in_doubt_says_so(stage: Stage) -> None:
    stage.mute = True
    send = asyncio.create_task(stage.gateway.send(greeting()))
    await asyncio.sleep(0)
    stage.mute = False
    stage.sessions[-1].fail(RuntimeError("fenced"))
    with pytest.raises(Unavailable, match="idempotency key"):
        await send
    await until(lambda: len(stage.sessions) == 2)
    assert stage.invocations("Greeter") == []


async def test_signals_are_repeated(stage: Stage) -> None:
    stage.mute = True
    send = asyncio.create_task(stage.gateway.signal(Signal(SignalKind.CANCEL, random_id("Greeter", None)), wait=False))
    await rounds()
    stage.mute = False
    stage.sessions[-1].fail(RuntimeError("fenced"))
    await send
    assert len(stage.signals("Greeter")) == 1


async def lost(stage: Stage) -> InvocationId:
    """Something else lies in the log already."""
    other = greeting()
    stage.answer = silent
    await stage.gateway.send(other)
    return other.id


def lost_call(stage: Stage) -> tuple[asyncio.Task[Reply], Request]:
    """A call of whose record nothing is known."""
    request = greeting()
    stage.mute = True
    waiting = stage.gateway.begin(request)
    stage.mute = False
    return asyncio.create_task(stage.gateway.outcome(waiting)), request


# -- replies that are lost


async def test_replies_that_retention_has_removed_are_asked_for_again(stage: Stage) -> None:
    stage.answer = silent
    call = asyncio.create_task(stage.gateway.call(greeting()))
    await until(lambda: bool(stage.invocations("Greeter")) and stage.gateway._outbound.unacknowledged == 0)
    replies = stage.gateway._replies
    stage.answer = echo
    replies.on_out_of_range(replies.topic, replies.partition, 0, 0, 0)
    assert (await call).result == b"ATTACH"
    [signal] = stage.signals("Greeter")
    assert signal.reply_to == ReplyTo(replies.client, (1).to_bytes(8, "big"))  # who waits twice is answered once


async def test_a_reply_is_asked_for_again_only_once_kafka_has_its_request(stage: Stage) -> None:
    """Its shard would answer 404 to an attach that overtakes it."""
    stage.answer = silent
    call = asyncio.create_task(stage.gateway.call(greeting()))
    await until(lambda: stage.gateway.waiting == 1)
    assert stage.gateway._outbound.unacknowledged == 1
    replies = stage.gateway._replies
    stage.answer = echo
    replies.on_out_of_range(replies.topic, replies.partition, 0, 0, 0)
    assert stage.signals("Greeter") == []
    assert (await call).result == b"ATTACH"
    assert len(stage.signals("Greeter")) == 1


async def test_a_lost_answer_to_a_signal_is_told(stage: Stage) -> None:
    """What an attach would give is another answer."""
    stage.answer = silent
    asked = asyncio.create_task(
        stage.gateway.signal(Signal(SignalKind.PAUSE, random_id("Greeter", None)), wait=True, timeout=5)
    )
    await until(lambda: bool(stage.signals("Greeter")))
    replies = stage.gateway._replies
    replies.on_out_of_range(replies.topic, replies.partition, 0, 0, 0)
    with pytest.raises(Unavailable, match="ask again"):
        await asked
    assert len(stage.signals("Greeter")) == 1


async def test_a_reader_that_dies_is_replaced_where_it_was(stage: Stage) -> None:
    await stage.gateway.call(greeting())
    stage.answer = silent
    call = asyncio.create_task(stage.gateway.call(greeting()))
    await until(lambda: len(stage.invocations("Greeter")) == 2)
    replies = stage.gateway._replies
    await stage.consumers[-1].aclose()
    last = stage.invocations("Greeter")
    waiting = replies.waiting()[0]
    stage.reply(Reply(replies.client, waiting.number, last[0].id, b"read later"))
    replies.on_failure(RuntimeError("the thread has died"))
    assert (await call).result == b"read later"
    assert len(stage.consumers) == 2
    assert stage.gateway.late_replies == 0  # the first reply was not read a second time


async def test_what_others_wrote_before_is_not_read() -> None:
    stage = Stage()
    stage.create_topics()
    await stage.store.register([GREETER])
    for partition in range(2):
        stage.log.append(OutRecord(NAMES.replies, partition, b"x", b"no reply", None))
    await stage.gateway.start()
    try:
        await stage.gateway.call(greeting())
        assert stage.gateway._replies.unreadable == 0
        assert stage.gateway._replies._next == 2
    finally:
        await stage.gateway.aclose()


# -- start and end


async def test_topics_that_are_missing_are_named() -> None:
    stage = Stage()
    with pytest.raises(NotReady, match=r"t\.replies"):
        await stage.gateway.start()


async def test_at_the_end_whoever_waits_is_told() -> None:
    async with running() as stage:
        stage.answer = silent
        call = asyncio.create_task(stage.gateway.call(greeting()))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="ending"):
        await call
    with pytest.raises(GatewayError):
        await stage.gateway.call(greeting())


# -- what is known


def live(id_: InvocationId, service: str, handler: str, key: str | None) -> Live:
    found = Live(id_, service, handler, key, False, 1, 0)
    found.idempotency_key = "k"
    return found


async def test_what_the_store_knows(stage: Stage) -> None:
    gateway = stage.gateway
    running_, kept, ring, spilled = (random_id("Plane", "N1") for _ in range(4))
    shard = Shard("Plane", running_.partition(PARTITIONS))
    outcomes = Kept()
    outcomes.put(live(kept, "Plane", "depart", "N1"), b"1", None, 1_000, 500, 1)
    failed = pack_entry(live(ring, "Plane", "status", "N1"), None, Failure(409, "boo"), 5)
    await stage.commit(
        shard,
        ("HSET", keys.LIVE, running_, live(running_, "Plane", "depart", "N1").header()),
        ("HSET", keys.SPILL, spilled, 7),
        ("RPUSH", keys.RING, failed),
        *outcomes.seal(),
    )
    found = await gateway.known(running_)
    assert found is not None
    assert (found.handler, found.finished, found.due) == ("depart", False, None)
    found = await gateway.known(kept)
    assert found is not None
    assert (found.handler, found.finished, found.result, found.expires_at) == ("depart", True, b"1", 1_500)
    found = await gateway.known(ring)
    assert found is not None
    assert (found.handler, found.finished, found.failure, found.expires_at) == (
        "status",
        True,
        Failure(409, "boo"),
        None,
    )
    assert await gateway.known(ring, derived=True) is None
    found = await gateway.known(spilled)
    assert found is not None
    assert not found.finished
    assert await gateway.known(random_id("Plane", "N1")) is None


async def test_what_was_sent_is_known_before_its_shard_has_read_it(stage: Stage) -> None:
    stage.answer = silent
    request = request_of(PLANE, "depart", "N1", b"1", idempotency_key="k", due=9_999_999_999_999)
    assert await stage.gateway.known(request.id, derived=True) is None
    await stage.gateway.send(request)
    known = await stage.gateway.known(request.id, derived=True)
    assert known is not None
    assert (known.finished, known.due) == (False, request.due)


async def test_what_was_sent_is_forgotten_once_the_store_has_had_it(stage: Stage) -> None:
    """Else a purged workflow would count as submitted."""
    request = request_of(TRIP, "run", "t1", b"1")
    await stage.gateway.send(request)
    shard = Shard("Trip", request.id.partition(PARTITIONS))
    await stage.commit(shard, ("HSET", keys.LIVE, request.id, live(request.id, "Trip", "run", "t1").header()))
    assert await stage.gateway.known(request.id, derived=True) is not None
    await stage.commit(shard, ("HDEL", keys.LIVE, request.id))
    assert await stage.gateway.known(request.id, derived=True) is None


async def rounds() -> None:
    """All that is ready happens."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of the gateway's own
            await asyncio.sleep(0)
