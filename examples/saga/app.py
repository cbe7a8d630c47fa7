"""A saga: a trip is a flight, a hotel and a car, and all of them or none.

    barnabas dev examples.saga.app:app
    python -m examples.saga.book        # in another shell, after the lines that `dev` prints

Each reservation is a call to a partner. Before it is made, the call that undoes it is written on a list. When the
trip ends with a terminal error, be it a partner's or that of a cancel, the list is worked off, last entry first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from pydantic import BaseModel

import barnabas
from barnabas import (
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)

trip = Workflow("Trip")
partner = VirtualObject("Partner")
diary = VirtualObject("Diary")

PARTNERS = ("airline", "hotel", "car rental")
#: How many travellers a partner takes at most.
ROOM = {"airline": 9, "hotel": 4, "car rental": 5}


class Booking(BaseModel):
    """What a partner needs to know."""

    trip: str
    travellers: int


# snippet
@trip.main()
async def book(ctx: WorkflowContext, travellers: int) -> list[str]:
    """Reserve everything, then wait until the customer agrees. The result says what was reserved."""
    booking = Booking(trip=ctx.key(), travellers=travellers)
    undo: list[Callable[[], Awaitable[object]]] = []
    try:
        for name in PARTNERS:
            # Written down first: a cancel may come while the call is on its way, or when it has done its work.
            undo.append(partial(ctx.object_call, release, name, booking))
            await ctx.object_call(reserve, name, booking)
        await ctx.promise("offer", type_hint=int).resolve(travellers)
        await ctx.promise("agreed", type_hint=bool)
    except TerminalError:
        while undo:
            await undo.pop()()
        raise
    return [f"{name} for {travellers}" for name in PARTNERS]


# end


@trip.handler()
async def agree(ctx: WorkflowSharedContext) -> None:
    """The customer takes it."""
    await ctx.promise("agreed", type_hint=bool).resolve(True)


@trip.handler()
async def offer(ctx: WorkflowSharedContext) -> int:
    """For how many travellers everything is reserved, once it is."""
    return await ctx.promise("offer", type_hint=int)


@partner.handler()
async def reserve(ctx: ObjectContext, booking: Booking) -> None:
    """Hold places for a trip. Terminal error 409 if there are not so many."""
    if booking.travellers > ROOM[ctx.key()]:
        raise TerminalError(f"the {ctx.key()} has no room for {booking.travellers}", status_code=409)
    ctx.set(booking.trip, booking.travellers)
    await ctx.object_call(write, booking.trip, f"{ctx.key()} reserved")


@partner.handler()
async def release(ctx: ObjectContext, booking: Booking) -> None:
    """Give the places back. What was never reserved needs nothing: the undo list is longer than what was done."""
    if await ctx.get(booking.trip, type_hint=int) is None:
        return
    ctx.clear(booking.trip)
    await ctx.object_call(write, booking.trip, f"{ctx.key()} released")


@diary.handler()
async def write(ctx: ObjectContext, entry: str) -> None:
    """Add a line to a trip's diary."""
    ctx.set("lines", [*(await ctx.get("lines", type_hint=list[str]) or []), entry])


@diary.handler(kind="shared")
async def lines(ctx: ObjectSharedContext) -> list[str]:
    """What the partners did for a trip, in order."""
    return await ctx.get("lines", type_hint=list[str]) or []


app = barnabas.app([trip, partner, diary])
