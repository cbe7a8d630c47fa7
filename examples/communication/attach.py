"""Attach: wait for an invocation by its id, before, during and after it."""

from __future__ import annotations

from barnabas import Client, Context, Service
from examples.communication.seen import failure_of
from examples.communication.shop import add, pay, run

# snippet
lobby = Service("Lobby")


@lobby.handler()
async def wait_for(ctx: Context, invocation_id: str) -> str:
    return await ctx.attach_invocation(invocation_id, type_hint=str)


async def main(client: Client, name: str) -> None:
    ordered = await client.workflow_send(run, name, "Ada")
    waiting = await client.service_send(wait_for, ordered.invocation_id)  # during
    await client.workflow_call(pay, name, "receipt 7")
    assert await waiting.attach() == "Ada has paid: receipt 7"
    assert await client.service_call(wait_for, ordered.invocation_id) == "Ada has paid: receipt 7"  # after

    sent = await client.object_send(add, name, "apple", idempotency_key="once")
    assert await sent.attach() == 1
    assert await client.attach(sent.invocation_id, type_hint=int) == 1  # for 24 hours: it has an idempotency key

    unknown = f"{sent.invocation_id[:-4]}0000"
    assert (await failure_of(client.service_call(wait_for, unknown)))[0] == 404
    assert (await failure_of(client.service_call(wait_for, "nonsense")))[0] == 400


# end
