"""Kill: ends an invocation and what it has called at once, without compensation, and frees their keys."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Client, ObjectContext, TerminalError, VirtualObject
from examples.communication.seen import cart_with, failure_of
from examples.communication.shop import add

# snippet
machine = VirtualObject("Machine")


@machine.handler()
async def stuck(ctx: ObjectContext, below: str | None) -> None:
    ctx.set("began", True)
    await ctx.object_call(add, ctx.key(), "began")
    try:
        if below is not None:
            await ctx.object_call(stuck, below, None)
        await ctx.sleep(timedelta(hours=1))
    except TerminalError:
        ctx.set("cleaned up", True)  # a cancel gets here, a kill does not
        raise


@machine.handler()
async def state(ctx: ObjectContext) -> list[str]:
    return await ctx.state_keys()


async def main(client: Client, name: str) -> None:
    top, below = f"{name}/top", f"{name}/below"
    sent = await client.object_send(stuck, top, below)
    await cart_with(1, client, below)
    await sent.kill()  # or: client.kill(id), barnabas invocations kill inv_...
    assert await failure_of(sent.attach()) == (409, "killed")
    assert await client.object_call(state, top, None) == ["began"]  # exclusive: both keys are free again
    assert await client.object_call(state, below, None) == ["began"]


# end
