"""Automatic deduplication: a handler that is retried or replayed never sends or calls twice."""

from __future__ import annotations

from collections import Counter

from barnabas import Client, Context, Service
from examples.communication.shop import add, items

# snippet
clumsy = Service("Clumsy")
attempts: Counter[str] = Counter()  # of this process; a handler should not do such things


@clumsy.handler()
async def fill(ctx: Context, name: str) -> int:
    first = await ctx.object_call(add, name, "apple")
    second = await ctx.object_call(add, name, "apple")  # an equal call is another call
    attempts[name] += 1
    if attempts[name] < 3:
        raise ConnectionError("not a terminal error: the handler runs again from its journal")
    return first + second


async def main(client: Client, name: str) -> None:
    assert await client.service_call(fill, name) == 1 + 2
    assert await client.object_call(items, name, None) == ["apple", "apple"]


# end
