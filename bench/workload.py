"""The two handlers that the throughput benchmark drains: a service that does nothing, and an object that counts."""

from __future__ import annotations

import barnabas
from barnabas import Context, ObjectContext, Service, VirtualObject

nothing = Service("Nothing")
counter = VirtualObject("Counter")


@nothing.handler()
async def noop(ctx: Context) -> None:
    """The least that an invocation can be."""


@counter.handler()
async def add(ctx: ObjectContext, n: int) -> int:
    """Read a value, change it, write it, return it."""
    value: int = (await ctx.get("n", type_hint=int) or 0) + n
    ctx.set("n", value)
    return value


app = barnabas.app([nothing, counter])
