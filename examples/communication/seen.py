"""What the examples look at: how a request failed, and what is in a cart once so much is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from barnabas import Client, TerminalError
from examples.communication.shop import items


async def failure_of(request: Awaitable[object]) -> tuple[int, str]:
    """Code and message of the terminal error that the request ends with. Raises AssertionError if there is none."""
    try:
        result = await request
    except TerminalError as error:
        return error.status_code, error.message
    raise AssertionError(f"the request succeeded, with {result!r}")


async def cart_with(count: int, client: Client, name: str) -> list[str]:
    """The cart of that name, once it holds so many items."""
    while True:
        found = await client.object_call(items, name, None)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)
