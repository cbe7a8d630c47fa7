"""The same services as `app`, declared with Restate's SDK: what a project that has only its client at hand would have.

No body ever runs: `restate.create_client` takes names, kinds and types from them.
"""

from __future__ import annotations

from typing import NoReturn

import pydantic
import restate
from restate import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext
from restate.serde import BytesSerde

greeter = restate.Service("Greeter")
counter = restate.VirtualObject("Counter")
trip = restate.Workflow("Trip")
private = restate.Service("Private")
nobody = restate.Service("Nobody")


class Order(pydantic.BaseModel):
    """What somebody wants."""

    item: str
    count: int = 1


class Receipt(pydantic.BaseModel):
    """What somebody gets."""

    item: str
    price: float


def _elsewhere() -> NoReturn:
    raise AssertionError("this runs on Barnabas, not here")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    _elsewhere()


@greeter.handler()
async def hello(ctx: Context) -> str:
    _elsewhere()


@greeter.handler()
async def nothing(ctx: Context, text: str) -> None:
    _elsewhere()


@greeter.handler()
async def buy(ctx: Context, order: Order) -> Receipt:
    _elsewhere()


@greeter.handler(content_type="application/octet-stream", input_serde=BytesSerde(), output_serde=BytesSerde())
async def echo(ctx: Context, content: bytes) -> bytes:
    _elsewhere()


@greeter.handler()
async def ticket(ctx: Context, text: str) -> str:
    _elsewhere()


@greeter.handler()
async def seen(ctx: Context) -> dict[str, str]:
    _elsewhere()


@greeter.handler()
async def fail(ctx: Context, code: int) -> str:
    _elsewhere()


@greeter.handler()
async def slow(ctx: Context, milliseconds: int) -> str:
    _elsewhere()


@private.handler()
async def secret(ctx: Context) -> str:
    _elsewhere()


@nobody.handler(name="greet")
async def greet_nobody(ctx: Context, name: str) -> str:
    _elsewhere()


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    _elsewhere()


@counter.handler(kind="shared")
async def total(ctx: ObjectSharedContext) -> int:
    _elsewhere()


@counter.handler()
async def wait(ctx: ObjectContext) -> str:
    _elsewhere()


@counter.handler(kind="shared")
async def waits_for(ctx: ObjectSharedContext) -> str | None:
    _elsewhere()


@trip.main()
async def run(ctx: WorkflowContext, place: str) -> str:
    _elsewhere()


@trip.handler()
async def choose(ctx: WorkflowSharedContext, seat: str) -> None:
    _elsewhere()


@trip.handler()
async def chosen(ctx: WorkflowSharedContext) -> str | None:
    _elsewhere()
