"""Sharing a definition by a Protocol that the caller writes: no code of the callee is imported, and all is typed."""

from __future__ import annotations

from typing import Protocol

from barnabas import Client, Context, Service

# snippet
kiosk = Service("Kiosk")


class GreeterApi(Protocol):
    async def greet(self, name: str) -> str: ...


class CartApi(Protocol):
    async def add(self, item: str) -> int: ...

    async def items(self) -> list[str]: ...


@kiosk.handler()
async def buy(ctx: Context, name: str) -> list[str]:
    hello = await ctx.service_client(GreeterApi, name="Greeter").greet(name)
    again = await ctx.service_call(GreeterApi.greet, name)  # the class's name without "Api" is the service's
    ctx.object_send_client(CartApi, name, name="Cart", idempotency_key="pear").add("pear")
    await ctx.object_client(CartApi, name).add("apple")
    return [hello, again]


async def main(client: Client, name: str) -> None:
    assert await client.service_call(buy, name) == [f"Hello {name}", f"Hello {name}"]
    assert sorted(await client.object_client(CartApi, name).items()) == ["apple", "pear"]


# end
