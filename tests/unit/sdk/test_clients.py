"""Clients made of definitions: which handler a method stands for, and what the call becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import timedelta
from typing import Annotated, Any, Protocol

import pytest
from pydantic import BaseModel

import barnabas
from barnabas.sdk.clients import Clients
from barnabas.sdk.handler import Handler, handler_of
from barnabas.serde import AvroSerde, BytesSerde, JsonSerde, PydanticJsonSerde


class Item(BaseModel):
    name: str


greeter = barnabas.Service("Greeter")
cart = barnabas.VirtualObject("Cart")
flow = barnabas.Workflow("Flow")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str, *, loud: bool = False) -> str:
    return name


@greeter.handler("say-hello")
async def say_hello(ctx: barnabas.Context) -> str:
    return ""


@cart.handler()
async def add(ctx: barnabas.ObjectContext, item: Item | None = None) -> int:
    return 1


@flow.main()
async def run(ctx: barnabas.WorkflowContext, item: Item) -> str:
    return ""


class GreeterApi(Protocol):
    async def greet(self, name: str) -> str: ...
    def ping(self) -> int: ...
    async def shout(self, ctx: barnabas.Context, text: str) -> str: ...
    async def raw(self, body: bytes) -> bytes: ...
    async def untyped(self, value): ...  # type: ignore[no-untyped-def]
    async def two(self, one: str, other: str) -> None: ...
    async def missing(self, value: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def _private(self) -> None: ...


class Source(Clients):
    """Notes what it is asked, as a context or a client would do it."""

    def __getattr__(self, name: str) -> Any:
        if not name.endswith(("_call", "_send")):
            raise AttributeError(name)
        return lambda handler, *rest: (name, handler, *rest)


SOURCE = Source()
LATER = timedelta(seconds=5)


def test_a_client_of_a_service_calls_its_handlers():
    assert SOURCE.service_client(greeter).greet("Ada") == ("service_call", greet_handler(), "Ada", None, None)
    assert SOURCE.service_client(greeter).greet(name="Ada")[2] == "Ada"
    assert SOURCE.object_client(cart, "Mary").add(Item(name="a"))[2:] == ("Mary", Item(name="a"), None, None)
    assert SOURCE.workflow_client(flow, "id").run(Item(name="a"))[:3] == ("workflow_call", flow.handlers["run"], "id")


def test_options_of_a_client_go_with_every_request():
    calls = SOURCE.object_client(cart, "Mary", idempotency_key="k", headers={"a": "b"})
    assert calls.add(None)[2:] == ("Mary", None, "k", {"a": "b"})
    sends = SOURCE.object_send_client(cart, "Mary", delay=LATER, idempotency_key="k", headers={"a": "b"})
    assert sends.add(None) == ("object_send", cart.handlers["add"], "Mary", None, LATER, "k", {"a": "b"})
    assert SOURCE.service_send_client(greeter, delay=LATER).greet("Ada")[2:] == ("Ada", LATER, None, None)
    assert SOURCE.workflow_send_client(flow, "id").run(Item(name="a"))[0] == "workflow_send"


def test_an_unknown_handler_is_an_attribute_error_that_lists_the_handlers():
    with pytest.raises(AttributeError, match="no handler 'great', only: greet, say-hello"):
        SOURCE.service_client(greeter).great("Ada")
    with pytest.raises(AttributeError, match=r"no handler 'great', only: .*greet, missing"):
        SOURCE.service_client(GreeterApi).great("Ada")
    assert {"greet", "say-hello"} <= set(dir(SOURCE.service_client(greeter)))
    assert not hasattr(SOURCE.service_client(greeter), "__len__")


def test_a_handler_whose_name_is_no_python_name_is_reached_by_getattr():
    assert getattr(SOURCE.service_client(greeter), "say-hello")()[1] is greeter.handlers["say-hello"]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda c: c.greet(), "misses its input; it takes one, name"),
        (lambda c: c.greet("a", "b"), "was given 2 inputs"),
        (lambda c: c.greet(nome="a"), "no parameter 'nome'; it takes one, name"),
        (lambda c: getattr(c, "say-hello")("a"), "was given 1 inputs; it takes none"),
    ],
)
def test_wrong_arguments_are_type_errors(call: Any, complaint: str):
    with pytest.raises(TypeError, match=complaint):
        call(SOURCE.service_client(greeter))


def test_an_input_with_a_default_may_be_left_out():
    assert SOURCE.object_client(cart, "Mary").add()[3] is None


def test_a_client_of_another_kind_is_refused_with_the_right_method():
    with pytest.raises(ValueError, match="Cart is of kind object, so its client is made by object_client"):
        SOURCE.service_client(cart)
    with pytest.raises(ValueError, match="of kind service"):
        SOURCE.object_client(declared(kind="service"), "Mary")


def test_what_is_no_definition_is_refused():
    with pytest.raises(TypeError, match="no definition"):
        SOURCE.service_client(greet)
    with pytest.raises(TypeError, match="no definition"):
        SOURCE.service_client(0)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="contradicts"):
        SOURCE.service_client(greeter, name="Other")


def declared(**options: Any) -> type:
    @barnabas.definition("Greeter", **options)
    class Local(Protocol):
        async def greet(self, name: str) -> str: ...
        async def say_hello(self) -> str: ...

    return Local


def greet_handler() -> Handler[Any, Any]:
    return greeter.handlers["greet"]


def handler(call: tuple[Any, ...]) -> Handler[Any, Any]:
    found: Handler[Any, Any] = call[1]
    return found


def test_a_protocol_stands_for_the_service_that_the_caller_names():
    found = handler(SOURCE.service_client(GreeterApi, name="Hello").greet("Hi"))
    assert found.target == "Hello/greet"
    assert handler(SOURCE.service_client(GreeterApi, name="Other").greet("Hi")).target == "Other/greet"


def test_without_a_name_the_class_says_which_service_it_is():
    class Named(Protocol):
        __barnabas_service__ = "FromAttribute"

        async def greet(self) -> str: ...

    class Plain(ABC):
        @abstractmethod
        async def greet(self) -> str: ...

    assert handler(SOURCE.service_client(Named).greet()).target == "FromAttribute/greet"
    assert handler(SOURCE.service_client(Plain).greet()).target == "Plain/greet"
    assert handler(SOURCE.service_client(GreeterApi).greet("Hi")).target == "Greeter/greet"
    assert handler(SOURCE.service_client(declared()).greet("Hi")).target == "Greeter/greet"


def test_a_method_passed_by_itself_finds_its_service():
    assert handler_of(GreeterApi.greet).target == "Greeter/greet"
    assert handler_of(declared().greet).target == "Greeter/greet"  # type: ignore[attr-defined]
    assert handler_of(GreeterApi.greet) is handler_of(GreeterApi.greet)  # made once


def test_a_method_of_a_class_that_cannot_be_found_says_what_to_do():
    class Local(Protocol):
        async def greet(self, name: str) -> str: ...

    with pytest.raises(ValueError, match=r"is defined within a function.*@barnabas\.definition"):
        handler_of(Local.greet)


async def plain(ctx: barnabas.Context) -> None: ...


def test_a_function_that_is_nothing_says_so():
    for function in (len, plain, lambda ctx: None, GreeterApi._private):
        with pytest.raises(ValueError, match="no handler"):
            handler_of(function)  # type: ignore[arg-type]


def test_serdes_come_from_the_annotations_as_for_a_handler():
    found = handler_of(GreeterApi.greet)
    assert type(found.output_serde) is type(greet_handler().output_serde)
    assert found.input_serde.serialize("Hi") == b'"Hi"'
    raw = handler_of(GreeterApi.raw)
    assert isinstance(raw.input_serde, BytesSerde)
    assert isinstance(raw.output_serde, BytesSerde)
    untyped = handler_of(GreeterApi.untyped)
    assert isinstance(untyped.input_serde, JsonSerde)
    assert handler_of(GreeterApi.ping).arity == 1


@barnabas.definition("Cart", kind="object")
class CartApi(Protocol):
    def add(self, item: Item) -> Awaitable[Item]: ...
    def future(self) -> barnabas.DurableCallFuture[Item]: ...
    async def sent(self) -> barnabas.Sent[Item]: ...
    def handle(self) -> barnabas.SendHandle: ...
    async def avro(self, row: Annotated[dict[str, Any], AvroSerde({"type": "map", "values": "long"})]) -> None: ...


def test_what_a_method_returns_is_looked_through_to_the_result():
    for method in (CartApi.add, CartApi.future, CartApi.sent):
        assert isinstance(handler_of(method).output_serde, PydanticJsonSerde), method  # type: ignore[arg-type]
    assert isinstance(handler_of(CartApi.handle).output_serde, JsonSerde)  # type: ignore[arg-type]
    assert isinstance(handler_of(CartApi.avro).input_serde, AvroSerde)


def test_the_context_may_stand_in_a_signature():
    found = handler_of(GreeterApi.shout)
    assert (found.arity, found.input_name) == (2, "text")
    client = SOURCE.service_client(GreeterApi)
    assert client.shout(SOURCE, "Hi")[2] == "Hi"  # type: ignore[arg-type, index]
    assert client.shout(text="Hi")[2] == "Hi"  # type: ignore[call-arg, index]


def test_a_method_that_cannot_be_a_handler_fails_when_it_is_asked_for_and_not_before():
    client = SOURCE.service_client(GreeterApi)
    assert client.greet("Hi")[2] == "Hi"  # type: ignore[index]
    with pytest.raises(TypeError, match="at most one input: put several values into a model"):
        client.two("a", "b")
    with pytest.raises(TypeError, match="cannot be resolved: name 'NotThere'"):
        client.missing(1)


def test_inherited_methods_belong_to_the_class_that_was_decorated():
    class Base(Protocol):
        async def ping(self) -> int: ...

    @barnabas.definition("First")
    class First(Base, Protocol):
        async def own(self) -> int: ...

    @barnabas.definition("Second", handlers={"ping": "do.ping"})
    class Second(Base, Protocol): ...

    assert handler_of(First.ping).target == "First/ping"
    assert handler_of(Second.ping).target == "Second/do.ping"
    assert handler_of(Second.ping).output_type is int


def test_the_main_method_of_a_workflow_is_run_unless_it_is_said_otherwise():
    @barnabas.definition("Flow", kind="workflow", main="start")
    class FlowApi(Protocol):
        async def start(self) -> None: ...
        async def run(self) -> None: ...

    assert (handler_of(FlowApi.start).kind, handler_of(FlowApi.run).kind) == ("workflow", "shared")

    class Plain(Protocol):
        async def run(self) -> None: ...
        async def status(self) -> str: ...

    client = SOURCE.workflow_client(Plain, "id")
    assert [handler(client.run()).kind, handler(client.status()).kind] == ["workflow", "shared"]  # type: ignore[func-returns-value]


def test_a_definition_is_not_an_implementation():
    with pytest.raises(ValueError, match="no Service"):
        barnabas.app([GreeterApi])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="decorates a class"):
        barnabas.definition("Greeter")(plain)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"on_deadlock": "explode"}, ValueError, "on_deadlock is 'wait' or 'fail', not 'explode'"),
        ({"idempotency_retention": 5}, TypeError, r"idempotency_retention is a datetime\.timedelta, not a int"),
        ({"journal_retention": timedelta(seconds=-1)}, ValueError, "cannot be negative"),
    ],
)
def test_options_that_make_no_sense_are_refused_where_they_are_written(
    options: dict[str, Any], error: type[Exception], complaint: str
):
    with pytest.raises(error, match=complaint):
        barnabas.VirtualObject("Cart", **options)


def test_retentions_and_on_deadlock_reach_the_handlers():
    day, hour = timedelta(days=1), timedelta(hours=1)
    flow = barnabas.Workflow("Flow", workflow_retention=day, idempotency_retention=day, on_deadlock="fail")

    async def first(ctx: barnabas.WorkflowContext) -> None: ...
    async def second(ctx: barnabas.WorkflowSharedContext) -> None: ...

    flow.main(workflow_retention=hour)(first)
    flow.handler(idempotency_retention=hour, journal_retention=hour)(second)
    main, other = flow.handlers["first"].settings, flow.handlers["second"].settings
    assert (main.workflow_retention, main.idempotency_retention, main.on_deadlock) == (hour, day, "fail")
    assert (other.workflow_retention, other.idempotency_retention, other.journal_retention) == (day, hour, hour)
    assert other.on_deadlock == "fail"
