"""An app whose handlers take and give every kind of value that `barnabas stubs` writes out: test_client_stubs.py."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypeVar

import msgspec
import pydantic
from typing_extensions import TypedDict

import barnabas
from barnabas import Context, ObjectContext, ObjectSharedContext, WorkflowContext, WorkflowSharedContext
from barnabas.serde import AvroSerde, Serde

T = TypeVar("T")
Amount = NewType("Amount", int)
POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int"}]}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(pydantic.BaseModel):
    """One line of an order."""

    item: str
    price: Decimal
    count: int = pydantic.Field(default=1, gt=0)
    colour: Colour = Colour.RED
    parts: list[Line] = []
    note: str | None = None


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True, serialize_by_alias=True, extra="forbid")

    number: int = pydantic.Field(alias="orderNumber")
    when: datetime.datetime
    lines: list[Line]
    kind: Literal["express", "normal"] = "normal"
    tags: set[str] = pydantic.Field(default_factory=lambda: {"new"})

    @pydantic.field_validator("number")
    @classmethod
    def positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError("an order's number is positive")
        return value


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    following: str | None = None


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    city: str = "Bern"
    lines: list[str] = dataclasses.field(default_factory=list)


class Filter(TypedDict):
    text: str
    limit: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: int = 0


class Token(msgspec.Struct, tag="token", rename="camel"):
    user_name: str
    seconds: int = 60


class Reversed(Serde[str]):
    def serialize(self, obj: str | None) -> bytes:
        return (obj or "")[::-1].encode()

    def deserialize(self, buf: bytes) -> str:
        return buf.decode()[::-1]


desk = barnabas.Service("Desk", description="Takes orders.")
cart = barnabas.VirtualObject("Cart")
checkout = barnabas.Workflow("Checkout")


@desk.handler()
async def order(ctx: Context, order: Order) -> Page[Line]:
    """The lines of an order."""
    return Page[Line](items=order.lines, following=str(order.number))


@desk.handler("ship-to")
async def ship_to(ctx: Context, address: Address) -> Address:
    return address


@desk.handler()
async def search(ctx: Context, filter: Filter) -> list[Pair]:
    return [Pair(len(filter["text"]), filter.get("limit", 0))]


@desk.handler()
async def token(ctx: Context, token: Token) -> Token:
    return token


@desk.handler()
async def turn(
    ctx: Context, point: Annotated[dict[str, Any], AvroSerde(POINT)]
) -> Annotated[dict[str, Any], AvroSerde(POINT)]:
    return {"x": -point["x"], "y": -point["y"]}


@desk.handler(input_serde=Reversed(), output_serde=Reversed())
async def secret(ctx: Context, text: str) -> str:
    return text


@desk.handler()
async def raw(ctx: Context, body: bytes) -> bytes:
    return body


@desk.handler()
async def anything(ctx: Context, value=None):  # type: ignore[no-untyped-def]
    return value


@cart.handler()
async def add(ctx: ObjectContext, amount: Amount) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


@cart.handler(kind="shared")
async def total(ctx: ObjectSharedContext) -> int:
    return await ctx.get("total", type_hint=int) or 0


@checkout.main("start")
async def start(ctx: WorkflowContext, colour: Colour) -> str:
    paid = await ctx.promise("paid", type_hint=str)
    return f"{colour.value} {paid}"


@checkout.handler()
async def pay(ctx: WorkflowSharedContext, by: str) -> None:
    await ctx.promise("paid", type_hint=str).resolve(by)


app = barnabas.app([desk, cart, checkout])
