"""Invocation ids: their two forms, what they say about their target, and when two of them are one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from barnabas.contract.ids import (
    InvocationId,
    MalformedId,
    child_id,
    idempotent_id,
    random_id,
    record_id,
    subscribed_id,
    workflow_id,
)
from barnabas.contract.partitioning import partition_hash, partition_of

text = st.text(max_size=12)
keys = st.none() | text
ids = st.binary(min_size=24, max_size=24)
TOPIC_ID = bytes(range(16))


@given(ids)
def test_text_form_round_trips_and_has_a_fixed_width(raw: bytes) -> None:
    written = str(InvocationId(raw))
    assert written.startswith("inv_")
    assert len(written) == 4 + 33
    assert InvocationId.parse(written) == raw


@given(ids, ids)
def test_text_forms_sort_as_the_bytes_do(one: bytes, other: bytes) -> None:
    assert (str(InvocationId(one)) < str(InvocationId(other))) == (one < other)


@pytest.mark.parametrize(
    ("malformed", "says"),
    [
        ("", "starts with 'inv_'"),
        ("abc", "starts with 'inv_'"),
        ("inv_", "33 digits"),
        ("inv_" + "0" * 32, "not 32"),
        ("inv_" + "0" * 34, "not 34"),
        ("inv_" + "0" * 32 + "-", "'-' does not occur"),
        ("inv_" + "0" * 32 + "\N{ARABIC-INDIC DIGIT ONE}", "does not occur"),
        ("inv_" + "z" * 33, "that large"),
        ("x" * 10_000, r"\.\.\."),
    ],
)
def test_malformed_text_is_refused_with_what_is_wrong(malformed: str, says: str) -> None:
    with pytest.raises(MalformedId, match=says) as refusal:
        InvocationId.parse(malformed)
    assert len(str(refusal.value)) < 200


@given(st.text())
def test_any_other_text_is_malformed_or_an_id(anything: str) -> None:
    with suppress(MalformedId):
        assert str(InvocationId.parse(anything)) == anything


@pytest.mark.parametrize("size", [0, 23, 25])
def test_an_id_has_24_bytes(size: int) -> None:
    with pytest.raises(MalformedId, match=f"24 bytes, these are {size}"):
        InvocationId(bytes(size))


def test_an_id_is_equal_to_its_bytes_and_cannot_be_changed() -> None:
    id = random_id("Plane", "N1")
    assert id == bytes(id)
    assert {bytes(id): 1}[id] == 1
    with pytest.raises(AttributeError):
        id.anything = 1  # type: ignore[attr-defined]


@given(text, text)
def test_an_id_finds_the_partition_of_its_key(service: str, key: str) -> None:
    id = random_id(service, key)
    assert id.of_service(service)
    assert not id.of_service(service + "x")
    for partitions in (1, 8, 100):
        assert id.partition(partitions) == partition_of(partition_hash(key.encode()), partitions)


@given(text)
def test_the_partition_key_of_a_service_is_the_identity_in_hex(service: str) -> None:
    id = random_id(service, None)
    assert id.service_partition_key == id.identity.hex()
    assert len(id.service_partition_key) == 32
    assert id.partition(8) == partition_of(partition_hash(id.service_partition_key.encode()), 8)


@given(keys)
def test_the_delay_bit_changes_neither_partition_nor_identity(key: str | None) -> None:
    arguments = (bytes(24), 1, "Plane", "depart", key, b"{}")
    at_once, later = child_id(*arguments), child_id(*arguments, delayed=True)
    assert not at_once.delayed
    assert later.delayed
    assert later != at_once
    assert (later.key_hash, later.identity) == (at_once.key_hash, at_once.identity)
    assert random_id("Plane", key, delayed=True).delayed


def test_random_ids_differ() -> None:
    assert len({random_id("Plane", "N1") for _ in range(1000)}) == 1000


@given(st.tuples(text, text, keys, text), st.tuples(text, text, keys, text))
def test_idempotent_ids_are_one_exactly_for_equal_requests(
    one: tuple[str, str, str | None, str], other: tuple[str, str, str | None, str]
) -> None:
    assert idempotent_id(*one) == idempotent_id(*one)
    assert (idempotent_id(*one) == idempotent_id(*other)) == (one == other)


child_fields = st.tuples(ids, st.integers(0, 2**40), text, text, keys, st.binary(max_size=12))
Child = tuple[bytes, int, str, str, str | None, bytes]


@given(child_fields, child_fields)
def test_child_ids_are_one_exactly_for_equal_calls(one: Child, other: Child) -> None:
    assert child_id(*one) == child_id(*one)
    assert (child_id(*one) == child_id(*other)) == (one == other)


@given(child_fields, st.integers(0, 5))
def test_every_field_of_a_call_counts(fields: Child, changed: int) -> None:
    caller, position, service, handler, key, payload = fields
    variants: list[Child] = [
        (bytes(reversed(caller)), position, service, handler, key, payload),
        (caller, position + 1, service, handler, key, payload),
        (caller, position, service + "x", handler, key, payload),
        (caller, position, service, handler + "x", key, payload),
        (caller, position, service, handler, "" if key is None else None, payload),
        (caller, position, service, handler, key, payload + b"\x00"),
    ]
    assume(variants[changed] != fields)
    assert child_id(*variants[changed]).identity != child_id(*fields).identity


@given(text, text, text, st.integers(1, 12))
def test_moving_characters_between_fields_gives_another_identity(a: str, b: str, c: str, cut: int) -> None:
    moved = a + b
    one, two = moved[:cut], moved[cut:]
    assume((one, two) != (a, b))
    assert idempotent_id(a, b, None, c).identity != idempotent_id(one, two, None, c).identity
    assert idempotent_id(c, a, b, c).identity != idempotent_id(c, one, two, c).identity
    assert idempotent_id(c, c, a, b).identity != idempotent_id(c, c, one, two).identity
    assert child_id(bytes(24), 0, c, a, None, b.encode()) != child_id(bytes(24), 0, c, one, None, two.encode())
    assert workflow_id(a, b).identity != workflow_id(one, two).identity


def test_kinds_of_derivation_never_meet() -> None:
    identities = {
        workflow_id("W", "k").identity,
        idempotent_id("W", "run", "k", "").identity,
        child_id(bytes(24), 0, "W", "run", "k", b"").identity,
        record_id("W", "k", TOPIC_ID, 0, 0).identity,
        subscribed_id("W", "k", "", 0, TOPIC_ID, 0, 0).identity,
    }
    assert len(identities) == 5


def test_record_ids_tell_topics_partitions_and_offsets_apart() -> None:
    """F41: a topic that was deleted and made again has another id, so its records are no repeats."""
    places = [(TOPIC_ID, 0, 5), (TOPIC_ID, 0, 6), (TOPIC_ID, 1, 5), (bytes(16), 0, 5)]
    assert len({record_id("S", None, *place) for place in places}) == 4
    assert record_id("S", None, *places[0]) == record_id("S", None, *places[0])
    with pytest.raises(ValueError, match="16 bytes"):
        record_id("S", None, b"short", 0, 0)


def test_each_subscription_and_each_round_of_it_has_ids_of_its_own() -> None:
    ids = {
        subscribed_id("S", None, name, round, *place)
        for name in ("a", "b")
        for round in (0, 1)
        for place in ((TOPIC_ID, 0, 5), (TOPIC_ID, 0, 6), (TOPIC_ID, 1, 5), (bytes(16), 0, 5))
    }
    assert len(ids) == 16
    assert subscribed_id("S", "k", "a", 0, TOPIC_ID, 2, 7) == subscribed_id("S", "k", "a", 0, TOPIC_ID, 2, 7)
    with pytest.raises(ValueError, match="16 bytes"):
        subscribed_id("S", None, "a", 0, b"short", 0, 0)


def test_derived_ids_are_the_same_in_every_process_and_version() -> None:
    assert [
        str(idempotent_id("Plane", "depart", "N14228", "order-1")),
        str(workflow_id("Signup", "ann")),
        str(child_id(bytes(range(24)), 3, "Airport", "landed", "JFK", b'{"n": 1}')),
        str(record_id("Greeter", None, TOPIC_ID, 2, 7)),
        str(subscribed_id("Greeter", None, "orders", 0, TOPIC_ID, 2, 7)),
    ] == [
        "inv_098a1WiVTERzt6fjvN2jVcfboXdb2orXq",
        "inv_1jjZCmhIbQ3oI4bl9ERkWGNaXAmjx3EM1",
        "inv_00XZVOhYIUbQtjr7HE63lvBYAJ0AoXD0e",
        "inv_1bbrhonyYzsJqu5qJsRHZIsvAJ1mJSypY",
        "inv_1bbrhopUSL7at0OKLUiq6S6tzVUA7RFLd",
    ]


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        random_id("Plane", "\ud800")
