"""An app with a handler for every row of INTEROP's ingress table: test_ingress.py."""

from __future__ import annotations

import uuid
from datetime import timedelta

import barnabas
from barnabas import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    ObjectSharedContext,
    RunOptions,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)

GIVES_UP = InvocationRetryPolicy(initial_interval=timedelta(milliseconds=10), max_attempts=2, on_max_attempts="kill")

greeter = barnabas.Service("Greeter")
private = barnabas.Service("Private", ingress_private=True)
counter = barnabas.VirtualObject("Counter")
trip = barnabas.Workflow("Trip")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler()
async def ticket(ctx: Context, text: str) -> str:
    """Another one for each run of the handler."""
    return f"{text} {uuid.uuid4()}"


@greeter.handler()
async def hello(ctx: Context) -> str:
    return "Hello"


@greeter.handler()
async def nothing(ctx: Context) -> None:
    return None


@greeter.handler()
async def echo(ctx: Context, content: bytes) -> bytes:
    return content


@greeter.handler(accept="text/*", content_type="text/plain; charset=utf-8")
async def shout(ctx: Context, text: bytes) -> bytes:
    return text.upper()


@greeter.handler()
async def seen(ctx: Context) -> dict[str, str]:
    return dict(ctx.request().headers)


@greeter.handler()
async def forwarded(ctx: Context) -> dict[str, str]:
    """What a handler that this one calls sees."""
    return await ctx.service_call(seen, None)


@greeter.handler()
async def whoami(ctx: Context) -> str:
    return ctx.request().id


@greeter.handler()
async def fail(ctx: Context, code: int) -> str:
    raise TerminalError("boo", code, {"seat": "12A"})


@greeter.handler(invocation_retry_policy=GIVES_UP)
async def broken(ctx: Context) -> str:
    raise RuntimeError("the printer is on fire")


@greeter.handler(invocation_retry_policy=GIVES_UP)
async def fickle(ctx: Context) -> str:
    """Never does the same twice."""
    await ctx.run_typed(str(uuid.uuid4()), lambda: 1, RunOptions())
    await ctx.sleep(timedelta(milliseconds=1))
    raise RuntimeError("again")


@greeter.handler()
async def slow(ctx: Context, milliseconds: int) -> str:
    await ctx.sleep(timedelta(milliseconds=milliseconds))
    return "done"


@greeter.handler(ingress_private=True)
async def inner(ctx: Context) -> str:
    return "inner"


@greeter.handler()
async def outer(ctx: Context) -> str:
    return await ctx.service_call(inner, None)


@private.handler()
async def secret(ctx: Context) -> str:
    return "secret"


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    total: int = (await ctx.get("total") or 0) + amount
    ctx.set("total", total)
    return total


@counter.handler()
async def wait(ctx: ObjectContext) -> str:
    """Leaves the id of an awakeable in the state, and waits for it."""
    name, future = ctx.awakeable(type_hint=str)
    ctx.set("awakeable", name)
    return await future


@counter.handler(kind="shared")
async def waits_for(ctx: ObjectSharedContext) -> str | None:
    return await ctx.get("awakeable")


@counter.handler(kind="shared")
async def my_key(ctx: ObjectSharedContext) -> str:
    return ctx.key()


@trip.main()
async def run(ctx: WorkflowContext, place: str) -> str:
    return f"{place} {await ctx.promise('seat').value()}"


@trip.handler()
async def choose(ctx: WorkflowSharedContext, seat: str) -> None:
    await ctx.promise("seat").resolve(seat)


@trip.handler()
async def chosen(ctx: WorkflowSharedContext) -> str:
    seat: str = await ctx.promise("seat").value()
    return seat


app = barnabas.app([greeter, private, counter, trip])
