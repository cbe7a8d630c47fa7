"""A Restate project, third file: objects that are little machines, and workflows. Written for restate-sdk 1.3.0."""

from datetime import timedelta
from typing import Any

import pydantic
import restate

from .messages import note

limiter = restate.VirtualObject("Limiter")
cron = restate.VirtualObject("Cron")
order = restate.VirtualObject("Order", state_preload=["status"])
approval = restate.Workflow("Approval")
signup = restate.Workflow("Signup", journal_retention=timedelta(hours=1))
desk = restate.Service("Desk")


# Limiter: a token bucket


class Bucket(pydantic.BaseModel):
    tokens: float
    filled_at: float


@limiter.handler()
async def take(ctx: restate.ObjectContext, count: int) -> bool:
    now = await ctx.time()
    bucket = await ctx.get("bucket", type_hint=Bucket) or Bucket(tokens=3, filled_at=now)
    tokens = min(3.0, bucket.tokens + (now - bucket.filled_at) / 3600)
    granted = tokens >= count
    ctx.set(
        "bucket", Bucket(tokens=tokens - count * granted, filled_at=now), serde=restate.serde.PydanticJsonSerde(Bucket)
    )
    return granted


# Cron: an object that sends to itself, later


@cron.handler()
async def start(ctx: restate.ObjectContext, rounds: int) -> None:
    if await ctx.get("left", type_hint=int) is not None:
        raise restate.TerminalError(f"{ctx.key()} runs already", status_code=409)
    ctx.set("left", rounds)
    ctx.object_send(tick, key=ctx.key(), arg=None, send_delay=timedelta(milliseconds=400))


@cron.handler()
async def tick(ctx: restate.ObjectContext) -> None:
    left = await ctx.get("left", type_hint=int) or 0
    await ctx.object_call(note, key=ctx.key(), arg=f"tick {left}")
    if left > 1:
        ctx.set("left", left - 1)
        ctx.object_send(tick, key=ctx.key(), arg=None, send_delay=timedelta(milliseconds=400))
    else:
        ctx.clear("left")


# Order: a state machine

NEXT = {"new": "paid", "paid": "shipped", "shipped": "delivered"}


@order.handler()
async def advance(ctx: restate.ObjectContext, to: str) -> list[str]:
    status = await ctx.get("status", type_hint=str) or "new"
    if NEXT.get(status) != to:
        raise restate.TerminalError(f"an order that is {status} cannot become {to}", status_code=409)
    ctx.set("status", to)
    return [status, to]


@order.handler(kind="shared")
async def status(ctx: restate.ObjectSharedContext) -> str:
    return await ctx.get("status", type_hint=str) or "new"


# Approval: a person decides, or time does


@approval.main(workflow_retention=timedelta(hours=1))
async def run(ctx: restate.WorkflowContext, patience: int) -> list[Any]:
    ctx.set("state", "waiting")
    decision = ctx.promise("decision", type_hint=str)
    match await restate.select(decided=decision.value(), late=ctx.sleep(timedelta(milliseconds=patience))):
        case ["decided", word]:
            result = ["decided", word]
        case _:
            result = ["timed out"]
    ctx.set("state", "over")
    return result


@approval.handler()
async def decide(ctx: restate.WorkflowSharedContext, word: str) -> str:
    try:
        await ctx.promise("decision", type_hint=str).resolve(word)
    except restate.TerminalError as error:
        return f"{error.status_code}"
    return "thanks"


@approval.handler()
async def look(ctx: restate.WorkflowSharedContext) -> list[Any]:
    return [await ctx.get("state", type_hint=str), await ctx.promise("decision", type_hint=str).peek()]


# Signup: an e-mail's link fulfils a promise; a promise that is rejected


@signup.main()
async def register(ctx: restate.WorkflowContext, email: str) -> str:
    secret = await ctx.run_typed("secret", lambda: f"secret of {ctx.key()}")
    ctx.set("email", email)
    try:
        clicked = await ctx.promise("link", type_hint=str)
    except restate.TerminalError as error:
        return f"{email} gave up: {error.status_code} {error.message}"
    if clicked != secret:
        raise restate.TerminalError("wrong link", status_code=401)
    await ctx.promise("done", type_hint=bool).resolve(True)
    return f"{email} is in"


@signup.handler()
async def click(ctx: restate.WorkflowSharedContext, secret: str) -> bool:
    """Goes to the workflow and waits for what it says."""
    await ctx.promise("link", type_hint=str).resolve(secret)
    return await ctx.promise("done", type_hint=bool).value()


@signup.handler()
async def abandon(ctx: restate.WorkflowSharedContext) -> None:
    await ctx.promise("link", type_hint=str).reject("no interest", code=499)


# Desk: workflows from a handler


@desk.handler()
async def sign_up(ctx: restate.Context, key: str) -> list[Any]:
    running = ctx.workflow_call(register, key=key, arg=f"{key}@example.com")
    clicked = await ctx.workflow_call(click, key=key, arg=f"secret of {key}")
    result = await running
    try:
        await ctx.workflow_call(register, key=key, arg="again@example.com")
        code = 0
    except restate.TerminalError as error:
        code = error.status_code
    again = await ctx.workflow_send(register, key=key, arg="again@example.com").invocation_id()
    return [clicked, result, code, again == await running.invocation_id()]


@desk.handler()
async def approve_later(ctx: restate.Context, key: str) -> list[Any]:
    """A delayed `run`, and a decision that is there before it begins."""
    handle = ctx.workflow_send(run, key=key, arg=60_000, send_delay=timedelta(seconds=3))
    before = await ctx.workflow_call(look, key=key, arg=None)
    said = [await ctx.workflow_call(decide, key, "yes"), await ctx.workflow_call(decide, key, "no")]
    result = await ctx.attach_invocation(await handle.invocation_id(), type_hint=list)
    after = await ctx.workflow_call(look, key=key, arg=None)
    return [before, said, result, after]
