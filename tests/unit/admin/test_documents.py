"""OpenAPI documents of the ingress, from what services say about themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import barnabas
from barnabas.ingress.admin.documents import ingress_document, service_document
from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.describing import about_service
from barnabas.store.port import Service
from tests.integration.admin_app import cart, desk, hidden, order


def registered(definition: ServiceDefinition) -> Service:
    """As a worker registers it."""
    kinds = {name: handler.kind or "service" for name, handler in definition.handlers.items()}
    tag = definition.service_tag
    return Service(tag.name, tag.kind, 4, "g", kinds, about_service(definition))


def references(part: Any) -> Iterator[str]:
    """All `$ref`s in a document."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolved(document: Any, reference: str) -> Any:
    found = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_all_references_lead_somewhere() -> None:
    document = ingress_document(map(registered, (desk, cart, order, hidden)))
    assert document["openapi"] == "3.1.0"
    assert "$defs" not in json.dumps(document)
    found = list(references(document))
    assert any(".Item" in one for one in found)  # of a type that refers to itself
    for reference in found:
        assert resolved(document, reference) is not None


def test_a_handler_has_a_call_and_a_send() -> None:
    document = service_document(registered(cart))
    call = document["paths"]["/restate/call/Cart/{key}/add"]["post"]
    assert [one["name"] for one in call["parameters"]] == ["key", "idempotency-key"]
    assert call["requestBody"]["required"] is True
    schema = resolved(document, call["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert json.dumps(schema).count("count") or "$ref" in schema
    send = document["paths"]["/restate/send/Cart/{key}/add"]["post"]
    assert [one["name"] for one in send["parameters"]] == ["key", "delay", "idempotency-key"]
    assert set(send["responses"]) == {"202", "default"}


def test_a_handler_without_input_can_be_called_with_get() -> None:
    paths = service_document(registered(desk))["paths"]
    assert set(paths["/restate/call/Desk/tidy"]) == {"get", "post"}
    assert "requestBody" not in paths["/restate/call/Desk/tidy"]["post"]
    assert set(paths["/restate/call/Desk/echo"]) == {"post"}


def test_a_workflows_run_takes_no_idempotency_key() -> None:
    paths = service_document(registered(order))["paths"]
    assert [one["name"] for one in paths["/restate/call/Order/{key}/run"]["post"]["parameters"]] == ["key"]
    assert len(paths["/restate/call/Order/{key}/pay"]["post"]["parameters"]) == 2


def test_what_is_private_is_left_out() -> None:
    part = barnabas.Service("Part")

    @part.handler(ingress_private=True)
    async def inner(ctx: barnabas.Context) -> None: ...

    @part.handler()
    async def outer(ctx: barnabas.Context) -> None: ...

    document = ingress_document(map(registered, (part, hidden)))
    assert {path for path in document["paths"] if "/call/" in path} == {"/restate/call/Part/outer"}


def test_a_service_that_an_older_worker_registered_is_documented_too() -> None:
    document = service_document(Service("Old", "object", 4, "g", {"go": "exclusive"}))
    operation = document["paths"]["/restate/call/Old/{key}/go"]["post"]
    assert operation["requestBody"]["content"] == {"application/json": {}}


def test_operation_ids_are_unique() -> None:
    document = ingress_document(map(registered, (desk, cart, order)))
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
