"""What a client produces for what it is asked: ids, topics, partitions, signals. A list stands in for Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

import barnabas
from barnabas.client.client import Client
from barnabas.client.errors import InvalidId, UnknownInvocation, UnknownNamespace, UnknownService
from barnabas.client.exchange import Exchange
from barnabas.client.producer import Outgoing
from barnabas.contract.codec import decode_delayed
from barnabas.contract.ids import InvocationId, awakeable_id, idempotent_id, random_id, workflow_id
from barnabas.contract.records import Failure, Invocation, Reply, ReplyTo, Signal, SignalKind

greeter = barnabas.Service("Greeter")
cart = barnabas.VirtualObject("Cart")
flow = barnabas.Workflow("Flow")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    return name


@cart.handler()
async def add(ctx: barnabas.ObjectContext, item: str) -> int:
    return 1


@flow.main()
async def run(ctx: barnabas.WorkflowContext, item: str) -> str:
    return item


@flow.handler()
async def status(ctx: barnabas.WorkflowSharedContext) -> str:
    return ""


TOPICS = {
    **{f"shop.{service}.{kind}": 3 for service in ("Greeter", "Cart", "Flow") for kind in ("invocations", "signals")},
    "shop.delays": 5,
    "shop.replies": 2,
    "shop.changelog": 1,
}


class Kafka:
    """Keeps what is produced. Knows of topics only what it was asked for, as a client's metadata do."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.topics_there = dict(TOPICS)
        self.asked: set[str] = set()
        self.on_record: Callable[[Invocation | Signal], None] = lambda record: None

    async def partitions(self, topic: str) -> int | None:
        self.asked.add(topic)
        return self.topics_there.get(topic)

    def known_topics(self) -> set[str]:
        return self.asked & self.topics_there.keys()

    async def topics(self) -> set[str]:
        return set(self.topics_there)

    async def produce(self, record: Outgoing) -> None:
        self.records.append(record)
        self.on_record(decode_delayed(record.value))

    async def produce_later(self, record: Outgoing, failed: object) -> None:
        await self.produce(record)

    async def aclose(self, flush_seconds: float) -> None: ...

    def only(self) -> tuple[Outgoing, Any]:
        (record,) = self.records
        return record, decode_delayed(record.value)


class Answers:
    """Stands in for the replies topic: answers what `Kafka` was given."""

    def __init__(self) -> None:
        self.expected: dict[bytes, asyncio.Future[Reply]] = {}
        self.late = 0

    def expect(self, number: bytes) -> asyncio.Future[Reply]:
        return self.expected.setdefault(number, asyncio.get_running_loop().create_future())

    def forget(self, number: bytes) -> None:
        self.expected.pop(number)

    def answer(self, reply_to: ReplyTo | None, result: bytes | None = None, failure: Failure | None = None) -> None:
        assert reply_to is not None
        self.expected[reply_to.request].set_result(Reply(reply_to.client, reply_to.request, bytes(24), result, failure))

    async def aclose(self) -> None: ...


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def client(kafka: Kafka, answers: Answers) -> AsyncIterator[Client]:
    client = Client("kafka:9092", "shop")
    exchange: Exchange = client._exchange
    exchange._replies = answers  # type: ignore[assignment]
    for owner in (client, client._requests, exchange):
        owner._producer = kafka  # type: ignore[attr-defined]
    yield client
    await client.aclose()


def now() -> float:
    return time.time() * 1000


async def test_a_plain_send_has_an_id_of_its_own(client: Client, kafka: Kafka) -> None:
    one, two = [await client.object_send(add, "Mary", "a") for _ in range(2)]
    assert one.invocation_id != two.invocation_id
    record, id_ = kafka.records[0], InvocationId.parse(one.invocation_id)
    assert (record.topic, record.partition, record.key) == ("shop.Cart.invocations", id_.partition(3), b"Mary")
    assert not id_.delayed


async def test_requests_with_an_idempotency_key_are_one(client: Client, kafka: Kafka) -> None:
    sent = await client.object_send(add, "Mary", "a", idempotency_key="k", headers={"h": "1"})
    record, invocation = kafka.only()
    assert InvocationId.parse(sent.invocation_id) == idempotent_id("Cart", "add", "Mary", "k") == invocation.id
    assert (invocation.idempotency_key, invocation.headers, invocation.due) == ("k", {"h": "1"}, None)
    assert record.topic == "shop.Cart.invocations"


async def test_a_header_that_is_no_text_is_named(client: Client, kafka: Kafka) -> None:
    with pytest.raises(TypeError, match="the header 'retries' is not text with a text for its value: int"):
        await client.object_send(add, "Mary", "a", headers={"retries": 3})  # type: ignore[dict-item]
    assert kafka.records == []


async def test_a_workflows_run_has_the_id_of_its_key(client: Client, kafka: Kafka) -> None:
    await client.workflow_send(run, "id", "a")
    await client.workflow_send(run, "id", "a", idempotency_key="k")
    await client.generic_send("Flow", "run", b'"a"', "id", workflow_run=True)
    await client.workflow_send_client(flow, "id").run("a")
    assert {decode_delayed(record.value).id for record in kafka.records} == {workflow_id("Flow", "id")}  # type: ignore[union-attr]


async def test_another_handler_of_a_workflow_is_an_ordinary_request(client: Client, kafka: Kafka) -> None:
    one = await client.workflow_send(status, "id", None)
    two = await client.workflow_send(status, "id", None, idempotency_key="k")
    assert one.invocation_id != str(workflow_id("Flow", "id"))
    assert two.invocation_id == str(idempotent_id("Flow", "status", "id", "k"))


async def test_a_plain_delayed_send_waits_in_delays(client: Client, kafka: Kafka) -> None:
    before = now()
    sent = await client.object_send(add, "Mary", "a", timedelta(seconds=10))
    record, invocation = kafka.only()
    id_ = InvocationId.parse(sent.invocation_id)
    assert id_.delayed
    assert (record.topic, record.partition, record.key) == ("shop.delays", id_.partition(5), b"Mary")
    assert before + 9_999 <= invocation.due <= now() + 10_001
    assert (invocation.service, invocation.handler, invocation.key) == ("Cart", "add", "Mary")


async def test_what_has_a_common_id_waits_at_its_target(client: Client, kafka: Kafka) -> None:
    for sent in (
        await client.service_send(greet, "a", timedelta(days=1), idempotency_key="k"),
        await client.workflow_send(run, "id", "a", timedelta(days=1)),
    ):
        assert not InvocationId.parse(sent.invocation_id).delayed
    assert [record.topic for record in kafka.records] == ["shop.Greeter.invocations", "shop.Flow.invocations"]
    assert all(decode_delayed(record.value).due > now() for record in kafka.records)  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("delay", [None, timedelta(0), timedelta(seconds=-5)])
async def test_no_delay_is_no_delay(client: Client, kafka: Kafka, delay: timedelta | None) -> None:
    await client.service_send(greet, "a", delay)
    assert kafka.only()[0].topic == "shop.Greeter.invocations"
    assert kafka.only()[1].due is None


async def test_the_longest_delay_has_a_due_time_that_a_store_can_hold(client: Client, kafka: Kafka) -> None:
    await client.service_send(greet, "a", timedelta.max)
    assert kafka.only()[1].due == 2**53 - 1


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"idempotency_key": ""}, ValueError, "cannot be empty"),
        ({"idempotency_key": 5}, TypeError, "is text, not a int"),
        ({"send_delay": 5}, TypeError, "timedelta"),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    client: Client, kafka: Kafka, options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        await client.service_send(greet, "a", **options)
    with pytest.raises(TypeError, match="the key of Cart is text"):
        await client.object_send(add, 5, "a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="which one is meant is said by a key"):
        await client.generic_send("Flow", "run", b"", workflow_run=True)
    assert not kafka.records


async def test_a_namespace_without_delays_says_so(client: Client, kafka: Kafka) -> None:
    del kafka.topics_there["shop.delays"]
    with pytest.raises(UnknownNamespace, match=r"shop\.delays does not exist"):
        await client.service_send(greet, "a", timedelta(seconds=1))
    with pytest.raises(UnknownService, match="'Gone'"):
        await client.generic_send("Gone", "greet", b"", send_delay=timedelta(seconds=1))


async def test_calls_return_the_typed_result(client: Client, kafka: Kafka, answers: Answers) -> None:
    kafka.on_record = lambda record: answers.answer(record.reply_to, b'"Hello"')
    assert await client.workflow_call(run, "id", "a", idempotency_key="k") == "Hello"
    assert await client.service_client(greeter).greet("a") == "Hello"
    assert await client.generic_call("Flow", "run", b'"a"', "id", workflow_run=True) == b'"Hello"'
    assert decode_delayed(kafka.records[0].value).idempotency_key == "k"  # type: ignore[union-attr]


ID = idempotent_id("Cart", "add", "Mary", "the same in every process that collects these tests")
AWAKEABLE = awakeable_id(ID, 7)


@pytest.mark.parametrize(
    ("method", "args", "wanted"),
    [
        ("cancel", (str(ID),), Signal(SignalKind.CANCEL, ID)),
        ("kill", (str(ID),), Signal(SignalKind.KILL, ID)),
        ("resolve_awakeable", (AWAKEABLE, {"a": 1}), Signal(SignalKind.RESOLVE, ID, position=7, result=b'{"a":1}')),
        (
            "reject_awakeable",
            (AWAKEABLE, "no", 418),
            Signal(SignalKind.RESOLVE, ID, position=7, failure=Failure(418, "no")),
        ),
        ("resolve_signal", (str(ID), "go", 1), Signal(SignalKind.RESOLVE, ID, name="go", result=b"1")),
        ("reject_signal", (str(ID), "go", "no"), Signal(SignalKind.RESOLVE, ID, name="go", failure=Failure(500, "no"))),
    ],
)
async def test_a_signal_goes_to_the_service_of_its_invocation(
    client: Client, kafka: Kafka, method: str, args: tuple[Any, ...], wanted: Signal
) -> None:
    await getattr(client, method)(*args)
    record, signal = kafka.only()
    assert signal == wanted
    assert (record.topic, record.partition) == ("shop.Cart.signals", ID.partition(3))


async def test_a_signal_about_a_delayed_invocation_goes_where_that_waits(client: Client, kafka: Kafka) -> None:
    sent = await client.service_send(greet, "a", timedelta(days=1))
    await sent.cancel()
    record, signal = kafka.records[1], decode_delayed(kafka.records[1].value)
    assert (record.topic, record.partition) == ("shop.delays", kafka.records[0].partition)
    assert signal == Signal(SignalKind.CANCEL, InvocationId.parse(sent.invocation_id))


async def test_attach_waits_for_the_outcome(client: Client, kafka: Kafka, answers: Answers) -> None:
    kafka.on_record = lambda record: isinstance(record, Signal) and answers.answer(record.reply_to, b'"Hello"')
    sent = await client.service_send(greet, "a")
    assert await sent.attach() == "Hello"
    assert await client.attach(sent.invocation_id) == "Hello"
    assert await client.attach(sent.invocation_id, barnabas.serde.BytesSerde()) == b'"Hello"'
    signal = decode_delayed(kafka.records[1].value)
    assert isinstance(signal, Signal)
    assert (signal.kind, signal.invocation) == (SignalKind.ATTACH, InvocationId.parse(sent.invocation_id))
    assert kafka.records[1].topic == "shop.Greeter.signals"


async def test_attach_by_what_was_asked_for(client: Client, kafka: Kafka, answers: Answers) -> None:
    kafka.on_record = lambda record: answers.answer(record.reply_to, b'"x"')
    await client.service_attach(greet, "k")
    await client.object_attach(add, "Mary", "k")
    await client.workflow_attach(run, "id")
    await client.workflow_attach(status, "id", "k")
    assert await client.generic_attach("Flow", "run", "id", workflow_run=True) == b'"x"'
    ids = [decode_delayed(record.value).invocation for record in kafka.records]  # type: ignore[union-attr]
    assert ids == [
        idempotent_id("Greeter", "greet", None, "k"),
        idempotent_id("Cart", "add", "Mary", "k"),
        workflow_id("Flow", "id"),
        idempotent_id("Flow", "status", "id", "k"),
        workflow_id("Flow", "id"),
    ]
    with pytest.raises(ValueError, match="Flow/status is attached to by an idempotency key"):
        await client.workflow_attach(status, "id")


async def test_attach_raises_what_the_invocation_raised(client: Client, kafka: Kafka, answers: Answers) -> None:
    kafka.on_record = lambda record: answers.answer(record.reply_to, failure=Failure(404, "unknown", {"a": "b"}))
    with pytest.raises(barnabas.TerminalError, match="unknown") as raised:
        await client.attach(str(ID))
    assert (raised.value.status_code, raised.value.metadata) == (404, {"a": "b"})


async def test_attach_stops_waiting_after_the_time_given(client: Client, answers: Answers) -> None:
    with pytest.raises(TimeoutError):
        await client.attach(str(ID), timeout=0.01)
    assert not answers.expected


@pytest.mark.parametrize("text", ["", "inv_", "inv_" + "z" * 33, "42", str(ID)[:-1], str(ID) + "0"])
async def test_a_malformed_id_is_refused(client: Client, text: str) -> None:
    for request in (client.cancel(text), client.attach(text), client.resolve_signal(text, "a", 1)):
        with pytest.raises(InvalidId) as raised:
            await request
        assert raised.value.status_code == 400
        assert isinstance(raised.value, ValueError)
    with pytest.raises(InvalidId):
        await client.resolve_awakeable(text, 1)


async def test_an_id_of_no_service_is_unknown(client: Client, kafka: Kafka) -> None:
    for delayed in (False, True):
        with pytest.raises(UnknownInvocation, match="no service of the namespace 'shop'") as raised:
            await client.cancel(str(random_id("Gone", None, delayed=delayed)))
        assert raised.value.status_code == 404
    assert not kafka.records
