"""The no-op handler for Restate's side of `bench.http`, as Restate's SDK has it; served by hypercorn."""

from __future__ import annotations

import restate
from restate import Context

nothing = restate.Service("Nothing")


@nothing.handler()
async def noop(ctx: Context) -> None:
    """The least that an invocation can be."""


app = restate.app([nothing])
