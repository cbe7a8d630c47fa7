"""Workflows: `run` executes once per id, and the other handlers can be called before, during and after it."""

from __future__ import annotations

from barnabas import Client
from examples.communication.seen import failure_of
from examples.communication.shop import pay, run, status


# snippet
async def main(client: Client, name: str) -> None:
    assert await client.workflow_call(status, name, None) == "unknown"  # before `run`
    first = await client.workflow_send(run, name, "Ada")
    again = await client.workflow_send(run, name, "Bob")  # previously accepted: the same id, and Bob is ignored
    assert again.invocation_id == first.invocation_id

    await client.workflow_call(pay, name, "receipt 7")  # during
    assert await first.attach() == "Ada has paid: receipt 7"
    assert await client.workflow_call(status, name, None) == "paid"  # after

    assert (await failure_of(client.workflow_call(run, name, "Eve")))[0] == 409  # a call is refused


# end
