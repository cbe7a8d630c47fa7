"""A Restate project, second file: steps, serdes, combinators, awakeables, signals, sagas. For restate-sdk 1.3.0."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pydantic
import restate

from .messages import add, greet, note

log = restate.getLogger("compat")

steps = restate.Service(
    "Steps",
    invocation_retry_policy=restate.InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=10), max_interval=timedelta(milliseconds=50), exponentiation_factor=2.0
    ),
)
dice = restate.Service("Dice")
stubborn = restate.Service("Stubborn")
codecs = restate.Service("Codecs")
combiner = restate.Service("Combiner")
chunks = restate.Service("Chunks")
mailbox = restate.VirtualObject("Mailbox")
switchboard = restate.Service("Switchboard")
booking = restate.Service("Booking")

#: How often each action ran in this process; the actions are what the world outside would see.
ran: dict[str, int] = {}


def count(name: str) -> int:
    ran[name] = ran.get(name, 0) + 1
    return ran[name]


# Steps: ctx.run and ctx.run_typed


@steps.handler()
async def several(ctx: restate.Context, name: str) -> list[Any]:
    def times(a: int, b: int) -> int:
        return a * b

    async def shout(text: str, mark: str = "!") -> str:
        return text.upper() + mark

    product = await ctx.run_typed("times", times, restate.RunOptions(), 6, b=7)
    loud = await ctx.run_typed("shout", shout, restate.RunOptions(type_hint=str), name, mark="?")
    old = await ctx.run("old style", shout, args=(name,))
    raw = await ctx.run("raw", lambda: b"\x00\xff", serde=restate.serde.BytesSerde())
    together = [ctx.run_typed(f"part {i}", times, restate.RunOptions(), i, i) for i in range(4)]
    return [product, loud, old, len(raw), [await part for part in together]]


@steps.handler()
async def third_time_lucky(ctx: restate.Context, name: str) -> int:
    def unreliable() -> int:
        if count(name) < 3:
            raise ValueError("not yet")
        return ran[name]

    return await ctx.run_typed(
        "unreliable",
        unreliable,
        restate.RunOptions(
            max_attempts=5,
            initial_retry_interval=timedelta(milliseconds=10),
            max_retry_interval=timedelta(milliseconds=20),
            retry_interval_factor=1.5,
        ),
    )


@steps.handler()
async def give_up(ctx: restate.Context, name: str) -> list[Any]:
    def hopeless() -> None:
        count(name)
        raise ValueError("out of paper")

    options: restate.RunOptions[None] = restate.RunOptions(
        max_attempts=3, max_duration=timedelta(seconds=30), initial_retry_interval=timedelta(milliseconds=10)
    )
    try:
        await ctx.run_typed("hopeless", hopeless, options)
    except restate.TerminalError as error:
        return [ran[name], "out of paper" in error.message]
    return []


@steps.handler()
async def refuse_at_once(ctx: restate.Context, name: str) -> list[Any]:
    def refused() -> None:
        count(name)
        raise restate.TerminalError("card refused", status_code=402)

    try:
        await ctx.run_typed("refused", refused)
    except restate.TerminalError as error:
        return [ran[name], error.status_code, error.message]
    return []


@steps.handler()
async def wait_as_told(ctx: restate.Context, name: str) -> int:
    def busy() -> int:
        if count(name) < 2:
            raise restate.exceptions.RetryableError("busy", status_code=503, retry_after=timedelta(milliseconds=50))
        return ran[name]

    return await ctx.run_typed("busy", busy)


# Dice: the same in every attempt


@dice.handler()
async def roll(ctx: restate.Context) -> list[Any]:
    id_ = ctx.request().id
    drawn = [ctx.random().randint(1, 1_000_000), ctx.random().random(), str(ctx.uuid()), await ctx.time()]
    if count(id_) == 1:
        first_draws[id_] = drawn
        raise ValueError("this attempt ends here")
    log.info("drew twice")
    return [first_draws[id_] == drawn, id_.startswith("inv_"), drawn]


first_draws: dict[str, list[Any]] = {}


# Stubborn: a retry policy that gives up, and context managers around every attempt


@asynccontextmanager
async def attempt() -> AsyncIterator[None]:
    count("entered")
    try:
        yield
    finally:
        count("left")


@stubborn.handler(
    invocation_retry_policy=restate.InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=10), max_attempts=3, on_max_attempts="kill"
    )
)
async def fail(ctx: restate.Context, name: str) -> None:
    count(name)
    raise ValueError("never works")


@stubborn.handler()
async def attempts(ctx: restate.Context, name: str) -> int:
    return ran.get(name, 0)


@stubborn.handler(invocation_context_managers=[attempt])
async def managed(ctx: restate.Context) -> list[int]:
    return [ran["entered"] - ran.get("left", 0), await ctx.run_typed("inside", lambda: 1)]


# Codecs: how values become bytes


class Price(pydantic.BaseModel):
    amount: int
    currency: str = "EUR"


@dataclass
class Box:
    width: float
    label: str | None = None


class Point(msgspec.Struct):
    x: int
    y: int


class Upper(restate.serde.Serde[str]):
    def deserialize(self, buf: bytes) -> str:
        return buf.decode().lower()

    def serialize(self, obj: str | None) -> bytes:
        return (obj or "").upper().encode()


@codecs.handler()
async def double(ctx: restate.Context, price: Price) -> Price:
    kept = await ctx.run_typed("price", lambda: price, restate.RunOptions(type_hint=Price))
    return Price(amount=kept.amount * 2, currency=kept.currency)


@codecs.handler()
async def widen(ctx: restate.Context, box: Box) -> Box:
    return Box(box.width + 1, box.label)


@codecs.handler()
async def mirror(ctx: restate.Context, point: Point) -> Point:
    return Point(point.y, point.x)


@codecs.handler(accept="*/*", content_type="application/octet-stream")
async def digest(ctx: restate.Context, body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@codecs.handler(input_serde=restate.serde.BytesSerde(), output_serde=Upper())
async def spell(ctx: restate.Context, body: bytes) -> str:
    return body.decode()


@codecs.handler()
async def all_of_them(ctx: restate.Context, name: str) -> list[Any]:
    price = await ctx.service_call(double, arg=Price(amount=21))
    box = await ctx.service_call(widen, arg=Box(1.5, name))
    point = await ctx.service_call(mirror, arg=Point(1, 2))
    digested = await ctx.service_call(digest, arg=name.encode())
    spelt = await ctx.service_call(spell, arg=name.encode())
    return [price.amount, price.currency, box.width, box.label, point.x, point.y, len(digested), spelt]


# Combiner: gather, select, as_completed, wait_completed


@combiner.handler()
async def together(ctx: restate.Context, key: str) -> list[Any]:
    hello = ctx.service_call(greet, arg=key)
    total = ctx.object_call(add, key=key, arg=5)
    step = ctx.run_typed("step", lambda: "done")
    futures = await restate.gather(hello, total, step, ctx.sleep(timedelta(milliseconds=20)))
    return [await future for future in futures]


@combiner.handler()
async def first_of(ctx: restate.Context, key: str) -> list[Any]:
    match await restate.select(slow=ctx.sleep(timedelta(hours=1)), fast=ctx.service_call(greet, arg=key)):
        case ["fast", hello]:
            return ["fast", hello]
        case [who, _]:
            return [who]
    return []


@combiner.handler()
async def in_time(ctx: restate.Context, key: str) -> str:
    """A call with a time limit, and the call is cancelled when it is over."""
    id_, answer = ctx.awakeable(type_hint=str)
    who, _ = await restate.select(answer=answer, late=ctx.sleep(timedelta(milliseconds=100)))
    ctx.resolve_awakeable(id_, "too late")
    return f"{who}, then {await answer}"


@combiner.handler()
async def as_they_come(ctx: restate.Context, delays: list[int]) -> list[int]:
    sleeps = {ctx.sleep(timedelta(milliseconds=delay)): delay for delay in delays}
    return [sleeps[future] async for future in restate.as_completed(*sleeps)]


@combiner.handler()
async def some_of(ctx: restate.Context) -> list[int]:
    soon = ctx.sleep(timedelta(milliseconds=20))
    late = ctx.sleep(timedelta(hours=1))
    done, waiting = await restate.wait_completed(late, soon)
    return [len(done), len(waiting), int(done[0] is soon), int(waiting[0] is late)]


# Chunks: fan-out and fan-in


@chunks.handler()
async def count_words(ctx: restate.Context, text: str) -> int:
    return len(text.split())


@chunks.handler()
async def count_all(ctx: restate.Context, texts: list[str]) -> int:
    calls = [ctx.service_call(count_words, arg=text) for text in texts]
    return sum([await done for done in await restate.gather(*calls)])


# Mailbox: awakeables


@mailbox.handler()
async def wait_for_mail(ctx: restate.ObjectContext, tell: str) -> str:
    id_, mail = ctx.awakeable(type_hint=str)
    await ctx.object_call(note, key=tell, arg=id_)
    try:
        return f"got {await mail}"
    except restate.TerminalError as error:
        return f"{error.status_code} {error.message}"


@mailbox.handler(kind="shared")
async def deliver(ctx: restate.ObjectSharedContext, mail: list[str]) -> None:
    id_, text = mail
    ctx.resolve_awakeable(id_, text)
    ctx.resolve_awakeable(id_, "a second answer does not count")


@mailbox.handler(kind="shared")
async def send_back(ctx: restate.ObjectSharedContext, id_: str) -> None:
    ctx.reject_awakeable(id_, "address unknown", failure_code=410)


# Switchboard: signals to an invocation


@switchboard.handler()
async def listen(ctx: restate.Context) -> list[str]:
    heard = [await ctx.signal("word", type_hint=str), await ctx.signal("word", type_hint=str)]
    try:
        await ctx.signal("end", type_hint=str)
    except restate.TerminalError as error:
        heard.append(f"{error.status_code} {error.message}")
    return heard


@switchboard.handler()
async def connect(ctx: restate.Context) -> list[str]:
    id_ = await ctx.service_send(listen, arg=None).invocation_id()
    ctx.resolve_signal(id_, "word", "one")
    ctx.resolve_signal(id_, "word", "two")
    ctx.reject_signal(id_, "end", "hung up", failure_code=418)
    return await ctx.attach_invocation(id_, type_hint=list)


# Booking: a saga. What was done is undone in reverse order, on a terminal error and on cancel.


@booking.handler()
async def book(ctx: restate.Context, trip: dict[str, str]) -> str:
    key, fails = trip["key"], trip.get("fails", "")
    undo: list[Callable[[], Any]] = []
    try:
        for part in ("flight", "car", "hotel"):
            undo.append(partial(ctx.object_call, note, key=key, arg=f"cancel {part}"))
            await ctx.object_call(note, key=key, arg=f"book {part}")
            if fails == part:
                raise restate.TerminalError(f"no {part} left", status_code=409)
        if fails == "never ends":
            await ctx.sleep(timedelta(hours=1))
        return "booked"
    except restate.TerminalError:
        for compensation in reversed(undo):
            await compensation()
        raise
