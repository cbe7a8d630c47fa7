"""A service that tells by how much its delayed messages were late. Served by the workers of `test_delays.py`."""

from __future__ import annotations

import time

import barnabas
from barnabas import Context, ObjectContext, Service, VirtualObject

bells = Service("Bells")
lateness = VirtualObject("Lateness")


@bells.handler()
async def ring(ctx: Context, due: int) -> None:
    """`due` in ms."""
    ctx.object_send(note, "all", time.time_ns() // 1_000_000 - due)


@lateness.handler()
async def note(ctx: ObjectContext, late: int) -> None:
    ctx.set("all", [*(await ctx.get("all", type_hint=list[int]) or []), late])


@lateness.handler()
async def collected(ctx: ObjectContext) -> list[int]:
    return await ctx.get("all", type_hint=list[int]) or []


app = barnabas.app([bells, lateness])
