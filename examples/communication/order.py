"""Order: what one handler sends to one key arrives in the order in which it was sent."""

from __future__ import annotations

from barnabas import Client, Context, Service
from examples.communication.shop import add, items

# snippet
packing = Service("Packing")


@packing.handler()
async def pack(ctx: Context, name: str) -> None:
    for i in range(20):
        ctx.object_send(add, name, f"item {i}")
    last = ctx.object_send(add, name, "ribbon")
    await ctx.attach_invocation(await last.invocation_id())


async def main(client: Client, name: str) -> None:
    await client.service_call(pack, name)
    assert await client.object_call(items, name, None) == [*(f"item {i}" for i in range(20)), "ribbon"]


# end
