"""Handlers: how they are defined, called, and what a payload that does not fit is answered."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import pydantic
import pydantic_core
import pytest

from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.handler import decode_input, encode_output, handler_of, start
from barnabas.sdk.object import VirtualObject
from barnabas.sdk.retry_policy import InvocationRetryPolicy
from barnabas.sdk.serde import BytesSerde, JsonSerde, PydanticJsonSerde, Serde
from barnabas.sdk.service import Service
from barnabas.sdk.strict_json import msgspec
from barnabas.sdk.workflow import Workflow

if TYPE_CHECKING:
    from somewhere import Unseen  # type: ignore[import-not-found]


class Flight(pydantic.BaseModel):
    tail: str
    delays: list[float] = []


class Plane(pydantic.BaseModel):
    kind: Literal["plane"]
    model_config = pydantic.ConfigDict(extra="forbid")


class Train(pydantic.BaseModel):
    kind: Literal["train"]


Vehicle = Annotated[Plane | Train, pydantic.Field(discriminator="kind")]


@dataclass
class Leg:
    origin: str
    miles: int


def handler_for(annotation: Any, **options: Any):
    """A handler whose input has this type."""

    async def take(ctx, value):
        return value

    take.__annotations__["value"] = annotation
    return handler_of(Service("Taker").handler(**options)(take))


def run(coro: Any) -> Any:
    """The result of a coroutine that never waits, driven as the runtime drives it."""
    with pytest.raises(StopIteration) as stop:
        coro.send(None)
    return stop.value.value


def test_a_decorated_function_is_still_callable_and_finds_its_handler():
    greeter = Service("Greeter")

    @greeter.handler()
    async def greet(ctx: Any, name: str) -> str:
        """Say hello."""
        return f"Hello {name}"

    handler = handler_of(greet)
    assert handler is greeter.handlers["greet"]
    assert (handler.target, handler.kind, handler.arity, handler.description) == (
        "Greeter/greet",
        None,
        2,
        "Say hello.",
    )
    assert greet.__name__ == "greet"
    assert run(greet(None, "Ann")) == "Hello Ann"


def test_one_function_can_be_a_handler_of_two_services():
    async def ping(ctx):
        return "pong"

    one = Service("One").handler()(ping)
    two = Service("Two").handler(name="pang")(ping)

    assert handler_of(one).target == "One/ping"
    assert handler_of(two).target == "Two/pang"


@pytest.mark.parametrize("thing", [print, lambda ctx: None, 5, None])
def test_what_is_no_handler_is_refused(thing):
    with pytest.raises(ValueError, match="is no handler"):
        handler_of(thing)


def test_start_gives_the_users_own_coroutine():
    """Nothing of ours stands between the runtime and the handler."""
    handler = handler_for(int)

    coro = start(handler, object(), b"5")

    assert coro.cr_code is handler.fn.__code__
    assert run(coro) == 5


def test_start_without_input_ignores_the_payload():
    @Service("S").handler()
    async def ping(ctx):
        return ctx

    assert run(start(handler_of(ping), "context", b"not json")) == "context"


def test_start_enters_the_context_managers_of_service_and_handler_in_order():
    seen: list[str] = []

    def noting(name: str) -> Any:
        @asynccontextmanager
        async def manager() -> AsyncIterator[None]:
            seen.append(f"enter {name}")
            yield
            seen.append(f"leave {name}")

        return manager

    service = Service("S", invocation_context_managers=[noting("service")])

    @service.handler(invocation_context_managers=[noting("handler")])
    async def work(ctx):
        seen.append("work")

    run(start(handler_of(work), None, b""))
    assert seen == ["enter service", "enter handler", "work", "leave handler", "leave service"]


def test_a_function_that_returns_an_awaitable_is_a_handler():
    async def inner(ctx, value):
        return value + 1

    @Service("S").handler()
    @functools.wraps(inner)
    def outer(ctx, value):
        class Later:
            def __await__(self):
                return inner(ctx, value).__await__()

        return Later()

    assert run(start(handler_of(outer), None, b"1")) == 2


def test_a_handler_that_is_not_asynchronous_says_so():
    @Service("S").handler()
    def work(ctx):
        return 5

    with pytest.raises(TypeError, match=r"S/work is not asynchronous"):
        start(handler_of(work), None, b"").send(None)


@pytest.mark.parametrize(
    ("annotation", "payload", "place", "secret"),
    [
        (Flight, {"tail": 77123}, "tail", "77123"),
        (Flight, {"delays": []}, "tail", "xx"),
        (Flight, {"tail": "N1", "delays": [1, "77123"[::-1] + "x"]}, "delays.1", "32177x"),
        (list[Flight], [{"tail": "N1"}, {"tail": 77123}], "1.tail", "77123"),
        (Leg, {"origin": "JFK", "miles": "s3cret"}, "miles", "s3cret"),
        (dict[str, int], {"a": "s3cret"}, "a", "s3cret"),
        (int, "s3cret", "valid integer", "s3cret"),
        (Vehicle, {"kind": "s3cret"}, "tag", "s3cret"),
        (Literal["a"], "s3cret", "'a'", "s3cret"),
    ],
)
def test_a_payload_that_does_not_fit_is_a_terminal_400_that_names_the_field_and_not_the_value(
    annotation, payload, place, secret
):
    with pytest.raises(TerminalError, match=r"^Unable to parse an input argument") as caught:
        decode_input(handler_for(annotation), json.dumps(payload).encode())

    assert caught.value.status_code == 400
    assert place in caught.value.message
    assert secret not in caught.value.message
    assert caught.value.__suppress_context__  # a logged traceback must not show it either


class Account(pydantic.BaseModel):
    """Checks that an app wrote itself, whose words may hold what they looked at."""

    opened: str = "2026"
    pin: int = 1234
    owners: list[str] = []

    @pydantic.field_validator("opened")
    @classmethod
    def _is_a_year(cls, value: str) -> str:
        int(value)  # whose error repeats the value
        return value

    @pydantic.field_validator("pin")
    @classmethod
    def _has_four_digits(cls, value: int) -> int:
        if value > 9999:
            raise pydantic_core.PydanticCustomError("pin", "no pin: {it}", {"it": value})
        if value < 1000:
            raise ValueError("a pin has four digits")
        return value

    @pydantic.model_validator(mode="after")
    def _owners_differ(self) -> Account:
        if len(set(self.owners)) < len(self.owners):
            raise ValueError(f"twice there: {self.owners[-1]}")
        return self


@pytest.mark.parametrize(
    ("payload", "place", "secret"),
    [
        ({"opened": "s3cret"}, "field 'opened': ", "s3cret"),
        ({"pin": 77123}, "field 'pin': ", "77123"),
        ({"owners": ["Ann", "Ann"]}, "argument: ", "Ann"),
    ],
)
def test_an_apps_own_check_does_not_echo_the_value(payload, place, secret):
    with pytest.raises(TerminalError, match=r"the app's own check refuses it$") as caught:
        decode_input(handler_for(Account), json.dumps(payload).encode())
    assert place in caught.value.message
    assert secret not in caught.value.message


def test_an_apps_own_check_may_say_what_is_wrong():
    with pytest.raises(TerminalError, match="field 'pin': Value error, a pin has four digits"):
        decode_input(handler_for(Account), b'{"pin":77}')


@pytest.mark.skipif(msgspec is None, reason="msgspec is optional and not installed")
def test_a_structs_own_check_does_not_echo_the_value():
    def refuse(self: Any) -> None:
        raise ValueError(f"not {self.name}")

    gate = msgspec.defstruct("Gate", [("name", str)], namespace={"__post_init__": refuse})
    with pytest.raises(TerminalError, match=r"the app's own check refuses it$"):
        decode_input(handler_for(list[gate]), b'[{"name":"s3cret"}]')


@pytest.mark.parametrize("annotation", [Any, dict, Flight, int, Leg])
@pytest.mark.parametrize("payload", [b"{s3cret", b"\xff\xfe", b"s3cret", b'{"s3cret": 1}x'])
def test_a_payload_that_is_no_json_is_a_terminal_400_without_the_payload(annotation, payload):
    with pytest.raises(TerminalError, match=r"^Unable to parse an input argument") as caught:
        decode_input(handler_for(annotation), payload)

    assert caught.value.status_code == 400
    assert "JSON" in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.skipif(msgspec is None, reason="msgspec is optional and not installed")
@pytest.mark.parametrize(
    ("payload", "place"), [(b'{"name":5}', "name"), (b'{"name":"s3cret"}', "name"), (b"{s3cret", "JSON")]
)
def test_a_struct_that_does_not_fit_names_the_field_and_not_the_value(payload, place):
    gate = msgspec.defstruct("Gate", [("name", Literal["A1"])])
    with pytest.raises(TerminalError, match=r"^Unable to parse an input argument") as caught:
        decode_input(handler_for(gate), payload)
    assert place in caught.value.message
    assert "s3cret" not in caught.value.message


def test_many_wrong_fields_are_counted_not_listed():
    with pytest.raises(TerminalError, match=r"and 15 more$"):
        decode_input(handler_for(list[int]), json.dumps(["x"] * 20).encode())


class Picky(Serde[str]):
    def deserialize(self, buf: bytes) -> str | None:
        if buf == b"terminal":
            raise TerminalError("not for us", status_code=418)
        raise KeyError(buf)

    def serialize(self, obj: str | None) -> bytes:
        return b"picky"


def test_errors_of_a_users_serde_are_400_without_their_text_and_terminal_ones_stay():
    handler = handler_for(str, input_serde=Picky())

    with pytest.raises(TerminalError, match=r"the serde raised KeyError$"):
        decode_input(handler, b"s3cret")
    with pytest.raises(TerminalError, match="not for us") as caught:
        decode_input(handler, b"terminal")
    assert caught.value.status_code == 418


@pytest.mark.parametrize("annotation", [Flight, int, str, dict, list[int], Leg])
def test_an_empty_payload_is_no_input_for_a_handler_that_wants_one(annotation):
    with pytest.raises(TerminalError, match=r"^Unable to parse an input argument: the payload is empty") as caught:
        decode_input(handler_for(annotation), b"")
    assert caught.value.status_code == 400


@pytest.mark.parametrize("annotation", [Any, None, object, Flight | None, int | None, int | str | None])
def test_an_empty_payload_is_none_where_none_will_do(annotation):
    assert decode_input(handler_for(annotation), b"") is None


def test_a_given_model_serde_wants_a_value_unless_the_annotation_is_optional():
    serde = PydanticJsonSerde[Flight](Flight)

    assert decode_input(handler_for(Flight | None, input_serde=serde), b"") is None
    with pytest.raises(TerminalError, match="the payload is empty"):
        decode_input(handler_for(Flight, input_serde=serde), b"")


@pytest.mark.skipif(msgspec is None, reason="msgspec is optional and not installed")
def test_a_struct_is_wanted_unless_the_annotation_is_optional():
    gate = msgspec.defstruct("Gate", [("name", str)])

    assert decode_input(handler_for(gate | None), b"") is None
    with pytest.raises(TerminalError, match="the payload is empty"):
        decode_input(handler_for(gate), b"")


def test_avro_is_wanted_unless_the_annotation_is_optional():
    serde = AvroSerde[Any]({"type": "map", "values": "int"})

    assert decode_input(handler_for(dict[str, int] | None, input_serde=serde), b"") is None
    with pytest.raises(TerminalError, match="the payload is empty"):
        decode_input(handler_for(dict[str, int], input_serde=serde), b"")


def test_an_empty_payload_is_the_default_where_it_cannot_be_none():
    service = Service("S")

    @service.handler()
    async def greet(ctx: Any, name: str = "World") -> str:
        return name

    @service.handler()
    async def bare(ctx, name="World"):
        return name

    @service.handler()
    async def none_will_do(ctx: Any, name: str | None = "World") -> None: ...

    for fn in (greet, bare):
        handler = handler_of(fn)
        assert not handler.input_required
        assert run(start(handler, None, b"")) == "World"
        assert run(start(handler, None, b'"Ann"')) == "Ann"
    assert decode_input(handler_of(none_will_do), b"") is None, "None travels as the empty payload"


def test_bytes_travel_raw():
    @Service("S").handler()
    async def echo(ctx: Any, value: bytes) -> bytes:
        return value

    handler = handler_of(echo)
    assert isinstance(handler.input_serde, BytesSerde)
    assert (handler.accept, handler.content_type) == ("*/*", "application/octet-stream")
    assert encode_output(handler, run(start(handler, None, b"\x00\xff"))) == b"\x00\xff"


def test_serdes_and_media_types_that_were_given_stay():
    picky = Picky()

    @Service("S").handler(input_serde=picky, output_serde=BytesSerde(), content_type="image/png", accept="text/plain")
    async def convert(ctx: Any, value: Flight) -> Flight:
        return value

    handler = handler_of(convert)
    assert handler.input_serde is picky
    assert (handler.accept, handler.content_type) == ("text/plain", "image/png")


def test_outputs_follow_the_return_annotation():
    @Service("S").handler()
    async def depart(ctx: Any, flight: Flight) -> Flight:
        return flight

    handler = handler_of(depart)
    assert isinstance(handler.output_serde, PydanticJsonSerde)
    assert encode_output(handler, Flight(tail="N1")) == b'{"tail":"N1","delays":[]}'
    assert encode_output(handler, None) == b""
    with pytest.raises(TerminalError, match="S/depart cannot be sent: TypeError: expected a Flight, not a dict"):
        encode_output(handler, {"tail": "N1"})


def test_what_never_returns_has_no_result_to_describe():
    @Service("S").handler()
    async def refuse(ctx: Any, name: str) -> NoReturn:
        raise TerminalError("no")

    assert isinstance(handler_of(refuse).output_serde, JsonSerde)


def test_a_plain_function_that_returns_an_awaitable_has_its_result():
    service = Service("S")

    async def later(value: int) -> Flight:
        return Flight(tail="N1")

    @service.handler()
    def depart(ctx: Any, value: int) -> Awaitable[Flight]:
        return later(value)

    @service.handler()
    def arrive(ctx: Any, value: int) -> Coroutine[Any, Any, Flight]:
        return later(value)

    for handler in map(handler_of, (depart, arrive)):
        assert handler.output_type is Flight
        assert encode_output(handler, run(start(handler, None, b"1"))) == b'{"tail":"N1","delays":[]}'


def test_annotations_that_nobody_needs_may_be_for_type_checkers_only():
    @Service("S").handler()
    async def work(ctx: Unseen) -> None:
        return None

    assert isinstance(handler_of(work).output_serde, JsonSerde)


def test_an_input_annotation_that_cannot_be_resolved_fails_at_the_definition():
    async def work(ctx: Any, value: Unseen) -> None:
        return None

    with pytest.raises(TypeError, match=r"work cannot be resolved.*Unseen"):
        Service("S").handler()(work)


def test_types_of_an_enclosing_function_are_found_where_the_handler_uses_them():
    class Local(pydantic.BaseModel):
        n: int

    @Service("S").handler()
    async def work(ctx: Any, value: Local) -> Any:
        return Local(n=value.n + 1)

    assert decode_input(handler_of(work), b'{"n":1}') == Local(n=1)


@pytest.mark.parametrize(
    "fn",
    [
        lambda: None,
        lambda ctx, a, b: None,
        lambda *args: None,
        lambda ctx, **options: None,
        lambda ctx, *, value: None,
    ],
)
def test_a_function_with_other_parameters_is_no_handler(fn):
    with pytest.raises(ValueError, match="at most one input"):
        Service("S").handler(name="work")(fn)


def test_the_decorator_without_parentheses_says_what_to_write():
    async def work(ctx):
        return None

    with pytest.raises(TypeError, match=r"write `\.handler\(\)`"):
        Service("S").handler(work)(work)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a/b", "1st", "with space", "ümlaut", "<lambda>"])
def test_names_that_cannot_travel_are_refused(name):
    async def work(ctx):
        return None

    with pytest.raises(ValueError, match="cannot be the name of a handler"):
        Service("S").handler(name=name)(work)


def test_two_handlers_of_one_name_are_refused():
    service = Service("S")

    async def work(ctx):
        return None

    service.handler()(work)
    with pytest.raises(ValueError, match="S has a handler 'work' already"):
        service.handler()(work)


@pytest.mark.parametrize("definition", [Service, VirtualObject, Workflow])
@pytest.mark.parametrize("name", ["", "a/b", "with space", "{tag}", "1st", "x" * 161, None])
def test_service_names_are_legal_in_topic_names(definition, name):
    with pytest.raises(ValueError, match="part of topic names"):
        definition(name)


def test_kinds_of_handlers():
    async def f(ctx):
        return None

    cart, flow = VirtualObject("Cart"), Workflow("Flow")
    kinds = {
        "exclusive": handler_of(cart.handler()(f)).kind,
        "none is exclusive": handler_of(cart.handler("g", kind=None)(f)).kind,
        "shared": handler_of(cart.handler("h", kind="shared")(f)).kind,
        "main": handler_of(flow.main()(f)).kind,
        "beside": handler_of(flow.handler("h")(f)).kind,
    }
    assert list(kinds.values()) == ["exclusive", "exclusive", "shared", "workflow", "shared"]
    with pytest.raises(ValueError, match="'exclusive' or 'shared'"):
        cart.handler("i", kind="workflow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a main handler already"):
        flow.main("again")


def test_settings_of_a_handler_come_before_those_of_its_service():
    cart = VirtualObject(
        "Cart",
        metadata={"team": "shop"},
        idempotency_retention=timedelta(hours=1),
        journal_retention=timedelta(hours=2),
        ingress_private=True,
        enable_lazy_state=True,
        invocation_retry_policy=InvocationRetryPolicy(max_attempts=5, initial_interval=timedelta(seconds=1)),
    )

    @cart.handler(
        journal_retention=timedelta(hours=3),
        ingress_private=False,
        state_preload=["items"],
        invocation_retry_policy=InvocationRetryPolicy(max_attempts=2),
    )
    async def add(ctx):
        return None

    handler = handler_of(add)
    assert handler.settings.idempotency_retention == timedelta(hours=1)
    assert handler.settings.journal_retention == timedelta(hours=3)
    assert handler.settings.ingress_private is False
    assert handler.settings.state_preload == ["items"]
    assert cart.settings.state_preload is False
    assert handler.settings.metadata is None
    assert handler.service_tag.metadata == {"team": "shop"}
    assert (handler.retry_policy.max_attempts, handler.retry_policy.initial_interval) == (2, 1.0)


def test_both_forms_of_state_preload_are_refused():
    with pytest.raises(ValueError, match="give state_preload alone"):
        VirtualObject("Cart", enable_lazy_state=True, state_preload=False)
