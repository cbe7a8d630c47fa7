"""Cancel: down the call tree to the leaves, and then the errors travel up; whoever catches one can clean up."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Client, Context, Service, TerminalError
from examples.communication.seen import cart_with, failure_of
from examples.communication.shop import add

# snippet
work = Service("Work")


@work.handler()
async def leaf(ctx: Context, name: str) -> None:
    await ctx.object_call(add, name, "leaf began")
    try:
        await ctx.sleep(timedelta(hours=1))
    except TerminalError as error:  # 409 "cancelled"
        await ctx.object_call(add, name, f"leaf {error.message}")
        raise


@work.handler()
async def root(ctx: Context, name: str) -> None:
    ctx.object_send(add, name, "sent, so it stays", send_delay=timedelta(seconds=1))
    call = ctx.service_call(leaf, name)
    try:
        await call
    except TerminalError:
        try:
            await call  # the leaf is being cancelled too: wait until it has cleaned up
        except TerminalError as error:
            await ctx.object_call(add, name, f"root heard: {error.message}")
        raise


async def main(client: Client, name: str) -> None:
    sent = await client.service_send(root, name)
    await cart_with(1, client, name)
    await sent.cancel()  # or: client.cancel(id), ctx.cancel_invocation(id), barnabas invocations cancel inv_...
    assert await failure_of(sent.attach()) == (409, "cancelled")
    seen = await cart_with(4, client, name)
    seen.remove("sent, so it stays")
    assert seen == ["leaf began", "leaf cancelled", "root heard: cancelled"]


# end
