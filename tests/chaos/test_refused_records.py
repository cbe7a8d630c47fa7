"""F59: the broker refuses one record in the middle of an outbox."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena


@pytest.mark.scenario("F59")
def test_what_can_never_be_delivered_leaves_and_nothing_else_is_skipped(arena: Arena) -> None:
    """F59: order kept (K2), nothing skipped, the caller gets a terminal error (R16), a dead letter for each."""
    arena.alter_topic(arena.names.invocations("Log"), {"max.message.bytes": "20000"})
    arena.crew.start()
    refused, each = arena.scaled(3, 20), 20
    for number in range(arena.scaled(12, 100)):
        too_large = number < refused
        size = 30_000 if too_large else 10
        key = f"burst {number}"
        arena.traffic.appended[key] += each
        order = {"log": key, "count": each, "size": size}
        arena.traffic.send("Desk", "burst", None, order, "failed 500" if too_large else f"took {size}")
        arena.traffic.mixed(10)
    arena.wanted_dead_letters = refused
    arena.answer_all(60)
    letters = {(letter.reason, letter.key) for letter in arena.log.dead_letters()}
    assert letters == {("undeliverable", b"burst %d" % number) for number in range(refused)}
