"""Handlers in every state that an operator may find them in: for the tests of the admin API and of its commands."""

from __future__ import annotations

from datetime import timedelta

import pydantic

import barnabas
from barnabas import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    ObjectSharedContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)

desk = Service("Desk", description="Where everybody asks.")
cart = VirtualObject("Cart")
order = Workflow("Order")
hidden = Service("Hidden", ingress_private=True)
flaky = Service(
    "Flaky",
    invocation_retry_policy=InvocationRetryPolicy(
        initial_interval=timedelta(hours=1), max_attempts=5, on_max_attempts="pause"
    ),
)
brittle = Service(
    "Brittle",
    invocation_retry_policy=InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=1), max_attempts=2, on_max_attempts="pause"
    ),
)


class Item(pydantic.BaseModel):
    """What lies in a cart."""

    name: str
    count: int = 1
    parts: list[Item] = []


@desk.handler()
async def echo(ctx: Context, text: str) -> str:
    """Give it back."""
    return text


@desk.handler()
async def refuse(ctx: Context, code: int) -> None:
    """Fail for good."""
    raise TerminalError(f"refused with {code}", status_code=code)


@desk.handler()
async def tidy(ctx: Context) -> int:
    """Takes nothing."""
    return 1


@desk.handler()
async def steps(ctx: Context, text: str) -> list[str]:
    """Two steps, of which the first one shows whether it ran again."""
    first = await ctx.run_typed("first", lambda: f"{text}-{ctx.request().id}")
    second = await ctx.run_typed("second", lambda: f"second-{ctx.request().id}")
    return [first, second]


@desk.handler()
async def wait(ctx: Context, name: str) -> str:
    """Wait for a signal of that name."""
    return await ctx.signal(name, type_hint=str)


@desk.handler()
async def ask_cart(ctx: Context, key: str) -> int:
    """Call a cart, which may be busy, and send to another one."""
    ctx.object_send(add, key=f"{key}-sent", arg=Item(name="sent"))
    return await ctx.object_call(add, key=key, arg=Item(name="called"))


@flaky.handler()
async def fall(ctx: Context) -> None:
    """Fail, and be tried again in an hour."""
    raise ValueError("not today")


@brittle.handler()
async def snap(ctx: Context) -> None:
    """Fail until it is paused."""
    raise ValueError("never")


@cart.handler()
async def add(ctx: ObjectContext, item: Item) -> int:
    """Put something in."""
    items = await ctx.get("items", type_hint=list) or []
    ctx.set("items", [*items, item.name])
    ctx.set("raw", b"\x00\xff", serde=barnabas.serde.BytesSerde())
    return len(items) + 1


@cart.handler()
async def hold(ctx: ObjectContext, name: str) -> str:
    """Keep the key until a signal of that name."""
    return await ctx.signal(name, type_hint=str)


@cart.handler(kind="shared")
async def items(ctx: ObjectSharedContext) -> list[str]:
    """What is in it."""
    return await ctx.get("items", type_hint=list) or []


@order.main()
async def run(ctx: WorkflowContext, text: str) -> str:
    """Wait until it is paid."""
    ctx.set("text", text)
    return await ctx.promise("paid", type_hint=str).value()


@order.handler()
async def pay(ctx: WorkflowSharedContext, by: str) -> None:
    """Pay."""
    await ctx.promise("paid", type_hint=str).resolve(by)


@hidden.handler()
async def secret(ctx: Context, text: str) -> str:
    """For handlers alone."""
    return text


app = barnabas.app([desk, cart, order, hidden, flaky, brittle])
