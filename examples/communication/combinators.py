"""Combinators over durable futures: all of them, the first, as they come, and a time limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import barnabas
from barnabas import Client, Context, DurableFuture, Service
from examples.communication.shop import greet

# snippet
party = Service("Party")


@party.handler()
async def greet_all(ctx: Context, names: list[str]) -> list[str]:
    calls = [ctx.service_call(greet, name) for name in names]  # all under way
    return [await done for done in await barnabas.gather(*calls)]


@party.handler()
async def first_of(ctx: Context, name: str) -> str:
    match await barnabas.select(hello=ctx.service_call(greet, name), late=ctx.sleep(timedelta(seconds=30))):
        case ["hello", hello]:
            return str(hello)
        case _:
            return "too late"


@party.handler()
async def as_they_come(ctx: Context, milliseconds: list[int]) -> list[int]:
    sleeps: dict[DurableFuture[Any], int] = {ctx.sleep(timedelta(milliseconds=one)): one for one in milliseconds}
    return [sleeps[done] async for done in barnabas.as_completed(*sleeps)]


@party.handler()
async def some(ctx: Context) -> list[int]:
    soon, late = ctx.sleep(timedelta(milliseconds=50)), ctx.sleep(timedelta(hours=1))
    done, waiting = await barnabas.wait_completed(soon, late)
    return [len(done), len(waiting)]


async def main(client: Client, name: str) -> None:
    assert await client.service_call(greet_all, ["Ada", "Bob"]) == ["Hello Ada", "Hello Bob"]
    assert await client.service_call(first_of, name) == f"Hello {name}"
    assert await client.service_call(as_they_come, [700, 100, 400]) == [100, 400, 700]
    assert await client.service_call(some, None) == [1, 1]


# end
