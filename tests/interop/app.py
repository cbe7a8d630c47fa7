"""The app that Restate's own clients talk to: handlers of every kind, as a project for Restate would have them."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pydantic

import barnabas
from barnabas import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)

greeter = barnabas.Service("Greeter")
counter = barnabas.VirtualObject("Counter")
trip = barnabas.Workflow("Trip")
private = barnabas.Service("Private", ingress_private=True)


class Order(pydantic.BaseModel):
    """What somebody wants."""

    item: str
    count: int = 1


class Receipt(pydantic.BaseModel):
    """What somebody gets."""

    item: str
    price: float


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler()
async def hello(ctx: Context) -> str:
    return "Hello"


@greeter.handler()
async def nothing(ctx: Context, text: str) -> None:
    return None


@greeter.handler()
async def buy(ctx: Context, order: Order) -> Receipt:
    return Receipt(item=order.item, price=order.count * 2.5)


@greeter.handler()
async def echo(ctx: Context, content: bytes) -> bytes:
    return content


@greeter.handler()
async def ticket(ctx: Context, text: str) -> str:
    """Another one for each run of the handler."""
    return f"{text} {uuid.uuid4()}"


@greeter.handler()
async def seen(ctx: Context) -> dict[str, str]:
    return dict(ctx.request().headers)


@greeter.handler()
async def fail(ctx: Context, code: int) -> str:
    raise TerminalError("boo", code, {"seat": "12A"})


@greeter.handler()
async def slow(ctx: Context, milliseconds: int) -> str:
    await ctx.sleep(timedelta(milliseconds=milliseconds))
    return "done"


@private.handler()
async def secret(ctx: Context) -> str:
    return "secret"


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    total: int = (await ctx.get("total") or 0) + amount
    ctx.set("total", total)
    return total


@counter.handler()
async def wait(ctx: ObjectContext) -> str:
    """Leaves the id of an awakeable in the state, and waits for it."""
    name, future = ctx.awakeable(type_hint=str)
    ctx.set("awakeable", name)
    return await future


@counter.handler(kind="shared")
async def total(ctx: ObjectSharedContext) -> int:
    return await ctx.get("total") or 0


@counter.handler(kind="shared")
async def waits_for(ctx: ObjectSharedContext) -> str | None:
    return await ctx.get("awakeable")


@counter.handler(kind="shared")
async def my_key(ctx: ObjectSharedContext) -> str:
    return ctx.key()


@trip.main()
async def run(ctx: WorkflowContext, place: str) -> str:
    return f"{place} {await ctx.promise('seat').value()}"


@trip.handler()
async def choose(ctx: WorkflowSharedContext, seat: str) -> None:
    await ctx.promise("seat").resolve(seat)


@trip.handler()
async def chosen(ctx: WorkflowSharedContext) -> str | None:
    found: str | None = await ctx.promise("seat").peek()
    return found


app = barnabas.app([greeter, counter, trip, private])
