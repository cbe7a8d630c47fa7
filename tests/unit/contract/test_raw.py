"""Raw records: what acts, what is ignored, what is poison (F22, F24)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.contract.errors import UNADDRESSED, UNDECODABLE, PoisonRecord
from barnabas.contract.ids import InvocationId, idempotent_id, record_id
from barnabas.contract.partitioning import partition_hash
from barnabas.contract.raw import Headers, is_raw, parse_raw
from barnabas.contract.records import Invocation

TOPIC_ID = bytes(range(16))
GREET: list[tuple[str, bytes | None]] = [("barnabas-handler", b"greet")]


def parsed(
    headers: Headers = GREET, *, key: bytes | None = b"ann", value: bytes | None = b'"Ann"', keyed: bool = True
) -> Invocation:
    return parse_raw("Greeter", key, value, headers, keyed=keyed, topic_id=TOPIC_ID, partition=3, offset=17)


def test_the_handler_header_alone_makes_a_record_raw() -> None:
    assert is_raw(GREET)
    assert is_raw([("a", b""), ("barnabas-handler", None)])
    assert not is_raw([("barnabas-handlers", b"greet"), ("content-type", b"x")])
    assert not is_raw([])
    assert not is_raw(None)


def test_a_raw_record_addresses_an_object() -> None:
    id = record_id("Greeter", "ann", TOPIC_ID, 3, 17)
    assert parsed() == Invocation(id, "Greeter", "greet", "ann", b'"Ann"')


@pytest.mark.parametrize("key", [None, b"", b"ann", b"\xff\xfe"])
def test_a_service_ignores_the_record_key(key: bytes | None) -> None:
    """F22."""
    invocation = parsed(key=key, keyed=False)
    assert invocation.key is None
    assert invocation.id == record_id("Greeter", None, TOPIC_ID, 3, 17)


def test_an_idempotency_key_makes_the_id() -> None:
    invocation = parsed([*GREET, ("barnabas-idempotency-key", b"order-1")])
    assert invocation.id == idempotent_id("Greeter", "greet", "ann", "order-1")
    assert invocation.idempotency_key == "order-1"


def test_only_the_named_headers_act() -> None:
    """F24: forged ids, callers and reply addresses are ignored."""
    invocation = parsed(
        [
            ("content-type", b"application/json"),
            *GREET,
            ("traceparent", b"00-1-2-01"),
            ("barnabas-id", b"forged"),
            ("barnabas-id", b"forged twice"),
            ("barnabas-caller", b"forged"),
            ("reply-to", b"\xff"),
        ]
    )
    assert invocation.headers == {"content-type": "application/json", "traceparent": "00-1-2-01"}
    assert invocation.id == record_id("Greeter", "ann", TOPIC_ID, 3, 17)
    assert (invocation.caller, invocation.reply_to, invocation.label, invocation.due) == (None, None, None, None)


def test_a_record_without_value_has_an_empty_payload() -> None:
    assert parsed(value=None).payload == b""
    assert parsed(value=b"").payload == b""


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
def test_an_object_needs_a_key_that_is_text(key: bytes | None) -> None:
    """F22: null, empty, invalid UTF-8."""
    with pytest.raises(PoisonRecord, match="key") as poison:
        parsed(key=key)
    assert poison.value.reason == UNADDRESSED


@pytest.mark.parametrize("key", ["{a}", "{", "}", "a\x00b", "a\r\nb", "k" * 1_000_000, "\N{SNOWMAN}"])
def test_any_other_text_is_a_key_of_its_own(key: str) -> None:
    """F22: braces, NUL, line ends, a very long key."""
    invocation = parsed(key=key.encode())
    assert invocation.key == key
    assert InvocationId(invocation.id).key_hash == partition_hash(key.encode())


@pytest.mark.parametrize(
    ("headers", "reason", "says"),
    [
        ([("barnabas-handler", b"")], UNADDRESSED, "names no handler"),
        ([("barnabas-handler", None)], UNADDRESSED, "no value"),
        ([("barnabas-handler", b"\xff")], UNADDRESSED, "not UTF-8"),
        ([*GREET, *GREET], UNADDRESSED, "more than once"),
        ([*GREET, ("barnabas-idempotency-key", b"")], UNDECODABLE, "is empty"),
        ([*GREET, ("barnabas-idempotency-key", b"\xff")], UNDECODABLE, "not UTF-8"),
        (
            [*GREET, ("barnabas-idempotency-key", b"a"), ("barnabas-idempotency-key", b"b")],
            UNDECODABLE,
            "more than once",
        ),
        ([*GREET, ("content-type", b"a"), ("content-type", b"a")], UNDECODABLE, "content-type occurs more than once"),
        ([*GREET, ("traceparent", None)], UNDECODABLE, "traceparent has no value"),
        ([*GREET, ("traceparent", b"\xff")], UNDECODABLE, "traceparent is not UTF-8"),
    ],
)
def test_odd_headers_are_poison(headers: Headers, reason: str, says: str) -> None:
    """F24: missing, duplicate, not text."""
    with pytest.raises(PoisonRecord, match=says) as poison:
        parsed(headers)
    assert poison.value.reason == reason


names = st.sampled_from(["barnabas-handler", "barnabas-idempotency-key", "content-type", "traceparent", "x"])


@given(
    st.none() | st.binary(max_size=8),
    st.none() | st.binary(max_size=8),
    st.lists(st.tuples(names | st.text(), st.none() | st.binary(max_size=8))),
    st.booleans(),
)
def test_any_record_is_an_invocation_or_poison(
    key: bytes | None, value: bytes | None, headers: Headers, keyed: bool
) -> None:
    """F22, F24."""
    try:
        invocation = parsed(headers, key=key, value=value, keyed=keyed)
    except PoisonRecord:
        return
    assert is_raw(headers)
    assert (invocation.key is not None) == keyed
