"""A ledger of what arrives by subscriptions: each object remembers what it was given, in order."""

from __future__ import annotations

import os
from typing import Any

import barnabas

ledger = barnabas.VirtualObject("Ledger")
hidden = barnabas.VirtualObject("Hidden", ingress_private=True)
inbox = barnabas.Service("Inbox")


async def _note(ctx: barnabas.ObjectContext, content: Any) -> None:
    headers = ctx.request().headers
    place = [int(headers["kafka.partition"]), int(headers["kafka.offset"])]
    seen = await ctx.get("seen", type_hint=list[Any]) or []
    ctx.set("seen", [*seen, {"place": place, "content": content, "headers": dict(headers)}])


@ledger.handler()
async def note(ctx: barnabas.ObjectContext, content: Any) -> None:
    await _note(ctx, content)


@ledger.handler()
async def note_bytes(ctx: barnabas.ObjectContext, content: bytes) -> None:
    await _note(ctx, content.hex())


@ledger.handler(kind="shared")
async def seen(ctx: barnabas.ObjectSharedContext) -> list[Any]:
    return await ctx.get("seen", type_hint=list[Any]) or []


@inbox.handler()
async def pass_on(ctx: barnabas.Context, order: dict[str, Any]) -> None:
    ctx.object_send(note, key=f"passed-{order['who']}", arg=order)


@hidden.handler()
async def keep(ctx: barnabas.ObjectContext, content: Any) -> None: ...


def by_first_letter(record: barnabas.SourceRecord) -> str:
    return str(record.content["who"])[0]


def _subscriptions() -> list[barnabas.Subscription]:
    """Of the test: `SUBSCRIBED` names the one topic that the app itself subscribes."""
    topic = os.environ.get("SUBSCRIBED")
    if topic is None:
        return []
    return [barnabas.Subscription(topic, note, key=by_first_letter, name="by-letter")]


app = barnabas.app([ledger, inbox, hidden], subscriptions=_subscriptions())
