"""Sharing a definition by a generated package: typed classes and models, and nothing of the callee's code.

The package is made first, and put where Python finds it:

    barnabas stubs examples.communication.shop:app --out build/shop-api --package shop_api
    PYTHONPATH=build/shop-api python -m examples.communication definitions_stubs
"""

from __future__ import annotations

from datetime import timedelta

import shop_api

from barnabas import Client


# snippet
async def main(client: Client, name: str) -> None:
    assert await client.service_client(shop_api.Greeter).greet("Ada") == "Hello Ada"
    sends = client.object_send_client(shop_api.CartClientSend, name, delay=timedelta(seconds=0.2))
    sent = await sends.add("apple")
    assert await sent.attach() == 1  # a type checker knows: int
    assert await client.object_client(shop_api.Cart, name).items() == ["apple"]


# end
