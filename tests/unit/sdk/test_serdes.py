"""Serdes: bytes that any JSON reader understands, values that come back as they went, errors for all others."""

from __future__ import annotations

import functools
import json
import math
import types
import typing
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypedDict, TypeVar

import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from barnabas.sdk.serde import (
    DEFAULT_SERDE,
    BytesSerde,
    DefaultSerde,
    JsonSerde,
    MsgspecJsonSerde,
    PydanticJsonSerde,
    Serde,
    TypedJsonSerde,
    result_serde,
    serde_for,
)
from barnabas.sdk.strict_json import msgspec

JSON = JsonSerde[Any]()

needs_msgspec = pytest.mark.skipif(msgspec is None, reason="msgspec is optional and not installed")


class Flight(pydantic.BaseModel):
    tail: str
    delay: float | None = None


class Freight(Flight):
    tons: int = 0


@dataclass
class Leg:
    origin: str
    miles: int


@dataclass(slots=True)
class Fuel:
    tons: float


class Stop(TypedDict):
    place: str
    minutes: NotRequired[int]


class Route(TypedDict):
    stops: list[Stop]


class ExtendedStop(typing_extensions.TypedDict):
    place: str


class Tree(TypedDict):
    children: list[Tree]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_by_the_standard_library_as_it_was_written(value):
    raw = JSON.serialize(value)

    assert JSON.deserialize(raw) == value
    if value is not None:
        assert json.loads(raw) == value
        assert JSON.deserialize(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "serde",
    [JSON, BytesSerde(), DefaultSerde(), DefaultSerde(Flight), PydanticJsonSerde(Flight), TypedJsonSerde(list[Flight])],
)
def test_none_is_the_empty_payload(serde: Serde[Any]):
    assert serde.serialize(None) == b""
    assert not serde.deserialize(b"")


@pytest.mark.parametrize("number", [2**63, -(2**64), 2**200, 10**300])
def test_big_integers_survive(number):
    assert JSON.deserialize(JSON.serialize({"n": number})) == {"n": number}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("serde", "wrap", "place"),
    [
        (JSON, lambda n: n, "top level"),
        (JSON, lambda n: {"a": [1, n]}, "a.1"),
        (JSON, lambda n: {"a": ({"b": n},)}, "a.0.b"),
        (JSON, lambda n: Flight(tail="N1", delay=n), "delay"),
        (DefaultSerde(Flight), lambda n: Flight(tail="N1", delay=n), "delay"),
        (TypedJsonSerde(list[Flight]), lambda n: [Flight(tail="N1", delay=n)], "0.delay"),
        (TypedJsonSerde(tuple[float, int]), lambda n: (n, 1), "0"),
        (TypedJsonSerde(Fuel), lambda n: Fuel(n), "tons"),
        (JSON, lambda n: [Fuel(n)], "0.tons"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(number, serde, wrap, place):
    with pytest.raises(ValueError, match=rf"no JSON form \(found at (the )?{place}\)"):
        serde.serialize(wrap(number))


def test_words_that_look_like_nan_are_text():
    value = {"a": "NaN Infinity null", "b": None}

    assert JSON.deserialize(JSON.serialize(value)) == value


def test_a_model_that_chose_a_form_for_nan_keeps_it():
    class Reading(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")
        celsius: float
        note: str | None = None

    serde = PydanticJsonSerde[Reading](Reading)
    back = serde.deserialize(serde.serialize(Reading(celsius=math.nan)))

    assert back is not None
    assert math.isnan(back.celsius)


@pytest.mark.parametrize("raw", [b"NaN", b"[1,]", b"{'a': 1}", b"\xff", b'"\xff"', b"{", b"1 2"])
def test_what_is_not_json_is_a_value_error(raw):
    with pytest.raises(ValueError, match=r"line 1"):
        JSON.deserialize(raw)


@pytest.mark.parametrize("value", [b"raw", bytearray(b"raw"), object(), {"a": object()}, "\ud800"])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        JSON.serialize(value)


def test_untyped_writing_takes_models_and_dataclasses():
    assert (
        JSON.serialize([Flight(tail="N1"), Leg("JFK", 3)]) == b'[{"tail":"N1","delay":null},{"origin":"JFK","miles":3}]'
    )


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Flight, Flight(tail="N1", delay=2.5)),
        (Optional[Flight], Flight(tail="N1")),  # noqa: UP045 - the old form too
        (list[Flight], [Flight(tail="N1")]),
        (dict[str, Flight], {"a": Flight(tail="N1")}),
        (Leg, Leg("JFK", 3)),
        (Leg | None, Leg("JFK", 3)),
        (list[Leg], [Leg("JFK", 3)]),
        (Stop, {"place": "JFK"}),
        (Route, {"stops": [{"place": "JFK", "minutes": 3}]}),
        (Route | None, {"stops": []}),
        (ExtendedStop, {"place": "JFK"}),
        (Tree, {"children": [{"children": []}]}),
        (dict[int, str], {1: "a"}),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (datetime, datetime(2013, 1, 1, tzinfo=UTC)),
        (uuid.UUID, uuid.UUID(int=7)),
        (Annotated[int, pydantic.Field(gt=0)], 3),
        (Literal["a", "b"], "a"),
        (dict, {"a": [1, None]}),
        (typing.Dict, {"a": [1, None]}),  # noqa: UP006 - the old form too
        (typing.List, [1]),  # noqa: UP006
        (list[dict[str, Any]], [{"a": 1}]),
        (int | None, 3),
        (str, "é"),
        (Any, {"a": 1}),
        (bytes, b"\x00\xff"),
        (bytes | None, b"\x00\xff"),
    ],
)
@pytest.mark.parametrize("checked", [False, True])
def test_a_value_of_an_annotated_type_comes_back_as_it_went(annotation, value, checked):
    serde = serde_for(annotation, checked)

    back = serde.deserialize(serde.serialize(value))

    assert back == value
    assert type(back) is type(value)


class Part(pydantic.BaseModel):
    number: int = pydantic.Field(0, alias="partNumber")
    weight: float = pydantic.Field(0, validation_alias=pydantic.AliasChoices("kg", "kilos"))
    colour: str = pydantic.Field("", serialization_alias="paint")


@dataclass
class Crate:
    parts: Annotated[list[Part], pydantic.Field(alias="content")]


PART = Part.model_validate({"partNumber": 7, "kg": 2.5, "colour": "red"})


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Part, PART), (Part | None, PART), (list[Part], [PART]), (Crate, Crate(parts=[PART]))],  # type: ignore[list-item]
)
def test_a_value_with_aliases_comes_back_as_it_went(annotation, value):
    """Models are written with the names of their fields, as Restate's SDK does, and read with names and aliases."""
    serde = serde_for(annotation, checked=True)
    assert b'"number":7' in serde.serialize(value)
    assert serde.deserialize(serde.serialize(value)) == value


def test_aliases_are_read_too():
    assert serde_for(Part).deserialize(b'{"partNumber":7,"kilos":2.5,"colour":"red"}') == PART


def test_a_subclass_keeps_its_own_fields_on_the_wire():
    assert json.loads(serde_for(Flight).serialize(Freight(tail="N1", tons=3)))["tons"] == 3


def test_equal_annotations_share_one_serde():
    assert serde_for(list[Flight]) is serde_for(list[Flight])
    assert serde_for(Flight) is serde_for(Flight)


def test_an_annotation_that_cannot_be_hashed_has_a_serde_too():
    positive = Annotated[int, {"unhashable": []}]

    assert serde_for(positive, True).deserialize(b"3") == 3


@pytest.mark.parametrize(("annotation", "raw"), [(int, b'"x"'), (dict[str, int], b'{"a":"x"}'), (str, b"1")])
def test_plain_json_types_are_checked_only_where_asked(annotation, raw):
    assert serde_for(annotation).deserialize(raw) == json.loads(raw)
    with pytest.raises(ValueError, match="validation error"):
        serde_for(annotation, checked=True).deserialize(raw)


@pytest.mark.parametrize(
    ("annotation", "value"), [(Flight, {"tail": "N1"}), (list[Flight], [{"tail": "N1"}]), (Leg, 5)]
)
def test_writing_something_of_another_type_is_a_type_error_without_the_value(annotation, value):
    with pytest.raises(TypeError) as caught:
        serde_for(annotation).serialize(value)
    assert "N1" not in str(caught.value)


def test_a_type_without_a_json_form_is_refused():
    class Opaque:
        pass

    with pytest.raises(TypeError, match="give a serde"):
        serde_for(Opaque)


def test_a_model_that_is_completed_later_works():
    class Late(pydantic.BaseModel):
        leg: Later  # type: ignore[name-defined]  # noqa: F821

    serde = serde_for(list[Late])
    Late.model_rebuild(_types_namespace={"Later": Leg})

    assert serde.deserialize(b'[{"leg":{"origin":"JFK","miles":1}}]') == [Late(leg=Leg("JFK", 1))]


def test_default_serde_with_maybe_type_makes_another():
    plain = DefaultSerde[Any]()
    typed = plain.with_maybe_type(Flight)

    assert typed.deserialize(b'{"tail":"N1"}') == Flight(tail="N1")
    assert plain.deserialize(b'{"tail":"N1"}') == {"tail": "N1"}


def _flight() -> Flight:
    return Flight(tail="N1")


async def _flight_later() -> Flight:
    return Flight(tail="N1")


def _flight_promised() -> Awaitable[Flight]:
    return _flight_later()


class _Source:
    def flight(self) -> Flight:
        return Flight(tail="N1")

    def __call__(self) -> Flight:
        return Flight(tail="N1")


@pytest.mark.parametrize(
    "action", [_flight, _flight_later, _flight_promised, functools.partial(_flight), _Source().flight, _Source()]
)
def test_a_steps_result_follows_the_return_annotation_of_its_action(action):
    serde = result_serde(DEFAULT_SERDE, None, action)

    assert isinstance(serde, PydanticJsonSerde)
    assert result_serde(DEFAULT_SERDE, None, action) is serde


def test_a_type_hint_comes_before_the_annotation():
    assert result_serde(DEFAULT_SERDE, list[Flight], _flight).deserialize(b"[]") == []
    assert isinstance(result_serde(DefaultSerde(Flight), None, lambda: 1), PydanticJsonSerde)


def test_a_given_serde_stays():
    raw = BytesSerde()

    assert result_serde(raw, Flight, _flight) is raw


@pytest.mark.parametrize("action", [lambda: 1, print, dict])
def test_actions_that_promise_nothing_are_json(action):
    assert isinstance(result_serde(DEFAULT_SERDE, None, action), JsonSerde)


def test_a_subclass_of_the_default_serde_decides_for_itself():
    class Shouting(DefaultSerde[Any]):
        def with_maybe_type(self, type_hint: Any = None) -> DefaultSerde[Any]:
            return Shouting(type_hint)

    assert type(result_serde(Shouting(), None, _flight)) is Shouting


def test_closures_over_different_types_have_different_serdes():
    """Text annotations are resolved once for the code they stand at, a type is not."""

    def action_of(model: Any) -> Any:
        def action():
            return model

        action.__annotations__["return"] = model
        return action

    one, other = (result_serde(DEFAULT_SERDE, None, action_of(m)) for m in (Flight, Leg))
    assert isinstance(one, PydanticJsonSerde)
    assert isinstance(other, TypedJsonSerde)


def test_an_annotation_that_cannot_be_resolved_says_what_to_do():
    class Local(pydantic.BaseModel):
        pass

    def action() -> Local:
        return Local.model_construct()

    action.__annotations__["return"] = "Elsewhere"
    with pytest.raises(TypeError, match=r"Elsewhere.*top level"):
        result_serde(DEFAULT_SERDE, None, action)


@needs_msgspec
def test_a_generic_struct():
    item = TypeVar("item")
    body = {"__annotations__": {"items": list[item]}}  # type: ignore[valid-type]
    page = types.new_class("Page", (msgspec.Struct, Generic[item]), exec_body=lambda names: names.update(body))
    serde = serde_for(page[int])
    assert isinstance(serde, MsgspecJsonSerde)
    assert serde.deserialize(serde.serialize(page([1]))) == page([1])


@needs_msgspec
def test_msgspec_structs_and_containers_of_them():
    struct = msgspec.defstruct("Gate", [("name", str), ("length", float)])

    assert isinstance(serde_for(struct), MsgspecJsonSerde)
    many = serde_for(list[struct])
    assert many.deserialize(many.serialize([struct("A1", 2.5)])) == [struct("A1", 2.5)]
    assert JSON.serialize({"gate": struct("A1", 2.5)}) == b'{"gate":{"name":"A1","length":2.5}}'
    with pytest.raises(ValueError, match="length"):
        serde_for(struct).serialize(struct("A1", math.nan))


@pytest.mark.skipif(msgspec is not None, reason="msgspec is installed")
def test_msgspec_serde_without_msgspec_says_what_is_missing():
    with pytest.raises(ImportError, match="pip install msgspec"):
        MsgspecJsonSerde(Flight)
