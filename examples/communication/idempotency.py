"""Idempotency keys: one execution per target, key and idempotency key, and one result for everyone."""

from __future__ import annotations

import asyncio

from barnabas import Client, Context, Service
from examples.communication.shop import add, items

# snippet
ordering = Service("Ordering")


@ordering.handler()
async def order_once(ctx: Context, name: str) -> list[int]:
    call = ctx.object_call(add, name, "apple", idempotency_key="order 1")
    handle = ctx.object_send(add, name, "apple", idempotency_key="order 1")
    assert await handle.invocation_id() == await call.invocation_id()
    return [await call, await ctx.object_call(add, name, "apple", idempotency_key="order 2")]


async def main(client: Client, name: str) -> None:
    requests = [client.object_call(add, name, "apple", idempotency_key="order 1") for _ in range(10)]
    assert await asyncio.gather(*requests) == [1] * 10
    assert await client.service_call(order_once, name) == [1, 2]
    assert await client.object_call(add, name, "pear", idempotency_key="order 1") == 1  # the first one's result
    assert await client.object_call(items, name, None) == ["apple", "apple"]


# end
