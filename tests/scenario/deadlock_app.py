"""Objects that pass a request on while they hold their keys: one kind waits for itself, the other fails instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import barnabas
from barnabas import Context, ObjectContext, Service, TerminalError, VirtualObject

patient = VirtualObject("Patient")
strict = VirtualObject("Strict", on_deadlock="fail")
between = Service("Between")


@patient.handler()
async def visit(ctx: ObjectContext, route: list[str]) -> list[str]:
    """Call the first key of the route with the rest of it; by way of a service where its name begins with `~`."""
    return await _pass_on(ctx, visit, "Patient", route)


@strict.handler(name="visit")
async def visit_strict(ctx: ObjectContext, route: list[str]) -> list[str]:
    """As a patient's, and what was cancelled or failed on the way is part of the result."""
    return await _pass_on(ctx, visit_strict, "Strict", route)


@strict.handler()
async def meet(ctx: ObjectContext, other: str) -> list[str]:
    """Hold the key for a while, then call the other one's, as that one does."""
    await ctx.sleep(timedelta(milliseconds=500))
    try:
        return await ctx.object_call(visit_strict, key=other, arg=[])
    except TerminalError as error:
        return [f"{error.status_code}: {error.message}"]


@between.handler()
async def carry(ctx: Context, route: list[str]) -> list[str]:
    """Call the patient that is first on the route."""
    return await ctx.object_call(visit, key=route[0], arg=route[1:])


async def _pass_on(ctx: ObjectContext, handler: Any, name: str, route: list[str]) -> list[str]:
    if not route:
        return [ctx.key()]
    try:
        if route[0].startswith("~"):
            rest = await ctx.service_call(carry, arg=[route[0][1:], *route[1:]])
        else:
            rest = await ctx.object_call(handler, key=route[0], arg=route[1:])
    except TerminalError as error:
        if name == "Patient":
            raise
        return [ctx.key(), f"{error.status_code}: {error.message}"]
    return [ctx.key(), *rest]


app = barnabas.app([patient, strict, between])
