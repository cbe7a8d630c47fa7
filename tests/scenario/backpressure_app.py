"""An object whose handlers wait for a long time, or for none: what the backpressure tests serve."""

from __future__ import annotations

from datetime import timedelta

import barnabas
from barnabas import ObjectContext, VirtualObject

sleeper = VirtualObject("Sleeper")


@sleeper.handler()
async def nap(ctx: ObjectContext, seconds: float) -> float:
    """Hold the key for a while."""
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@sleeper.handler()
async def quick(ctx: ObjectContext, n: int) -> int:
    """Come back at once."""
    return n


app = barnabas.app([sleeper])
