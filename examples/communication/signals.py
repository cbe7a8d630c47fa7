"""Signals: named values for one invocation, which may arrive before it waits for them."""

from __future__ import annotations

from barnabas import Client, Context, Service, TerminalError

# snippet
radio = Service("Radio")


@radio.handler()
async def listen(ctx: Context) -> list[str]:
    heard = [await ctx.signal("word", type_hint=str), await ctx.signal("word", type_hint=str)]
    try:
        await ctx.signal("end", type_hint=str)
    except TerminalError as error:
        heard.append(error.message)
    return heard


@radio.handler()
async def talk(ctx: Context, listener: str) -> None:
    ctx.resolve_signal(listener, "word", "one")
    ctx.resolve_signal(listener, "word", "two")


async def main(client: Client, name: str) -> None:
    listener = await client.service_send(listen, None)
    await client.service_call(talk, listener.invocation_id)  # from a handler
    await client.reject_signal(listener.invocation_id, "end", "over and out")  # from outside
    assert await listener.attach() == ["one", "two", "over and out"]


# end
