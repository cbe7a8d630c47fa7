"""Sharing a definition by its code: the handlers themselves, and clients made of a service."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Client, Context, Service
from examples.communication.shop import cart, greet, greeter, order

# snippet
shelf = Service("Shelf")


@shelf.handler()
async def stock(ctx: Context, name: str) -> list[object]:
    hello = await ctx.service_call(greet, arg=name)  # a type checker knows: str
    again = await ctx.service_client(greeter).greet(name)
    count = await ctx.object_client(cart, name).add("apple")
    later = ctx.object_send_client(cart, name, delay=timedelta(seconds=0.2), idempotency_key="pear").add("pear")
    total = await ctx.attach_invocation(await later.invocation_id(), type_hint=int)
    ordering = ctx.workflow_client(order, name).run(name)
    await ctx.workflow_client(order, name).pay("receipt 7")
    return [hello, again, count, total, await ordering]


async def main(client: Client, name: str) -> None:
    hello = f"Hello {name}"
    assert await client.service_call(stock, name) == [hello, hello, 1, 2, f"{name} has paid: receipt 7"]
    assert await client.object_client(cart, name).items() == ["apple", "pear"]  # the same clients outside handlers


# end
