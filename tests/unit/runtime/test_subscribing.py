"""The engine of a subscription: each record once, whatever dies when; ids, headers, keys, and places to begin."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barnabas import SourceRecord, Subscription
from barnabas.contract.ids import InvocationId, subscribed_id, workflow_id
from barnabas.contract.records import Invocation
from barnabas.log.port import Gap
from barnabas.runtime.subscribing.standing import standing_of
from barnabas.runtime.tenure import State
from barnabas.store import keys
from barnabas.store.port import Commit, Service
from tests.unit.runtime.subscription_bench import (
    NAMES,
    TOPIC,
    TOPIC_ID,
    Crash,
    SubscriptionBench,
    at_every_boundary,
    service,
)


def test_each_record_becomes_one_invocation() -> None:
    bench = SubscriptionBench()
    offset = bench.put({"n": 1}, headers=[("traceparent", b"00-aa-bb-01"), ("other", b"x")])
    bench.run()
    [invocation] = bench.accepted()
    assert (invocation.service, invocation.handler, invocation.key) == ("Shop", "place", "k")
    assert invocation.payload == b'{"n": 1}'
    assert invocation.headers == {
        "kafka.topic": TOPIC,
        "kafka.partition": "0",
        "kafka.offset": str(offset),
        "kafka.timestamp": "1000000",
        "kafka.key": "k",
        "traceparent": "00-aa-bb-01",
    }
    assert invocation.id == subscribed_id("Shop", "k", bench.subscription.name, 0, TOPIC_ID, 0, offset)
    assert bench.letters() == []


def test_a_crash_at_any_boundary_loses_nothing_and_doubles_nothing() -> None:
    """F9 for a subscription: every commit boundary, and between records that are produced and acknowledged."""

    def make() -> SubscriptionBench:
        bench = SubscriptionBench()
        for n in range(7):
            bench.put(n if n != 4 else b"{broken")
        return bench

    runs = at_every_boundary(make)
    assert len(runs) > 30
    for bench in runs:
        assert bench.payloads() == [0, 1, 2, 3, 5, 6], bench.crash_at
        assert {letter.offset for letter in bench.letters()} == {4}, bench.crash_at
        assert bench.stored("HLEN", keys.OUTBOX) == 0
        assert bench.stored("HGET", keys.META, b"inv") == b"7"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 12), st.integers(1, 5))
def test_crashes_one_after_the_other(crashes: list[int], records: int, batch: int) -> None:
    bench = SubscriptionBench(batch=batch)
    for n in range(records):
        bench.put(n)
    for after in crashes:
        bench.crash_at = bench.boundaries + after
        try:
            bench.run()
        except Crash:
            bench.restart()
    bench.crash_at = None
    bench.run()
    assert bench.payloads() == list(range(records))


def test_a_producer_session_that_ends_repeats_with_the_same_labels() -> None:
    bench = SubscriptionBench()
    for n in range(3):
        bench.put(n)
    bench.run()
    numbers = [one.label and one.label.number for one in bench.accepted()]
    assert numbers == [1, 2, 3]
    bench.put(3)
    bench.tenure.on_session_over()
    bench.run()
    assert bench.payloads() == [0, 1, 2, 3]


def test_the_outbox_holds_what_was_not_delivered_and_counts_its_bytes() -> None:
    bench = SubscriptionBench()
    bench.run()
    bench.put("x" * 1000)
    bench.intake.on_records(bench.log.read(TOPIC, 0, 0, 10))
    assert len(bench.engine.outbox) == 1
    assert bench.engine.held_bytes > 1000
    bench.run()
    assert len(bench.engine.outbox) == bench.engine.held_bytes == 0


def test_two_subscriptions_of_one_topic_have_ids_of_their_own() -> None:
    log, ids = None, []
    for name in ("one", "two"):
        bench = SubscriptionBench(Subscription(TOPIC, "Shop/place", name=name), log=log)
        log = bench.log
        if not ids:
            bench.put(1)
        bench.run()
        ids.append(bench.accepted()[-1].id)
    assert ids[0] != ids[1]


def test_a_workflow_runs_once_a_key() -> None:
    bench = SubscriptionBench(kind="workflow")
    bench.put(1)
    bench.put(2)
    bench.run()
    assert [one.id for one in bench.accepted()] == [workflow_id("Shop", "k")] * 2


def test_a_handler_of_a_service_gets_no_key_and_its_own_partition() -> None:
    bench = SubscriptionBench(kind="service")
    bench.put(1, key=b"\xff")
    bench.run()
    [invocation] = bench.accepted()
    assert invocation.key is None
    assert invocation.headers["kafka.key-base64"] == "/w=="
    assert InvocationId(invocation.id).partition(1) == 0


# -- where to begin


def test_the_place_to_begin_is_in_the_store_before_anything_was_read() -> None:
    """A process that dies before the first record does not begin elsewhere the next time."""
    bench = SubscriptionBench(start=2)
    for n in range(3):
        bench.put(n)
    bench.reading = None
    bench.run()
    assert bench.payloads() == [2]
    again = SubscriptionBench(start=99, store=bench.store, log=bench.log)
    again.put(3)
    again.run()
    assert again.payloads() == [2, 3]


def test_nothing_to_read_still_writes_down_the_place() -> None:
    bench = SubscriptionBench(start=0)
    bench.run()
    standing = standing_of(bench.stored("HGETALL", keys.META))
    assert standing is not None
    assert (standing.topic, standing.topic_id, standing.partitions, standing.next) == (TOPIC, TOPIC_ID, 1, 0)


def test_what_is_no_record_moves_the_place_and_asks_for_nothing() -> None:
    bench = SubscriptionBench()
    bench.put(0)
    bench.run()
    bench.intake.on_records([Gap(4, -1, None, None, None)])
    bench.run()
    assert (bench.payloads(), bench.letters()) == ([0], [])
    assert bench.stored("HGET", keys.META, b"inv") == b"5"


def test_the_earliest_place_is_whatever_record_is_there_when_reading_begins() -> None:
    bench = SubscriptionBench()
    for n in range(3):
        bench.put(n)
    bench.log.truncate_before(TOPIC, 0, 1)
    bench.run()
    assert bench.payloads() == [1, 2]


def test_a_topic_made_again_stops_the_shard() -> None:
    """F41: offsets of the former topic say nothing about the new one."""
    bench = SubscriptionBench()
    bench.put(1)
    bench.run()
    other = SubscriptionBench(topic_id=b"another".ljust(16), store=bench.store, log=bench.log)
    other.put(2)
    other.run()
    assert other.tenure.state is State.HALTED
    assert other.halted is not None
    assert "deleted and made again" in other.halted
    assert "barnabas subscriptions reset" in other.halted
    assert other.payloads() == [1]


def test_another_topic_under_the_same_name_stops_the_shard() -> None:
    bench = SubscriptionBench(Subscription(TOPIC, "Shop/place", name="n"))
    bench.run()
    other = SubscriptionBench(Subscription("payments", "Shop/place", name="n"), store=bench.store, log=bench.log)
    other.run()
    assert other.halted is not None
    assert f"has read the topic {TOPIC}" in other.halted


def test_a_round_gives_other_ids() -> None:
    bench = SubscriptionBench()
    bench.put(1)
    bench.run()
    taken = bench.store.take(bench.shard, b"person", "me")
    ops = [("HSET", keys.META, b"round", 1, b"inv", 0)]
    bench.store.commit(Commit(bench.shard, b"person", taken.number + 1, ops))
    bench.restart()
    bench.run()
    first, second = bench.accepted()
    assert first.payload == second.payload
    assert first.id != second.id


# -- what cannot become an invocation


def test_a_record_that_cannot_be_read_is_a_dead_letter_with_everything_about_it() -> None:
    bench = SubscriptionBench()
    bench.put(b"{broken", key=b"a", headers=[("h", b"v")])
    bench.put(1)
    bench.run()
    [letter] = bench.letters()
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == ("undecodable", TOPIC, 0, 0)
    assert (letter.key, letter.value, letter.headers) == (b"a", b"{broken", [("h", b"v")])
    assert "no JSON" in letter.detail
    assert bench.payloads() == [1]


def test_a_payload_that_no_record_could_hold_is_a_dead_letter() -> None:
    bench = SubscriptionBench()
    bench.put("x" * 20_000)
    bench.put("x" * 2_000, key=b"k" * 5_000)
    bench.put(1)
    bench.run()
    assert [letter.reason for letter in bench.letters()] == ["too-large", "too-large"]
    assert bench.payloads() == [1]


def test_a_record_that_can_never_be_delivered_becomes_a_dead_letter() -> None:
    bench = SubscriptionBench()
    bench.put(1)
    bench.log.topics[NAMES.invocations("Shop")].config["max.message.bytes"] = "10"
    bench.run()
    assert [(letter.reason, letter.topic) for letter in bench.letters()] == [
        ("undeliverable", NAMES.invocations("Shop"))
    ]
    assert bench.accepted() == []
    assert bench.stored("HLEN", keys.OUTBOX) == bench.engine.held_bytes == 0


def test_a_record_without_a_value_is_an_empty_payload() -> None:
    bench = SubscriptionBench()
    bench.put(None)
    bench.run()
    assert [one.payload for one in bench.accepted()] == [b""]


@pytest.mark.parametrize(
    ("known", "word"),
    [
        ({}, "no service 'Shop' is registered"),
        ({"Shop": Service("Shop", "object", 1, "g", {"other": "exclusive"})}, "has no handler 'place'"),
        ({"Shop": service("object", public=False)}, "is private"),
        ({"Shop": service("object", handlers={"place": {"public": False}})}, "is private"),
        ({"Shop": service("object")}, None),
    ],
)
def test_what_keeps_records_waiting(known: dict[str, Service], word: str | None) -> None:
    bench = SubscriptionBench()
    bench.run()
    bench.directory.services = known
    obstacle = bench.intake.obstacle()
    assert obstacle is None if word is None else word in str(obstacle)


# -- keys


def invoked(rule: Any, value: Any, key: bytes | None = b"k", headers: Any = None) -> Invocation | str:
    """The invocation, or why there is none."""
    bench = SubscriptionBench(Subscription(TOPIC, "Shop/place", key=rule))
    bench.put(value, key=key, headers=headers)
    bench.run()
    assert len(bench.accepted()) + len(bench.letters()) == 1
    return bench.accepted()[0] if bench.accepted() else bench.letters()[0].detail


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        (None, "k"),
        ("key", "k"),
        ("$.customer.id", "c1"),
        ("$.number", "7"),
        ("header:who", "h"),
        (lambda record: f"{record.partition}-{record.content['number']}", "0-7"),
        (lambda record: record.headers[0][1].decode(), "h"),
    ],
)
def test_key_rules(rule: Any, key: str) -> None:
    found = invoked(rule, {"customer": {"id": "c1"}, "number": 7}, headers=[("who", b"h")])
    assert isinstance(found, Invocation), found
    assert found.key == key


def _raise(record: SourceRecord) -> str:
    raise KeyError("nothing")


@pytest.mark.parametrize(
    ("rule", "value", "key", "headers", "why"),
    [
        ("key", 1, None, None, "the record has no key"),
        ("key", 1, b"", None, "the record's key is empty"),
        ("key", 1, b"\xff", None, "the record's key is not UTF-8"),
        ("$.a.b", {"a": 1}, b"k", None, "the value has no $.a.b"),
        ("$.a", {"a": None}, b"k", None, "is of type NoneType"),
        ("$.a", {"a": True}, b"k", None, "is of type bool"),
        ("$.a", {"a": 1.5}, b"k", None, "is of type float"),
        ("$.a", None, b"k", None, "the value has no $.a"),
        ("$.a", [1], b"k", None, "the value has no $.a"),
        ("header:h", 1, b"k", None, "the record has no header:h"),
        ("header:h", 1, b"k", [("h", b"1"), ("h", b"2")], "more than once"),
        (lambda record: None, 1, b"k", None, "what the key rule returned is of type NoneType"),
        (lambda record: "\ud800", 1, b"k", None, "half of a surrogate pair"),
        (_raise, 1, b"k", None, "the key rule raised KeyError"),
    ],
)
def test_records_without_a_usable_key_are_dead_letters(
    rule: Any, value: Any, key: bytes | None, headers: Any, why: str
) -> None:
    assert why in str(invoked(rule, value, key, headers))
