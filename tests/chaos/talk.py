"""The app of the tests about messages between handlers: each handler stands for one thing that can go wrong.

Loaded by worker processes, several versions of it too: `TALK_VERSION` names what another deployment has changed. The
ledger is that of `app.py`: a line for everything that the world saw, `name invocation-id`.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import barnabas
from barnabas import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    RunOptions,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)
from barnabas.sdk.serde import BytesSerde
from tests.chaos.app import write_ledger

VERSION = os.environ.get("TALK_VERSION", "")
RETENTION = timedelta(milliseconds=300)
LARGE = 2_000_000
#: Attempts of `failing`, and of `dying`, until they are given up.
ATTEMPTS = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.8

talk = Service("Talk")
once = VirtualObject("Once")
brief = VirtualObject("Brief", idempotency_retention=RETENTION)
deal = Workflow("Deal")
brief_deal = Workflow("BriefDeal", workflow_retention=RETENTION)


def now_in_ledger(name: str, id: str) -> str:
    """A line with the time in it."""
    return write_ledger(f"{name}@{time.time():.3f}", id)


# -- requests that come several times


@once.handler()
async def take(ctx: ObjectContext, arg: Any) -> Any:
    """Executed once a request: a step shows how often that was."""
    await ctx.run_typed("take", write_ledger, step="take", id=ctx.request().id)
    return arg


@once.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    """Changes the state, and nothing else."""
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


@brief.handler(name="take")
async def take_briefly(ctx: ObjectContext, arg: Any) -> Any:
    """As `take`, with results that are not kept for long."""
    await ctx.run_typed("take", write_ledger, step="take", id=ctx.request().id)
    return arg


@brief.handler()
async def fill(ctx: ObjectContext, ms: int) -> None:
    """Takes its time."""
    time.sleep(ms / 1000)  # noqa: ASYNC251 - what lies behind in the topic is to become old


@talk.handler()
async def echo(ctx: Context, arg: Any) -> Any:
    """Answers at once."""
    return arg


@talk.handler()
async def counted(ctx: Context, arg: Any) -> Any:
    """Answers, and shows how often."""
    await ctx.run_typed("counted", write_ledger, step="counted", id=ctx.request().id)
    return arg


# -- waiting


@talk.handler()
async def linger(ctx: Context, ms: int) -> str:
    """Waits for a while."""
    await ctx.sleep(timedelta(milliseconds=ms))
    return "done"


@talk.handler()
async def later(ctx: Context, ms: int) -> str:
    """The answer of a message that is delayed."""
    sent = ctx.service_send(echo, "late", send_delay=timedelta(milliseconds=ms))
    return await ctx.attach_invocation(await sent.invocation_id(), type_hint=str)


@talk.handler()
async def wait_for_value(ctx: Context, ms: int) -> Any:
    """The value of its one awakeable, which is at position 1, or "timeout"."""
    _, value = ctx.awakeable(type_hint=Any)
    sleep = ctx.sleep(timedelta(milliseconds=ms))
    done, _ = await barnabas.wait_completed(value, sleep)
    return await value if value in done else "timeout"


@talk.handler()
async def wait_for_signal(ctx: Context, ms: int) -> Any:
    """The value of the signal "go", or "timeout"."""
    value = ctx.signal("go", type_hint=Any)
    sleep = ctx.sleep(timedelta(milliseconds=ms))
    done, _ = await barnabas.wait_completed(value, sleep)
    return await value if value in done else "timeout"


@talk.handler()
async def wait_for_ever(ctx: Context, arg: Any) -> Any:
    """The value of its one awakeable."""
    _, value = ctx.awakeable(type_hint=Any)
    return await value


@talk.handler()
async def follow(ctx: Context, invocation_id: str) -> Any:
    """The outcome of another invocation, as [value] or [code, message]."""
    try:
        return [await ctx.attach_invocation(invocation_id)]
    except TerminalError as error:
        return [error.status_code, error.message]


@once.handler()
async def hold(ctx: ObjectContext, ms: int) -> str:
    """Holds its key for a while."""
    await ctx.sleep(timedelta(milliseconds=ms))
    return "held"


@once.handler()
async def slow_with_call(ctx: ObjectContext, other: str) -> int:
    """Calls another key of its own partition, and is slow about it."""
    await ctx.sleep(timedelta(milliseconds=1))
    return await ctx.object_call(add, key=other, arg=1)


# -- cancel, with compensation


@talk.handler()
async def trip(ctx: Context, ms: int) -> str:
    """A step, a wait, and the compensation of the step when that ends badly."""
    id = ctx.request().id
    await ctx.run_typed("book", write_ledger, step="book", id=id)
    try:
        await ctx.sleep(timedelta(milliseconds=ms))
    except TerminalError:
        await ctx.run_typed("undo", write_ledger, step="undo", id=id)
        raise
    return "travelled"


@talk.handler()
async def parent(ctx: Context, ms: int) -> list[str]:
    """Two calls at the same time, one of which has a child of its own; a send that is nobody's child."""
    id = ctx.request().id
    ctx.service_send(counted, "sent")
    try:
        both = await barnabas.gather(ctx.service_call(child, ms), ctx.service_call(trip, ms))
        return [await one for one in both]
    except TerminalError:
        await ctx.run_typed("undo parent", write_ledger, step="undo-parent", id=id)
        raise


@talk.handler()
async def child(ctx: Context, ms: int) -> str:
    """One level more."""
    id = ctx.request().id
    try:
        return await ctx.service_call(trip, ms)
    except TerminalError:
        await ctx.run_typed("undo child", write_ledger, step="undo-child", id=id)
        raise


@talk.handler()
async def stubborn(ctx: Context, ms: int) -> str:
    """Takes a cancellation, and goes on to its end."""
    try:
        await ctx.sleep(timedelta(milliseconds=ms))
    except TerminalError as error:
        await ctx.sleep(timedelta(milliseconds=1))
        return f"went on after {error.status_code}"
    return "was not cancelled"


# -- what fails


@once.handler(
    invocation_retry_policy=InvocationRetryPolicy(
        timedelta(seconds=FIRST_PAUSE), 2.0, timedelta(seconds=LONGEST_PAUSE), ATTEMPTS, "pause"
    )
)
async def failing(ctx: ObjectContext, arg: str) -> str:
    """Its step fails in every attempt, unless this deployment has mended it."""
    id = ctx.request().id

    def attempt() -> str:
        now_in_ledger("attempt", id)
        if VERSION != "mended":
            raise RuntimeError("transient, for ever")
        return "mended"

    try:
        return await ctx.run_typed("flaky", attempt)
    except TerminalError as error:
        write_ledger(f"ended-{error.status_code}", id)
        raise


@once.handler(
    invocation_retry_policy=InvocationRetryPolicy(
        timedelta(seconds=FIRST_PAUSE), 2.0, timedelta(seconds=LONGEST_PAUSE), ATTEMPTS, "pause"
    )
)
async def crashing(ctx: ObjectContext, arg: str) -> str:
    """Its body fails in every attempt."""
    now_in_ledger("attempt", ctx.request().id)
    raise RuntimeError("transient, for ever")


@once.handler(
    invocation_retry_policy=InvocationRetryPolicy(
        timedelta(milliseconds=5), 2.0, timedelta(milliseconds=20), ATTEMPTS, "kill"
    )
)
async def dying(ctx: ObjectContext, arg: str) -> str:
    """As `crashing`, with an end."""
    now_in_ledger("attempt", ctx.request().id)
    raise RuntimeError("transient, for ever")


@talk.handler()
async def block(ctx: Context, seconds: float) -> str:
    """Stops the event loop of its process, once: another process does not."""
    id = ctx.request().id
    write_ledger("blocked", id)
    if os.environ.get("TALK_BLOCKS"):
        time.sleep(seconds)  # noqa: ASYNC251 - that is what this is for
    await ctx.run_typed("after", write_ledger, step="after", id=id)
    return str(os.getpid())


@talk.handler()
async def swallow(ctx: Context, as_task: bool) -> Any:
    """Goes on whatever is raised in its wait, and does what nobody must ever see."""
    id = ctx.request().id
    if as_task:
        await asyncio.sleep(0)
    _, value = ctx.awakeable(type_hint=Any)
    for _ in range(3):
        try:
            return await value
        except TerminalError as error:
            return f"terminal {error.status_code}"
        except BaseException:
            try:
                ctx.object_send(add, key="swallowed", arg=1)
                write_ledger("sent-anyway", id)
            except BaseException:
                pass
    return "swallowed everything"


# -- deployments


@talk.handler()
async def changing(ctx: Context, arg: str) -> list[str]:
    """Waits in the middle; what it does before and after depends on the version that is deployed."""
    id = ctx.request().id
    done = []

    async def step(name: str) -> None:
        done.append(await ctx.run_typed(name, write_ledger, step=name, id=id))

    before = {"added": ["zero", "one", "two"], "removed": ["one"], "reordered": ["two", "one"], "renamed": ["one", "2"]}
    for name in before.get(VERSION, ["one", "two"]):
        await step(name)
    value = ctx.signal("go", type_hint=Any)
    done.append(await value)
    await step("three")
    ctx.object_send(add, key="changing", arg=1)
    return done


@talk.handler()
async def call_late(ctx: Context, how: str) -> Any:
    """Calls, or sends to, what only a later deployment has."""
    service, _, handler = ("Late/hello" if how != "handler" else "Talk/added_later").partition("/")
    if how == "send":
        ctx.generic_send(service, handler, b'"sent"')
        return "sent"
    return (await ctx.generic_call(service, handler, b'"called"')).decode()


late = Service("Late")


@late.handler()
async def hello(ctx: Context, arg: str) -> str:
    """Is there from version "late" on."""
    await ctx.run_typed("hello", write_ledger, step="hello", id=ctx.request().id)
    return f"hello {arg}"


if VERSION == "late":

    @talk.handler()
    async def added_later(ctx: Context, arg: str) -> str:
        """Is there from version "late" on."""
        await ctx.run_typed("added", write_ledger, step="added", id=ctx.request().id)
        return f"added {arg}"


# -- what is too large, and what nobody can write down


@once.handler(output_serde=BytesSerde())
async def large_result(ctx: ObjectContext, size: int) -> bytes:
    """A result of that size."""
    return b'"' + b"x" * (size - 2) + b'"'


@once.handler()
async def large_things(ctx: ObjectContext, what: str) -> str:
    """Each of these is refused, where it is made and with a terminal error."""
    if what == "failure":
        raise TerminalError("x" * LARGE, metadata={"a": "x" * LARGE})
    try:
        await _large(ctx, what)
    except TerminalError as error:
        return f"refused {error.status_code}"
    return "not refused"


async def _large(ctx: ObjectContext, what: str) -> None:
    text = "x" * LARGE
    match what:
        case "call":
            await ctx.object_call(take, key="large", arg=text)
        case "send":
            ctx.object_send(take, key="large", arg=text)
        case "delayed":
            ctx.object_send(take, key="large", arg=text, send_delay=timedelta(milliseconds=1))
        case "headers":
            await ctx.object_call(take, key="large", arg=1, headers={"a": text})
        case "key":
            await ctx.object_call(take, key=text, arg=1)
        case "idempotency key":
            await ctx.object_call(take, key="large", arg=1, idempotency_key=text)
        case "awakeable":
            id, value = ctx.awakeable()
            ctx.resolve_awakeable(id, text)
            await value
        case "signal":
            ctx.resolve_signal(ctx.request().id, "go", text)
            await ctx.signal("go", type_hint=str)
        case "signal name":
            ctx.resolve_signal(ctx.request().id, text, 1)
        case "state":
            ctx.set("large", text)
        case "step":
            await ctx.run_typed("large", lambda: text)


class Hostile(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise ValueError("no text for you")


class Base(BaseException):
    """Not even an Exception."""


UNWRITABLE: dict[str, Callable[[], Any]] = {
    "object": lambda: object(),
    "set": lambda: {object()},
    "nan": lambda: math.nan,
    "infinity": lambda: [math.inf],
    "surrogate": lambda: "\ud800",
    "surrogate key": lambda: {"\ud800": 1},
    "deep": lambda: _deep(100_000),
    "50 MB": lambda: "x" * 50_000_000,
    "bytes": lambda: {"a": b"\xff"},
    "cycle": lambda: _cycle(),
}

QUICKLY = InvocationRetryPolicy(timedelta(milliseconds=5), 2.0, timedelta(milliseconds=20), 4, "kill")


def _deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@once.handler(invocation_retry_policy=QUICKLY)
async def unwritable(ctx: ObjectContext, what: str) -> Any:
    """A result that has no form in JSON."""
    return UNWRITABLE[what]()


@once.handler(invocation_retry_policy=QUICKLY)
async def hostile(ctx: ObjectContext, what: str) -> Any:
    """Raises, or does, what no handler should."""
    match what:
        case "base exception":
            raise Base("not an Exception")
        case "hostile text":
            raise Hostile
        case "surrogate message":
            raise TerminalError("\ud800", metadata={"\ud800": "\udfff"})
        case "generator exit":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "stop iteration":
            raise StopIteration(7)
        case "surrogate state":
            ctx.set("\ud800", 1)
        case "surrogate value":
            ctx.set("value", "\ud800")
        case "surrogate key":
            await ctx.object_call(take, key="\ud800", arg=1)
        case "step":
            await ctx.run_typed("unwritable", object)
        case "step base exception":
            await ctx.run_typed("base", _raise_base)
        case "recursion":
            return _recurse(1)
        case "odd code":
            raise TerminalError("odd", status_code=7)
        case "odd metadata":
            raise TerminalError("odd", metadata={1: object()})  # type: ignore[dict-item]
    return "survived"


def _raise_base() -> None:
    raise Base("in a step")


def _recurse(n: int) -> int:
    return _recurse(n + 1)


# -- replay


@talk.handler()
async def draw(ctx: Context, arg: str) -> list[Any]:
    """Calls with an argument that another run would choose otherwise: question and answer must belong together."""
    number = await ctx.run_typed("draw", random.random)
    first = await ctx.service_call(echo, number)
    second = await ctx.object_call(take, key=f"draw {number}", arg=[number, arg], idempotency_key=arg)
    return [number, first, second]


def jittered(n: int) -> int:
    """A number that nobody can foresee."""
    return random.randrange(n)


@talk.handler()
async def combine(ctx: Context, seed: int) -> list[Any]:
    """All combinators over calls and sleeps whose order nobody can foresee; every attempt must see the same one.

    Each attempt writes down what it sees, in the ledger, as far as it gets.
    """
    id = ctx.request().id
    seen: list[Any] = []

    def see(what: Any) -> None:
        seen.append(what)
        write_ledger(f"saw-{len(seen)}-{str(what).replace(' ', '')}", id)

    names = {f"{name}{seed}" for name in ("charge", "email", "ship", "refund", "pack", "weigh")}
    for round_ in range(3):
        calls = {name: ctx.service_call(sometime, name) for name in sorted(names)}
        sleeps = [ctx.sleep(timedelta(milliseconds=(seed * 7 + n * 3 + round_) % 17)) for n in range(4)]
        which, value = await barnabas.select(a=calls[f"charge{seed}"], b=calls[f"email{seed}"], c=sleeps[0])
        see([which, value])
        done, pending = await barnabas.wait_completed(*calls.values(), *sleeps)
        see([len(done), len(pending)])
        order: list[Any] = list(calls.values())
        async for one in barnabas.as_completed(*order):
            see([order.index(one), await one])
        see([await one for one in await barnabas.gather(*sleeps, *calls.values())])
    see(str(ctx.uuid()))
    see(ctx.random().random())
    return seen


@talk.handler()
async def sometime(ctx: Context, name: str) -> str:
    """Answers at a moment that nobody can foresee."""
    ms = await ctx.run_typed("jitter", jittered, RunOptions(), 12)
    await ctx.sleep(timedelta(milliseconds=ms))
    return name


@once.handler()
async def steps(ctx: ObjectContext, what: list[Any]) -> int:
    """So many steps in a row; with a write before each, if the second value says so."""
    count, writes = what
    for n in range(count):
        if writes:
            ctx.set("at", n)
        await ctx.run_typed("step", abs, RunOptions(type_hint=int), -n)
    return count


# -- everything together, for kills


@talk.handler()
async def ask_back(ctx: Context, n: int) -> int:
    """An awakeable that another handler resolves, twice."""
    id, value = ctx.awakeable(type_hint=int)
    ctx.service_send(answer, [id, n])
    return await value


@talk.handler()
async def answer(ctx: Context, what: list[Any]) -> None:
    """Resolves an awakeable; the second value comes too late."""
    ctx.resolve_awakeable(what[0], what[1])
    await ctx.sleep(timedelta(milliseconds=2))
    ctx.resolve_awakeable(what[0], -1)


@talk.handler()
async def repeat(ctx: Context, n: int) -> list[int]:
    """One request three times, by call and send and attach: one execution."""
    key = f"repeat {n}"
    handle = ctx.object_send(add, key=key, arg=1, idempotency_key="k")
    first = await ctx.object_call(add, key=key, arg=1, idempotency_key="k")
    second = await ctx.object_call(add, key=key, arg=5, idempotency_key="k")
    third = await ctx.attach_invocation(await handle.invocation_id(), type_hint=int)
    return [first, second, third]


@talk.handler()
async def regret(ctx: Context, n: int) -> list[Any]:
    """A call that is cancelled while it runs, and a send that is cancelled too; both compensate."""
    call = ctx.service_call(trip, 60_000)
    sent = ctx.service_send(trip, 60_000)
    await ctx.sleep(timedelta(milliseconds=n % 7))
    await call.cancel_invocation()
    ctx.cancel_invocation(await sent.invocation_id())
    found: list[Any] = []
    for future in (call, ctx.attach_invocation(await sent.invocation_id(), type_hint=str)):
        try:
            found.append(await future)
        except TerminalError as error:
            found.append(error.status_code)
    return found


@deal.main()
async def run(ctx: WorkflowContext, n: int) -> list[Any]:
    """Waits for a promise that another handler of its key completes."""
    ctx.set("stage", "open")
    value = await ctx.promise("offer", type_hint=int)
    await ctx.run_typed("deal", write_ledger, step="deal", id=ctx.request().id)
    ctx.set("stage", "closed")
    return [n, value]


@deal.handler()
async def offer(ctx: WorkflowSharedContext, n: int) -> bool:
    """The first offer is taken."""
    try:
        await ctx.promise("offer", type_hint=int).resolve(n)
    except TerminalError:
        return False
    return True


@talk.handler()
async def close_deal(ctx: Context, n: int) -> list[Any]:
    """Submits a workflow, makes it two offers, gets its result."""
    key = f"deal {n}"
    call = ctx.workflow_call(run, key, n)
    taken = [await ctx.workflow_call(offer, key, n + extra) for extra in (1, 2)]
    return [taken, await call]


@brief_deal.main(name="run")
async def run_briefly(ctx: WorkflowContext, n: int) -> int:
    """A workflow that is soon forgotten."""
    ctx.set("n", n)
    await ctx.run_typed("take", write_ledger, step="take", id=ctx.request().id)
    return n


SERVICES: list[Service | VirtualObject | Workflow] = [talk, once, brief, deal, brief_deal]
if VERSION == "late":
    SERVICES.append(late)
app = barnabas.app(SERVICES)
#: For a member that is to get shards of this service, and no others.
talk_alone = barnabas.app([talk])
