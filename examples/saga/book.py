"""Books three trips: one works out, one finds the hotel full, one is cancelled while the customer thinks about it.

python -m examples.saga.book
"""

from __future__ import annotations

import asyncio
import os
from uuid import uuid4

import barnabas
from barnabas import Client, TerminalError
from examples.saga.app import agree, book, lines, offer


async def works_out(client: Client, name: str) -> list[str]:
    """A trip that the customer agrees to; its diary."""
    sent = await client.workflow_send(book, name, 2)
    await client.workflow_call(agree, name, None)
    await client.attach(sent.invocation_id)
    return await client.object_call(lines, name, None)


async def finds_no_room(client: Client, name: str) -> list[str]:
    """A trip that the hotel is too small for; its diary."""
    try:
        await client.workflow_call(book, name, 5)
    except TerminalError as error:
        print(f"{name}: {error.message}")
    return await client.object_call(lines, name, None)


async def is_cancelled(client: Client, name: str) -> list[str]:
    """A trip that is cancelled when everything is reserved; its diary."""
    sent = await client.workflow_send(book, name, 2)
    await client.workflow_call(offer, name, None)
    await client.cancel(sent.invocation_id)
    try:
        await client.attach(sent.invocation_id)
    except TerminalError as error:
        print(f"{name}: {error.message}")
    return await client.object_call(lines, name, None)


async def main() -> None:
    """Needs BARNABAS_KAFKA, and the app running."""
    async with barnabas.Client(os.environ["BARNABAS_KAFKA"]) as client:
        for story in (works_out, finds_no_room, is_cancelled):
            name = f"{story.__name__}-{uuid4().hex[:4]}"
            print(f"{name}: {', '.join(await story(client, name))}")


if __name__ == "__main__":
    asyncio.run(main())
