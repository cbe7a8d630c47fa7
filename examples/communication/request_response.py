"""Request and response: a handler calls a service, an object and a workflow, and catches a callee's error."""

from __future__ import annotations

from barnabas import Client, Context, Service, TerminalError
from examples.communication.shop import add, greet, pay, run

# snippet
tour = Service("Tour")


@tour.handler()
async def visit(ctx: Context, name: str) -> list[str]:
    hello = await ctx.service_call(greet, name)
    count = await ctx.object_call(add, name, "apple")
    ordering = ctx.workflow_call(run, name, name)  # under way from here on, awaited below
    await ctx.workflow_call(pay, name, "receipt 7")
    return [hello, f"{count} in the cart", await ordering]


@tour.handler()
async def refused(ctx: Context) -> list[object]:
    try:
        await ctx.service_call(greet, "")
    except TerminalError as error:
        return [error.status_code, error.message, error.metadata]
    return []


async def main(client: Client, name: str) -> None:
    assert await client.service_call(visit, name) == [
        f"Hello {name}",
        "1 in the cart",
        f"{name} has paid: receipt 7",
    ]
    assert await client.service_call(refused, None) == [400, "nobody to greet", {"field": "name"}]


# end
