"""What the benchmarks call: a service that does nothing, an object that counts, and a handler that calls them."""

from __future__ import annotations

from pydantic import BaseModel

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


class Chain(BaseModel):
    """How many calls, and to which of the two."""

    calls: int
    keyed: bool


@nothing.handler()
async def chain(ctx: Context, what: Chain) -> int:
    """Calls in a row, each awaited before the next."""
    for i in range(what.calls):
        if what.keyed:
            await ctx.object_call(add, key=f"k{i % 10}", arg=1)
        else:
            await ctx.service_call(noop, arg=None)
    return what.calls


app = barnabas.app([nothing, counter])
