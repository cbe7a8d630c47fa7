"""A caller of shop_app.py that has its generated stubs and nothing else.

test_client_stubs.py runs it in a process of its own, and has type checkers read it; comments to ignore say where each
must find a mistake.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
from datetime import timedelta
from decimal import Decimal
from typing import assert_type

import pytest
import shop_api
from shop_api import models

import barnabas


async def main() -> None:
    async with barnabas.Client() as client:
        await orders(client)
        await carts(client)
        await checkouts(client)
    print("done")  # noqa: T201


async def orders(client: barnabas.Client) -> None:
    desk = client.service_client(shop_api.Desk)
    line = models.Line(item="pen", price=Decimal("1.50"), colour=models.Colour.BLUE)
    wanted = models.Order(number=7, when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), lines=[line], tags={"old"})
    page = await desk.order(wanted)
    assert_type(page, models.Page_Line)
    assert (page.items, page.following) == ([line], "7")
    assert await client.service_call(shop_api.Desk.order, wanted) == page

    address = models.Address(street="Main")
    assert_type(await desk.ship_to(address), models.Address)
    assert await desk.ship_to(address) == models.Address("Main", "Bern", [])
    assert_type(await desk.search({"text": "abc"}), list[models.Pair])
    assert await desk.search({"text": "abc", "limit": 2}) == [models.Pair(3, 2)]
    token = await desk.token(models.Token(user_name="ada"))
    assert (token.user_name, token.seconds) == ("ada", 60)
    assert await desk.turn({"x": 1, "y": -2}) == {"x": -1, "y": 2}
    assert await desk.secret(b"cba") == b"cba"
    assert await desk.raw(b"\xff") == b"\xff"
    assert await desk.anything({"a": 1}) == {"a": 1}
    assert await desk.anything() is None
    with pytest.raises(barnabas.TerminalError, match="orderNumber") as refused:  # the app's own checks are the app's
        await desk.order(wanted.model_copy(update={"number": 0}))
    assert refused.value.status_code == 400


async def carts(client: barnabas.Client) -> None:
    cart = client.object_client(shop_api.Cart, "Mary")
    assert_type(await cart.add(2), int)
    once = client.object_send_client(shop_api.CartClientSend, "Mary", idempotency_key="k")
    sent = await once.add(40)
    assert_type(sent, barnabas.Sent[int])
    assert await sent.attach(timeout=30) == 42
    assert (await once.add(40)).invocation_id == sent.invocation_id
    assert await cart.total() == 42


async def checkouts(client: barnabas.Client) -> None:
    sent = await client.workflow_send_client(shop_api.CheckoutClientSend, "c1").start(models.Colour.RED)
    await client.workflow_client(shop_api.Checkout, "c1").pay("card")
    assert await sent.attach(timeout=30) == "red card"
    assert await client.workflow_attach(shop_api.Checkout.start, "c1", timeout=30) == "red card"


async def in_a_handler(ctx: barnabas.Context) -> None:
    assert_type(ctx.service_call(shop_api.Desk.raw, b""), barnabas.DurableCallFuture[bytes])
    assert_type(ctx.object_send_client(shop_api.CartSend, "a", delay=timedelta(1)).add(1), barnabas.SendHandle)


async def mistakes(client: barnabas.Client, ctx: barnabas.Context) -> None:
    await client.service_client(shop_api.Desk).raw("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.object_call(shop_api.Cart.add, "a", "b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ctx.object_send_client(shop_api.CartSend, "a").add("b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    assert importlib.util.find_spec("tests") is None, "the app must be out of reach"
    asyncio.run(main())
