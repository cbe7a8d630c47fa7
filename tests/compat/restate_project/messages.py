"""A Restate project, first file: calls, sends, delays, idempotency keys, attach, cancel. Written for restate-sdk 1.3.0.

`tests/compat/test_restate_project.py` runs it on Barnabas after changing nothing but the line `import restate`.
"""

import json
from datetime import timedelta

import restate

ledger = restate.VirtualObject("Ledger", description="Says what happened, in order")
greeter = restate.Service("Greeter")
counter = restate.VirtualObject("Counter", enable_lazy_state=True)
front = restate.Service("Front", ingress_private=False, metadata={"team": "web"})
postman = restate.Service("Postman")
invoices = restate.Service("Invoices", idempotency_retention=timedelta(hours=1))
sleeper = restate.Service("Sleeper", inactivity_timeout=timedelta(minutes=1))
control = restate.Service("Control")


# Ledger: an append-only list per key


@ledger.handler()
async def note(ctx: restate.ObjectContext, entry: str) -> int:
    entries = await ctx.get("entries", type_hint=list) or []
    ctx.set("entries", [*entries, entry])
    return len(entries) + 1


@ledger.handler(kind="shared")
async def entries(ctx: restate.ObjectSharedContext) -> list[str]:
    return await ctx.get("entries", type_hint=list) or []


# Greeter: the callee of the others


@greeter.handler()
async def greet(ctx: restate.Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler()
async def mood(ctx: restate.Context) -> str:
    return ctx.request().headers.get("x-mood", "none")


@greeter.handler("turn-away")
async def turn_away(ctx: restate.Context, name: str) -> str:
    raise restate.TerminalError(f"{name} may not come in", status_code=403, metadata={"guest": name})


# Counter: state of a key


@counter.handler()
async def add(ctx: restate.ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    ctx.set("last", amount)
    return total


@counter.handler()
async def add_and_fail(ctx: restate.ObjectContext, amount: int) -> int:
    ctx.set("total", amount)
    raise restate.TerminalError("after the write")


@counter.handler()
async def forget(ctx: restate.ObjectContext, name: str) -> list[str]:
    ctx.clear(name)
    return sorted(await ctx.state_keys())


@counter.handler()
async def wipe(ctx: restate.ObjectContext) -> int:
    ctx.clear_all()
    return len(await ctx.state_keys())


@counter.handler(kind="shared")
async def value(ctx: restate.ObjectSharedContext) -> int:
    return await ctx.get("total", type_hint=int) or 0


@counter.handler(kind="shared")
async def names(ctx: restate.ObjectSharedContext) -> list[str]:
    return [ctx.key(), *sorted(await ctx.state_keys())]


# Front: request-response calls, generic ones too


@front.handler()
async def visit(ctx: restate.Context, name: str) -> dict[str, object]:
    hello = await ctx.service_call(greet, arg=name)
    first = await ctx.object_call(add, key=name, arg=2)
    second = await ctx.object_call(add, name, 3)
    third = await ctx.object_call(value, key=name, arg=None)
    raw = await ctx.generic_call("Counter", "add", json.dumps(10).encode(), key=name)
    mine = await ctx.service_call(mood, arg=None, headers={"x-mood": "sunny"})
    other = await ctx.service_call(mood, arg=None)
    return {"hello": hello, "counts": [first, second, third, json.loads(raw)], "moods": [mine, other]}


@front.handler()
async def be_refused(ctx: restate.Context, name: str) -> list[object]:
    try:
        await ctx.service_call(turn_away, arg=name)
    except restate.TerminalError as error:
        return [error.status_code, error.message, error.metadata]
    return []


@front.handler()
async def twice(ctx: restate.Context, key: str) -> list[bool]:
    """Two equal calls are two invocations."""
    first = ctx.object_call(note, key=key, arg="same")
    second = ctx.object_call(note, key=key, arg="same")
    await restate.gather(first, second)
    return [await first.invocation_id() == await second.invocation_id(), await first < await second]


# Postman: one-way and delayed messages


@postman.handler()
async def post(ctx: restate.Context, key: str) -> list[str]:
    ids = []
    for i in range(5):
        handle = ctx.object_send(note, key=key, arg=f"letter {i}")
        ids.append(await handle.invocation_id())
    ctx.generic_send("Ledger", "note", json.dumps("postcard").encode(), key=key)
    return ids


@postman.handler()
async def post_later(ctx: restate.Context, key: str) -> str:
    """The latest first: what counts is when each is due."""
    ctx.object_send(note, key=key, arg="third", send_delay=timedelta(milliseconds=1800))
    ctx.generic_send("Ledger", "note", b'"second"', key=key, send_delay=timedelta(milliseconds=1500))
    ctx.service_send(forward, arg=[key, "first"], send_delay=timedelta(milliseconds=300))
    return await ctx.object_send(note, key=key, arg="at once").invocation_id()


@postman.handler()
async def forward(ctx: restate.Context, letter: list[str]) -> None:
    key, text = letter
    ctx.object_send(note, key=key, arg=text)


@postman.handler()
async def call_back(ctx: restate.Context, key: str) -> None:
    """A letter that is called back before it is due."""
    handle = ctx.object_send(note, key=key, arg="called back", send_delay=timedelta(hours=1))
    await handle.cancel_invocation()
    await ctx.object_call(note, key=key, arg="instead")


# Invoices: idempotency keys and attach


@invoices.handler()
async def issue(ctx: restate.Context, customer: str) -> str:
    await ctx.object_call(note, key=customer, arg="issued")
    return f"{customer}-{ctx.uuid()}"


@invoices.handler()
async def issue_once(ctx: restate.Context, customer: str) -> bool:
    """A call, a send and an attach by one idempotency key have one result."""
    called = ctx.service_call(issue, arg=customer, idempotency_key="january")
    sent = ctx.service_send(issue, arg=customer, idempotency_key="january")
    id_ = await sent.invocation_id()
    attached = await ctx.attach_invocation(id_, type_hint=str)
    again = await ctx.generic_call("Invoices", "issue", json.dumps(customer).encode(), idempotency_key="january")
    return await called == attached == json.loads(again) and id_ == await called.invocation_id()


# Sleeper and Control: cancel


@sleeper.handler()
async def nap(ctx: restate.Context, where: list[str]) -> str:
    key, begun = where
    ctx.resolve_awakeable(begun, "asleep")
    try:
        await ctx.sleep(timedelta(hours=1))
    except restate.TerminalError as error:
        await ctx.object_call(note, key=key, arg=f"woken: {error.message}")
        raise
    return "slept"


@sleeper.handler()
async def nap_below(ctx: restate.Context, where: list[str]) -> str:
    """Sleeps in a callee: cancel goes down to it first."""
    try:
        return await ctx.service_call(nap, arg=where)
    except restate.TerminalError as error:
        ctx.object_send(note, key=where[0], arg=f"told: {error.status_code}")
        raise


@sleeper.handler()
async def doze(ctx: restate.Context, begun: str) -> str:
    """Survives a cancel: whoever catches the error may go on."""
    ctx.resolve_awakeable(begun, "dozing")
    try:
        await ctx.sleep(timedelta(hours=1), name="doze")
    except restate.TerminalError:
        return await ctx.service_call(greet, arg="anyway")
    return "slept"


@control.handler()
async def cancel_call(ctx: restate.Context, key: str) -> list[object]:
    id_, begun = ctx.awakeable(type_hint=str)
    call = ctx.service_call(nap_below, arg=[key, id_])
    await begun
    await call.cancel_invocation()
    try:
        return [await call]
    except restate.TerminalError as error:
        return [error.status_code, error.message]


@control.handler()
async def cancel_by_id(ctx: restate.Context) -> str:
    awakeable, begun = ctx.awakeable(type_hint=str)
    id_ = await ctx.service_send(doze, arg=awakeable).invocation_id()
    await begun
    ctx.cancel_invocation(id_)
    return await ctx.attach_invocation(id_, type_hint=str)


@control.handler()
async def attach_to_nobody(ctx: restate.Context, id_: str) -> int:
    try:
        await ctx.attach_invocation(id_, type_hint=str)
    except restate.TerminalError as error:
        return error.status_code
    return 0
