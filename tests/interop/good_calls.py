"""Somebody who calls properly while others do not: what must go on, whatever else comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx

#: One call; the machine is busy with making noise.
SLOWEST_SECONDS = 10.0


@asynccontextmanager
async def good_calls(url: str) -> AsyncIterator[Counter[str]]:
    """Calls of a service and of an object, one after the other: how many were `answered`, how many were `wrong`."""
    counted: Counter[str] = Counter()
    stopping = asyncio.Event()
    key = uuid4().hex

    async def work() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=SLOWEST_SECONDS) as client:
            while not stopping.is_set():
                number = counted["answered"] + 1
                greeting = await client.post("/Greeter/greet", json=f"N{number}")
                total = await client.post(f"/Counter/{key}/add", json=1)
                counted["wrong"] += (greeting.text, total.text) != (f'"Hello N{number}"', str(number))
                counted["answered"] += 1

    task = asyncio.create_task(work())
    try:
        yield counted
    finally:
        stopping.set()
        await task
