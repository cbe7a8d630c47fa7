"""One-way messages: the sender goes on at once, and has the invocation's id."""

from __future__ import annotations

from barnabas import Client, Context, Service
from examples.communication.shop import add, greet, items, run

# snippet
shipping = Service("Shipping")


@shipping.handler()
async def ship(ctx: Context, name: str) -> list[str]:
    handles = [
        ctx.service_send(greet, name),
        ctx.object_send(add, name, "apple"),
        ctx.workflow_send(run, name, name),
    ]
    return [await handle.invocation_id() for handle in handles]


async def main(client: Client, name: str) -> None:
    greeted, added, _ = await client.service_call(ship, name)
    assert await client.attach(greeted, type_hint=str) == f"Hello {name}"
    assert await client.attach(added, type_hint=int) == 1
    assert await client.object_call(items, name, None) == ["apple"]


# end
