"""What a client says about its arguments, before it talks to anyone."""

from __future__ import annotations

import pytest

import barnabas
from barnabas.client.client import Client
from barnabas.client.errors import ClientClosed

greeter = barnabas.Service("Greeter")
plane = barnabas.VirtualObject("Plane")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    return name


@plane.handler()
async def depart(ctx: barnabas.ObjectContext) -> None:
    return None


def test_without_an_address_it_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARNABAS_KAFKA", raising=False)
    with pytest.raises(ValueError, match="BARNABAS_KAFKA"):
        Client()


def test_address_and_namespace_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA", "kafka:9092")
    monkeypatch.setenv("BARNABAS_NAMESPACE", "a.b")
    with pytest.raises(ValueError, match=r"'a\.b' is no legal namespace"):
        Client()


def test_an_option_that_would_change_the_promises_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no options of a client: acks\."):
        Client("kafka:9092", acks=0)


async def test_a_delay_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"timedelta\(seconds=10\)"):
        await Client("kafka:9092").generic_send("Greeter", "greet", b"", send_delay=10)  # type: ignore[arg-type]


async def test_a_handler_of_another_kind_is_refused() -> None:
    client = Client("kafka:9092")
    with pytest.raises(ValueError, match="Plane is of kind object"):
        await client.service_call(depart, None)
    with pytest.raises(ValueError, match="no handler"):
        await client.service_call(len, "x")  # type: ignore[arg-type]


async def test_a_client_that_was_not_opened_says_so() -> None:
    with pytest.raises(ClientClosed, match="async with"):
        await Client("kafka:9092").service_send(greet, "Ada")


def test_options_do_not_show_in_its_repr() -> None:
    assert "secret" not in repr(Client("kafka:9092", sasl_plain_password="secret").__dict__)
