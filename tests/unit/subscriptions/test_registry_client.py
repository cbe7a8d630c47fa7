"""Asking a schema registry: what it says, what it does not have, and when it cannot be asked."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest

from barnabas.subscriptions.registry import RegistryUnavailable, SchemaNotUsable, SchemaRegistry
from tests.unit.subscriptions.mock_registry import MockRegistry, mock_registry


@pytest.fixture
def registry() -> Iterator[MockRegistry]:
    with mock_registry() as registry:
        yield registry


async def test_a_schema_by_its_id(registry: MockRegistry) -> None:
    id_ = registry.register("orders-value", '"string"')
    assert await SchemaRegistry(registry.url).schema(id_) == '"string"'
    assert registry.asked == [f"/schemas/ids/{id_}?format=resolved"]
    assert registry.authorization is None


async def test_user_and_password_of_the_url_go_into_a_header_and_nowhere_else(registry: MockRegistry) -> None:
    id_ = registry.register("orders-value", '"string"')
    client = SchemaRegistry(registry.url.replace("http://", "http://me:p%40ss@"))
    await client.schema(id_)
    assert registry.authorization == f"Basic {b64encode(b'me:p@ss').decode()}"
    assert "p@ss" not in repr(client)
    registry.status = 401
    with pytest.raises(RegistryUnavailable) as error:
        await client.schema(id_)
    assert "p@ss" not in str(error.value)
    assert "p%40ss" not in str(error.value)


async def test_an_id_that_is_not_there(registry: MockRegistry) -> None:
    with pytest.raises(SchemaNotUsable, match="no schema with the id 99"):
        await SchemaRegistry(registry.url).schema(99)


async def test_a_schema_of_another_kind(registry: MockRegistry) -> None:
    id_ = registry.register("orders-value", '{"type": "object"}', "JSON")
    with pytest.raises(SchemaNotUsable, match="of type 'JSON'"):
        await SchemaRegistry(registry.url).schema(id_)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
async def test_every_other_refusal_means_later(registry: MockRegistry, status: int) -> None:
    registry.status = status
    with pytest.raises(RegistryUnavailable, match=str(status)):
        await SchemaRegistry(registry.url).schema(1)


@pytest.mark.parametrize("answer", [b"[]", b"no JSON", b"{}", b'{"schema": 1}'])
async def test_an_answer_that_is_none_means_later(registry: MockRegistry, answer: bytes) -> None:
    registry.answer = answer
    with pytest.raises(RegistryUnavailable):
        await SchemaRegistry(registry.url).schema(1)


async def test_nobody_there_means_later(registry: MockRegistry) -> None:
    registry.close()
    with pytest.raises(RegistryUnavailable, match="cannot be asked"):
        await SchemaRegistry(registry.url).schema(1)


@pytest.mark.parametrize("url", ["", "localhost:8081", "file:///etc/passwd", "ftp://a", "http://"])
def test_what_is_no_url_of_a_registry_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="BARNABAS_REGISTRY"):
        SchemaRegistry(url)
