"""A small app with a handler of each kind, for tests that only need something to call."""

from __future__ import annotations

from datetime import timedelta

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, Service, TerminalError, VirtualObject

greeter = Service("Greeter")
counter = VirtualObject("Counter")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    """Say hello, with what the request's headers add."""
    return f"Hello {name}{ctx.request().headers.get('traceparent', '')}"


@greeter.handler()
async def refuse(ctx: Context, code: int) -> None:
    """Fail for good."""
    raise TerminalError("no", status_code=code, metadata={"why": "asked to"})


@greeter.handler()
async def tour(ctx: Context, name: str) -> list[str]:
    """A call, a step, a sleep, a call to an object, and a message."""
    hello = await ctx.service_call(greet, arg=name)
    step = await ctx.run_typed("step", lambda: "stepped")
    await ctx.sleep(timedelta(milliseconds=20))
    count = await ctx.object_call(add, key=name, arg=2)
    ctx.object_send(add, key=name, arg=3)
    return [hello, step, str(count)]


@counter.handler()
async def add(ctx: ObjectContext, n: int) -> int:
    """Count."""
    value: int = (await ctx.get("n", type_hint=int) or 0) + n
    ctx.set("n", value)
    return value


@counter.handler(kind="shared")
async def read(ctx: ObjectSharedContext) -> int:
    """The count."""
    return await ctx.get("n", type_hint=int) or 0


app = barnabas.app([greeter, counter])
