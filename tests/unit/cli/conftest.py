"""Commands over a store in memory and a gateway that answers by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from barnabas.cli import asking
from barnabas.store.looking import MemoryLooks
from tests.unit.cli.doors import FakeDoor
from tests.unit.introspection.filling import Filled, service


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    """What the commands find in the store."""
    filled = Filled(service("Account"), service("Teller", "service"))
    monkeypatch.setattr(asking, "RedisStore", lambda url, namespace, *, timeout_seconds: filled.store)
    monkeypatch.setattr(asking, "RedisLooks", lambda url, namespace, *, timeout_seconds: MemoryLooks(filled.store.core))
    for name in ("BARNABAS_REDIS", "BARNABAS_KAFKA", "BARNABAS_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    return filled


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, filled: Filled) -> Iterator[FakeDoor]:
    """The gateway that the commands get."""
    door = FakeDoor(filled.store, filled.services)
    monkeypatch.setattr(asking, "Gateway", lambda settings: door)
    ours = logging.getLogger("barnabas")
    level = ours.level  # which the commands change, for their process
    yield door
    ours.setLevel(level)
