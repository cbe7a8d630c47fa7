"""What type checkers make of calls by definitions. Not run: mypy and pyright read it, both strict (test_typing.py).

The four ways to share definitions: the handler itself, a definition of the caller's own, generated stubs (see
test_client_stubs.py), names. A comment to ignore stands where there must be an error; both checkers complain about
those that are not needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Protocol, assert_type

from pydantic import BaseModel

import barnabas
from barnabas import (
    Client,
    Context,
    DurableCallFuture,
    ObjectContext,
    SendHandle,
    Sent,
    Service,
    VirtualObject,
    Workflow,
)


class Item(BaseModel):
    name: str


class Basket(BaseModel):
    items: list[Item]


greeter = Service("Greeter")
cart = VirtualObject("Cart", on_deadlock="fail")
flow = Workflow("Flow", workflow_retention=timedelta(hours=1))


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler()
async def ping(ctx: Context) -> int:
    return 1


@cart.handler()
async def add(ctx: ObjectContext, item: Item) -> Basket:
    return Basket(items=[item])


class GreeterApi(Protocol):
    async def greet(self, name: str) -> str: ...
    async def ping(self) -> int: ...


@barnabas.definition("Cart", kind="object")
class CartApi(Protocol):
    def add(self, item: Item) -> Awaitable[Basket]: ...


class FlowApi(ABC):
    __barnabas_service__ = "Flow"

    @abstractmethod
    async def run(self, item: Item) -> bool: ...


class WithContext(Protocol):
    async def greet(self, ctx: Context, name: str) -> str: ...


@barnabas.definition("Greeter")
class GreeterSend(barnabas.SendDefinition, Protocol):
    def greet(self, name: str) -> SendHandle: ...


@barnabas.definition("Greeter")
class GreeterClientSend(barnabas.SendDefinition, Protocol):
    async def greet(self, name: str) -> Sent[str]: ...


async def handlers_themselves(ctx: Context, client: Client, item: Item) -> None:
    assert_type(ctx.service_call(greet, arg="Hi"), DurableCallFuture[str])
    assert_type(await ctx.service_call(ping, None), int)
    assert_type(await ctx.object_call(add, "Mary", item, idempotency_key="k"), Basket)
    assert_type(await client.service_call(greet, "Hi", timeout=5), str)
    assert_type(await client.object_call(add, "Mary", item), Basket)
    sent = await client.object_send(add, "Mary", item, send_delay=timedelta(days=1))
    assert_type(sent, Sent[Basket])
    assert_type(await sent.attach(), Basket)
    assert_type(await client.object_attach(add, "Mary", "k"), Basket)
    assert_type(await client.attach(sent.invocation_id, type_hint=Basket), Basket)

    ctx.service_call(greet, arg=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.service_call(greet, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.object_send(add, "Mary", "item")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def definitions_of_the_caller(ctx: Context, client: Client, item: Item) -> None:
    assert_type(await ctx.service_client(GreeterApi, name="Greeter").greet("Hi"), str)
    assert_type(await ctx.service_client(GreeterApi, name="Greeter", headers={"a": "b"}).ping(), int)
    assert_type(ctx.service_call(GreeterApi.greet, "Hi"), DurableCallFuture[str])
    assert_type(await ctx.service_call(GreeterApi.ping, None), int)
    assert_type(await ctx.object_client(CartApi, "Mary", idempotency_key="k").add(item), Basket)
    assert_type(await ctx.object_call(CartApi.add, "Mary", item), Basket)
    assert_type(await ctx.workflow_client(FlowApi, "id").run(item), bool)
    assert_type(await ctx.workflow_call(FlowApi.run, "id", item), bool)
    assert_type(await ctx.service_call(WithContext.greet, "Hi"), str)
    assert_type(ctx.service_send(GreeterApi.greet, "Hi"), SendHandle)
    assert_type(await client.service_client(GreeterApi, name="Greeter").greet("Hi"), str)
    assert_type(await client.object_call(CartApi.add, "Mary", item), Basket)
    assert_type(await client.workflow_attach(FlowApi.run, "id"), bool)

    await ctx.service_client(GreeterApi).greet(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ctx.service_client(GreeterApi).great("a")  # type: ignore[attr-defined]  # pyright: ignore
    ctx.service_call(GreeterApi.greet, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ctx.object_call(CartApi.add, "Mary", "item")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.object_client(CartApi, "Mary").add("item")  # type: ignore[arg-type]  # pyright: ignore
    await client.workflow_call(FlowApi.run, "id", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def sends(ctx: Context, client: Client) -> None:
    later = timedelta(minutes=1)
    assert_type(ctx.service_send_client(GreeterSend, delay=later).greet("Hi"), SendHandle)
    assert_type(await client.service_send_client(GreeterClientSend, idempotency_key="k").greet("Hi"), Sent[str])

    ctx.service_send_client(GreeterSend).greet(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def what_a_checker_cannot_see(ctx: Context, client: Client) -> None:
    """A definition that decorators fill, and sends of what is no SendDefinition."""
    assert_type(ctx.service_client(greeter), Any)
    assert_type(ctx.object_client(cart, "Mary"), Any)
    assert_type(client.workflow_client(flow, "id"), Any)
    assert_type(ctx.object_send_client(cart, "Mary", delay=timedelta(seconds=1)), Any)
    assert_type(ctx.service_send_client(GreeterApi), Any)


async def names(ctx: Context, client: Client) -> None:
    assert_type(await ctx.generic_call("Greeter", "greet", b'"Hi"'), bytes)
    assert_type(await client.generic_call("Flow", "run", b"1", "id", workflow_run=True), bytes)
    assert_type(await client.generic_send("Greeter", "greet", b'"Hi"'), Sent[bytes])

    ctx.generic_call("Greeter", "greet", "Hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
