"""Generic calls and sends: by names and bytes, no definition needed."""

from __future__ import annotations

import json

from barnabas import Client, Context, Service

# snippet
gateway = Service("Gateway")


@gateway.handler()
async def relay(ctx: Context, name: str) -> str:
    handle = ctx.generic_send("Cart", "add", json.dumps("apple").encode(), key=name)
    await ctx.attach_invocation(await handle.invocation_id())
    listed = await ctx.generic_call("Cart", "items", b"", key=name)
    return listed.decode()


async def main(client: Client, name: str) -> None:
    assert json.loads(await client.service_call(relay, name)) == ["apple"]
    assert await client.generic_call("Greeter", "greet", b'"Ada"') == b'"Hello Ada"'


# end
