"""Three services that the other examples of this folder talk to: one of each kind."""

from __future__ import annotations

import barnabas
from barnabas import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)

# snippet
greeter = Service("Greeter")
cart = VirtualObject("Cart")
order = Workflow("Order")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    if not name:
        raise TerminalError("nobody to greet", status_code=400, metadata={"field": "name"})
    return f"Hello {name}"


@cart.handler()
async def add(ctx: ObjectContext, item: str) -> int:
    items = [*(await ctx.get("items", type_hint=list[str]) or []), item]
    ctx.set("items", items)
    return len(items)


@cart.handler(kind="shared")
async def items(ctx: ObjectSharedContext) -> list[str]:
    return await ctx.get("items", type_hint=list[str]) or []


@order.main()
async def run(ctx: WorkflowContext, customer: str) -> str:
    ctx.set("status", "waiting for the payment")
    receipt = await ctx.promise("payment", type_hint=str)
    ctx.set("status", "paid")
    return f"{customer} has paid: {receipt}"


@order.handler()
async def pay(ctx: WorkflowSharedContext, receipt: str) -> None:
    await ctx.promise("payment", type_hint=str).resolve(receipt)


@order.handler()
async def status(ctx: WorkflowSharedContext) -> str:
    return await ctx.get("status", type_hint=str) or "unknown"


app = barnabas.app([greeter, cart, order])
# end
