"""Handlers that wait for all kinds of things, and note what ran; see test_client_worker.py."""

from __future__ import annotations

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext

greeter = barnabas.Service("Greeter")
box = barnabas.VirtualObject("Box")
flow = barnabas.Workflow("Flow")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    await ctx.object_call(count, f"runs of {ctx.request().idempotency_key}", None)
    return f"Hello {name}"


@greeter.handler()
async def headers(ctx: Context) -> dict[str, str]:
    return ctx.request().headers


@greeter.handler()
async def signalled(ctx: Context) -> str:
    return f"{await ctx.signal('first', type_hint=str)} {await ctx.signal('second', type_hint=str)}"


@box.handler()
async def count(ctx: ObjectContext) -> int:
    total = (await ctx.get("count", type_hint=int) or 0) + 1
    ctx.set("count", total)
    return total


@box.handler(kind="shared")
async def counted(ctx: ObjectSharedContext) -> int:
    return await ctx.get("count", type_hint=int) or 0


@box.handler()
async def ask(ctx: ObjectContext) -> str:
    """Wait for an awakeable, whose id `asked` tells."""
    name, answer = ctx.awakeable(type_hint=str)
    ctx.set("name", name)
    try:
        return await answer
    except barnabas.TerminalError as error:
        if error.status_code == 409:
            await ctx.object_call(count, f"compensated {ctx.key()}", None)
        raise


@box.handler(kind="shared")
async def asked(ctx: ObjectSharedContext) -> str | None:
    return await ctx.get("name", type_hint=str)


@flow.main()
async def run(ctx: WorkflowContext, name: str) -> str:
    return f"{name} {await ctx.promise('paid', type_hint=str)}"


@flow.handler()
async def pay(ctx: WorkflowSharedContext, by: str) -> None:
    await ctx.promise("paid", type_hint=str).resolve(by)


app = barnabas.app([greeter, box, flow])
