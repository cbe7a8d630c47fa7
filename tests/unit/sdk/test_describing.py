"""What a definition says about itself, for people and programs that do not have its code."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.sdk.describing import about_service
from barnabas.sdk.handler import decode_input, encode_output, handler_of


class Order(BaseModel):
    item: str
    count: int = 1


def test_a_service_describes_its_handlers() -> None:
    shop = Service("Shop", "Sells", {"team": "web"}, ingress_private=True, idempotency_retention=timedelta(hours=1))

    @shop.handler()
    async def buy(ctx: Context, order: Order) -> list[str]:
        """Buy one thing."""
        return [order.item]

    @shop.handler(ingress_private=False)
    async def ping(ctx: Context) -> None: ...

    about = about_service(shop)
    assert (about["description"], about["metadata"], about["public"]) == ("Sells", {"team": "web"}, False)
    handler = about["handlers"]["buy"]
    assert handler["description"] == "Buy one thing."
    assert handler["input_schema"]["required"] == ["item"]
    assert handler["output_schema"] == {"type": "array", "items": {"type": "string"}}
    assert (handler["kind"], handler["input_required"], handler["idempotency_retention"]) == (
        "service",
        True,
        3_600_000,
    )
    assert about["handlers"]["ping"]["takes_input"] is False
    assert about["handlers"]["ping"]["output_schema"] == {"type": "null"}
    assert about["handlers"]["ping"]["public"] is True
    assert json.loads(json.dumps(about)) == about


class Part(BaseModel):
    number: int = Field(alias="partNumber")


class Box(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    parts: list[Part] = Field(alias="content")


def test_schemas_name_fields_as_they_are_read_and_written() -> None:
    shop = Service("Shop")

    @shop.handler()
    async def pack(ctx: Context, box: Box) -> Box:
        return box

    handler = handler_of(pack)
    raw = b'{"content":[{"partNumber":1}]}'
    assert encode_output(handler, decode_input(handler, raw)) == b'{"content":[{"number":1}]}'
    schemas = about_service(shop)["handlers"]["pack"]
    for schema, field in (("input_schema", "partNumber"), ("output_schema", "number")):
        assert list(schemas[schema]["properties"]) == ["content"]
        assert list(schemas[schema]["$defs"]["Part"]["properties"]) == [field]


def test_bytes_have_no_json_schema_and_no_annotation_means_any_value() -> None:
    store = VirtualObject("Store")

    @store.handler(kind="shared")
    async def load(ctx: Any, name: bytes) -> bytes:
        return name

    @store.handler()
    async def save(ctx: ObjectContext, value): ...  # type: ignore[no-untyped-def]

    handlers = about_service(store)["handlers"]
    assert (handlers["load"]["raw_input"], handlers["load"]["input_schema"]) == (True, None)
    assert (handlers["load"]["accept"], handlers["load"]["content_type"]) == ("*/*", "application/octet-stream")
    assert handlers["save"]["input_schema"] == {}
