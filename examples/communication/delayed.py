"""Delayed messages: they join their key's queue when they are due, and can be cancelled and attached to before."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from barnabas import Client, Context, Service
from examples.communication.seen import failure_of
from examples.communication.shop import add, items

# snippet
reminders = Service("Reminders")


@reminders.handler()
async def remind(ctx: Context, name: str) -> str:
    ctx.object_send(add, name, "in a century", send_delay=timedelta(days=36_500))
    ctx.generic_send("Cart", "add", b'"second"', key=name, send_delay=timedelta(seconds=1.5))
    handle = ctx.object_send(add, name, "first", send_delay=timedelta(seconds=1))
    return await handle.invocation_id()


async def main(client: Client, name: str) -> None:
    first = await client.service_call(remind, name)
    third = await client.object_send(add, name, "third", send_delay=timedelta(seconds=2))
    assert await client.object_call(items, name, None) == []
    assert await client.attach(first, type_hint=int) == 1  # waits until it was due and has run
    assert await third.attach() == 3

    never = await client.object_send(add, name, "never", send_delay=timedelta(hours=1))
    waiting = asyncio.create_task(failure_of(never.attach()))
    await never.cancel()
    code, _ = await waiting
    assert code in (404, 409)  # 409 "cancelled" for who waits for it then; afterwards nobody knows it
    assert await client.object_call(items, name, None) == ["first", "second", "third"]


# end
