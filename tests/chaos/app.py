"""The app that the crash tests run: handlers whose state shows every gap, repeat and change of order.

Loaded by the worker processes of `processes.py`; the tests take the handlers' names from here. The *ledger* is what the
world saw: a file with a line for each execution of a step, written past all machinery, so no rollback takes it back.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

from pydantic import BaseModel

import barnabas
from barnabas import Context, ObjectContext, Service, VirtualObject

LEDGER_VARIABLE = "CHAOS_LEDGER"
SLOW_SECONDS = 0.3
STEPS = ("charge", "pack", "ship")

log = VirtualObject("Log")
account = VirtualObject("Account")
desk = Service("Desk")

_stumbled: set[str] = set()


class Move(BaseModel):
    """A transfer between two accounts."""

    source: str
    target: str
    amount: int


class Burst(BaseModel):
    """`count` appends to one log with one message of `size` bytes in their middle."""

    log: str
    count: int
    size: int


def write_ledger(step: str, id: str) -> str:
    """One line, in one write, at the end of the file."""
    ledger = os.open(os.environ[LEDGER_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{step} {id}\n".encode())
    os.close(ledger)
    return step


async def write_ledger_async(step: str, id: str) -> str:
    """The same as a coroutine: such a step runs on the loop."""
    return write_ledger(step, id)


def write_ledger_slowly(step: str, id: str) -> str:
    """A step that is at work for a while after the world has seen it."""
    write_ledger(step, id)
    time.sleep(SLOW_SECONDS)
    return step


async def write_ledger_slowly_async(step: str, id: str) -> str:
    """The same as a coroutine."""
    write_ledger(step, id)
    await asyncio.sleep(SLOW_SECONDS)
    return step


@log.handler()
async def append(ctx: ObjectContext, n: int) -> int:
    """Take the next number; what is not the next stays written down as odd. Returns how many came."""
    last = await ctx.get("last", type_hint=int) or 0
    if n != last + 1:
        odd = await ctx.get("odd", type_hint=list[list[int]]) or []
        ctx.set("odd", [*odd, [last, n]])
    ctx.set("last", n)
    count = (await ctx.get("count", type_hint=int) or 0) + 1
    ctx.set("count", count)
    return count


@log.handler()
async def forward(ctx: ObjectContext, n: int) -> int:
    """Send the number on to another key, where it must arrive once and in order."""
    ctx.object_send(append, key=copy_of(ctx.key()), arg=n)
    return n


@log.handler()
async def bulky(ctx: ObjectContext, text: str) -> int:
    """Takes what may be too large for the topic."""
    return len(text)


@account.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    """Change the balance and return it."""
    balance = (await ctx.get("balance", type_hint=int) or 0) + amount
    ctx.set("balance", balance)
    return balance


@desk.handler()
async def transfer(ctx: Context, move: Move) -> str:
    """Two calls with a pause between them: money is neither made nor lost."""
    await ctx.object_call(add, key=move.source, arg=-move.amount)
    await ctx.sleep(timedelta(milliseconds=5))
    await ctx.object_call(add, key=move.target, arg=move.amount)
    return "moved"


@desk.handler()
async def errand(ctx: Context, n: int) -> int:
    """Three steps that the world sees: one in a thread, one on the loop, one after a pause."""
    id = ctx.request().id
    write_ledger("body", id)
    await ctx.run_typed("charge", write_ledger, step="charge", id=id)
    await ctx.run_typed("pack", write_ledger_async, step="pack", id=id)
    await ctx.sleep(timedelta(milliseconds=5))
    await ctx.run_typed("ship", write_ledger, step="ship", id=id)
    return n


@desk.handler()
async def slow_errand(ctx: Context, n: int) -> int:
    """The same steps, each at work long enough for a signal to meet it."""
    id = ctx.request().id
    await ctx.run_typed("charge", write_ledger_slowly, step="charge", id=id)
    await ctx.run_typed("pack", write_ledger_slowly_async, step="pack", id=id)
    await ctx.run_typed("ship", write_ledger_slowly, step="ship", id=id)
    return n


@desk.handler()
async def stumble(ctx: Context, n: int) -> int:
    """Fails at the first attempt in each process."""
    id = ctx.request().id
    if id not in _stumbled:
        _stumbled.add(id)
        raise RuntimeError("stumbled, as it should at first")
    return n


@desk.handler()
async def burst(ctx: Context, order: Burst) -> str:
    """Appends, one message that may be refused, more appends, all in one commit; says how the message fared."""
    middle = order.count // 2
    for n in range(1, middle + 1):
        ctx.object_send(append, key=order.log, arg=n)
    call = ctx.object_call(bulky, key=order.log, arg="x" * order.size)
    for n in range(middle + 1, order.count + 1):
        ctx.object_send(append, key=order.log, arg=n)
    try:
        return f"took {await call}"
    except barnabas.TerminalError as error:
        return f"failed {error.status_code}"


def copy_of(key: str) -> str:
    """The log that `forward` of this key sends to."""
    return f"{key} copied"


app = barnabas.app([log, account, desk])
