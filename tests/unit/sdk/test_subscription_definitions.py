"""`Subscription` and what an app makes of them: what is taken, and what is refused where it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import barnabas
from barnabas import Subscription

shop = barnabas.VirtualObject("Shop")
greeter = barnabas.Service("Greeter")
ORDER = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}


@shop.handler()
async def place(ctx: barnabas.ObjectContext, order: dict[str, Any]) -> None: ...


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    return name


def test_a_handler_may_be_named_or_given() -> None:
    for handler in (place, "Shop/place"):
        one = Subscription("orders", handler)
        assert (one.service, one.handler, one.topic) == ("Shop", "place", "orders")
        assert (one.name, one.key, one.format, one.start) == ("orders.Shop.place", "key", "json", "earliest")


def test_a_handler_of_a_service_takes_no_key_rule() -> None:
    assert Subscription("orders", greet).service == "Greeter"
    with pytest.raises(ValueError, match="no keys"):
        Subscription("orders", greet, key="$.a")


def test_avro_reads_with_a_schema_or_with_a_registry(tmp_path: Path) -> None:
    file = tmp_path / "order.avsc"
    file.write_text('"string"')
    assert not Subscription("t", place, format="avro", schema=ORDER).needs_registry
    assert not Subscription("t", place, format="avro", schema=file).needs_registry
    assert Subscription("t", place, format="avro").needs_registry
    assert not Subscription("t", place).needs_registry


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"topic": ""}, "name of a topic"),
        ({"topic": "a b"}, "name of a topic"),
        ({"topic": ".."}, "name of a topic"),
        ({"handler": "Shop"}, "names no handler"),
        ({"handler": "Shop/place/x"}, "names no handler"),
        ({"handler": len}, "is no handler"),
        ({"name": "a/b"}, "name of a subscription"),
        ({"name": "a{b"}, "name of a subscription"),
        ({"name": ""}, "name of a subscription"),
        ({"group": "a b"}, "consumer group"),
        ({"key": "customer"}, "says nothing"),
        ({"key": "$."}, "says nothing"),
        ({"key": "$.a..b"}, "says nothing"),
        ({"key": "header:"}, "says nothing"),
        ({"key": "$.a", "format": "raw"}, "has none"),
        ({"format": "xml"}, "format is one of"),
        ({"format": "json", "schema": ORDER}, "about Avro"),
        ({"format": "raw", "framing": "none"}, "about Avro"),
        ({"format": "avro", "framing": "none"}, "give schema"),
        ({"format": "avro", "schema": ORDER, "framing": "x"}, "framing is"),
        ({"format": "avro", "schema": {"type": "nonsense"}}, "no Avro schema"),
        ({"start": "first"}, "start is"),
        ({"start": datetime(2026, 1, 1)}, "timezone"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Subscription(**{"topic": "orders", "handler": "Shop/place", **arguments})


def test_a_key_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="key is text or a function"):
        Subscription("orders", place, key=7)  # type: ignore[arg-type]


def test_a_moment_is_a_start() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert Subscription("orders", place, start=moment).start == moment


def test_an_app_has_subscriptions() -> None:
    one = Subscription("orders", place)
    assert barnabas.app([shop], subscriptions=[one]).subscriptions == (one,)
    assert barnabas.app([shop]).subscriptions == ()


def test_an_app_refuses_two_of_one_name_and_what_is_none() -> None:
    with pytest.raises(ValueError, match=r"two subscriptions are named 'orders\.Shop\.place'"):
        barnabas.app([shop], subscriptions=[Subscription("orders", place), Subscription("orders", "Shop/place")])
    with pytest.raises(ValueError, match="is no Subscription"):
        barnabas.app([shop], subscriptions=["orders"])  # type: ignore[list-item]
