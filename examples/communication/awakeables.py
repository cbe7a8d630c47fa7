"""Awakeables: a handler waits for something from outside, by an id that it gives away."""

from __future__ import annotations

from barnabas import Client, Context, Service, TerminalError
from examples.communication.seen import cart_with
from examples.communication.shop import add

# snippet
review = Service("Review")


@review.handler()
async def ask_person(ctx: Context, name: str) -> str:
    awakeable_id, answer = ctx.awakeable(type_hint=str)
    await ctx.object_call(add, name, awakeable_id)  # an e-mail with a link, say
    try:
        return f"they said {await answer}"
    except TerminalError as error:
        return f"{error.status_code}: {error.message}"


@review.handler()
async def answer(ctx: Context, awakeable_id: str) -> None:
    ctx.resolve_awakeable(awakeable_id, "yes")


async def main(client: Client, name: str) -> None:
    asked = await client.service_send(ask_person, name)
    (awakeable_id,) = await cart_with(1, client, name)
    await client.service_call(answer, awakeable_id)  # from a handler
    await client.resolve_awakeable(awakeable_id, "no")  # from outside; too late, the first one counts
    assert await asked.attach() == "they said yes"

    asked = await client.service_send(ask_person, f"{name} too")
    (awakeable_id,) = await cart_with(1, client, f"{name} too")
    await client.reject_awakeable(awakeable_id, "nobody at home", 410)
    assert await asked.attach() == "410: nobody at home"


# end
