"""Subscriptions in a YAML file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from barnabas.subscriptions.declared import NotDeclared, read_subscriptions

WHOLE = """
subscriptions:
  - topic: orders
    handler: Shop/place
    key: $.customer.id
    start: 2026-01-02T03:04:05Z
    name: orders
    group: g
  - topic: payments
    handler: Shop/pay
    format: avro
    schema: order.avsc
    framing: confluent
    start: "2026-01-02T03:04:05+00:00"
  - {topic: clicks, handler: Clicks/count, format: raw, start: latest}
"""


def file_with(folder: Path, text: str) -> Path:
    (folder / "order.avsc").write_text('"string"')
    file = folder / "subscriptions.yaml"
    file.write_text(text)
    return file


def test_all_fields(tmp_path: Path) -> None:
    orders, payments, clicks = read_subscriptions(file_with(tmp_path, WHOLE))
    assert (orders.topic, orders.key, orders.name, orders.group) == ("orders", "$.customer.id", "orders", "g")
    assert orders.start == payments.start == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert payments.serde is not None
    assert payments.framing == "confluent"
    assert (clicks.format, clicks.start) == ("raw", "latest")


def test_a_bare_list(tmp_path: Path) -> None:
    assert len(read_subscriptions(file_with(tmp_path, "- {topic: a, handler: A/b}"))) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must hold a list"),
        ("a: [", "is no YAML"),
        ("- a", "subscription 1: it is no mapping"),
        ("- {topic: a}", "handler is missing"),
        ("- {topic: a, handler: A/b}\n- {topic: a, handler: A/b, keyy: c}", "subscription 2: there is no field 'keyy'"),
        ("- {topic: a, handler: A/b, key: c}", "subscription 1: key='c' says nothing"),
        ("- {topic: a, handler: A/b, start: yesterday}", "subscription 1"),
        ("- {topic: a, handler: A/b, start: 2026-01-02}", "subscription 1: start is"),
        ("- {topic: a, handler: A/b, start: 2026-01-02T03:04:05}", "timezone"),
        ("- {topic: a, handler: A/b, format: avro, schema: nowhere.avsc}", "nowhere.avsc"),
        ("- {topic: 7, handler: A/b}", "7 cannot be the name of a topic"),
        ("- !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_what_a_file_may_get_wrong(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(NotDeclared, match=why.replace("[", r"\[")):
        read_subscriptions(file_with(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotDeclared, match="cannot be read"):
        read_subscriptions(tmp_path / "nowhere.yaml")
