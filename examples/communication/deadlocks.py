"""Deadlocks: a call that waits for itself over exclusive keys. It is listed, or it fails at once."""

from __future__ import annotations

from barnabas import Client, ObjectContext, VirtualObject
from examples.communication.seen import failure_of

# snippet
patient = VirtualObject("Patient")  # waits until somebody cancels it
careful = VirtualObject("Careful", on_deadlock="fail")


@patient.handler()
async def ask(ctx: ObjectContext, path: list[str]) -> str:
    """Ask the first of the path to ask the rest."""
    return await ctx.object_call(ask, path[0], path[1:]) if path else "answered"


@careful.handler("ask")
async def ask_carefully(ctx: ObjectContext, path: list[str]) -> str:
    return await ctx.object_call(ask_carefully, path[0], path[1:]) if path else "answered"


async def main(client: Client, name: str) -> None:
    a, b = f"{name}/a", f"{name}/b"
    assert await client.object_call(ask_carefully, a, [b]) == "answered"
    _, message = await failure_of(client.object_call(ask_carefully, a, [b, a]))  # a -> b -> a
    assert a in message  # it names the cycle
    assert b in message

    # `barnabas invocations deadlocks` lists this one until it is cancelled:
    waiting = await client.object_send(ask, a, [b, a])
    await waiting.cancel()
    assert await client.object_call(ask, a, [b]) == "answered"


# end
