"""Records survive the way through bytes; whatever other bytes come is poison and nothing worse (F21)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import example, given
from hypothesis import strategies as st

from barnabas.contract import codec
from barnabas.contract.codec import (
    RecordReader,
    decode_dead_letter,
    decode_invocation,
    decode_reply,
    decode_signal,
    encode_dead_letter,
    encode_invocation,
    encode_reply,
    encode_signal,
)
from barnabas.contract.declarations import Schema, folder, schemas
from barnabas.contract.errors import UNDECODABLE, UNKNOWN_SCHEMA, PoisonRecord
from barnabas.contract.ids import random_id
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind

ids = st.binary(min_size=24, max_size=24)
text = st.text(max_size=80)
blobs = st.binary(max_size=200)
longs = st.integers(-(2**63), 2**63 - 1)
maps = st.dictionaries(text, text, max_size=4)
labels = st.builds(Label, text, blobs, longs, longs, longs)
failures = st.builds(Failure, longs, text, maps)
callers = st.builds(Caller, ids, text, text, longs)
replies_to = st.builds(ReplyTo, text, blobs)
invocations = st.builds(
    Invocation,
    ids,
    text,
    text,
    st.none() | text,
    blobs,
    maps,
    st.none() | callers,
    st.none() | replies_to,
    st.none() | text,
    st.none() | longs,
    st.none() | labels,
    st.lists(callers | replies_to, max_size=3),
)
signals = st.builds(
    Signal,
    st.sampled_from(SignalKind),
    ids,
    st.none() | longs,
    st.none() | ids,
    st.none() | blobs,
    st.none() | failures,
    st.none() | labels,
    st.none() | callers,
    st.none() | replies_to,
    st.none() | text,
)
replies = st.builds(Reply, text, blobs, ids, st.none() | blobs, st.none() | failures)
dead_letters = st.builds(
    DeadLetter,
    text,
    text,
    text,
    st.integers(0, 2**31 - 1),
    longs,
    longs,
    st.none() | blobs,
    st.none() | blobs,
    st.lists(st.tuples(text, st.none() | blobs), max_size=4),
)

PLAIN = Invocation(bytes(range(24)), "Plane", "depart", "N14228", b'{"n": 1}')
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes | None], Any], st.SearchStrategy[Any]]] = {
    "invocation": (encode_invocation, decode_invocation, invocations),
    "signal": (encode_signal, decode_signal, signals),
    "reply": (encode_reply, decode_reply, replies),
    "dead-letter": (encode_dead_letter, decode_dead_letter, dead_letters),
}
every_record = pytest.mark.parametrize("name", CODECS)


@every_record
@given(data=st.data())
def test_records_round_trip(name: str, data: st.DataObject) -> None:
    encode, decode, values = CODECS[name]
    value = data.draw(values)
    assert decode(encode(value)) == value


def test_large_records_round_trip() -> None:
    invocation = Invocation(bytes(24), "S" * 2000, "h" * 70, "k" * 100_000, b"\x00" * 1_000_000, {"a": "b" * 5000})
    assert decode_invocation(encode_invocation(invocation)) == invocation


def test_an_invocation_id_is_written_like_its_bytes() -> None:
    id = random_id("Plane", "N14228")
    written = encode_invocation(Invocation(id, "Plane", "depart", "N14228", b""))
    assert decode_invocation(written).id == id


def avro_fields(value: Any) -> Any:
    """A record as fastavro takes it, told by its field names alone."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: avro_fields(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, SignalKind):
        return value.value
    if isinstance(value, list) and all(isinstance(item, tuple) for item in value):
        return [{"name": name, "value": content} for name, content in value]
    if isinstance(value, list):
        return [
            {"caller": avro_fields(item), "reply_to": None}
            if isinstance(item, Caller)
            else {"caller": None, "reply_to": avro_fields(item)}
            for item in value
        ]
    return value


@every_record
@given(data=st.data())
def test_the_bytes_are_what_fastavro_makes_of_the_schema_file(name: str, data: st.DataObject) -> None:
    encode, _, values = CODECS[name]
    value = data.draw(values)
    newest = schemas(name)[-1]
    written = io.BytesIO()
    schemaless_writer(written, newest.parsed, avro_fields(value))
    assert encode(value) == b"\xc3\x01" + newest.fingerprint + written.getvalue()
    assert schemaless_reader(io.BytesIO(encode(value)[10:]), newest.parsed, None) == avro_fields(value)


def test_fingerprints_are_crc_64_avro_least_significant_byte_first() -> None:
    """Worked out anew here, from the specification's definition."""

    def crc_64_avro(data: bytes) -> int:
        state = 0xC15D213AA4D7A795
        for byte in data:
            state ^= byte
            for _ in range(8):
                state = state >> 1 ^ (0xC15D213AA4D7A795 if state & 1 else 0)
        return state

    assert crc_64_avro(b'"int"') == 0x7275D51A3F395C8F
    for name in CODECS:
        for schema in schemas(name):
            canonical = to_parsing_canonical_form(schema.parsed)
            assert schema.fingerprint == crc_64_avro(canonical.encode()).to_bytes(8, "little")


def reads_or_is_poison(decode: Callable[[bytes | None], Any], data: bytes | None) -> None:
    try:
        decode(data)
        return
    except PoisonRecord as raised:
        poison = raised
    assert poison.reason in (UNDECODABLE, UNKNOWN_SCHEMA)
    assert poison.detail.isascii()
    assert len(poison.detail) < 400


@every_record
@given(data=st.data(), noise=st.binary(max_size=300))
def test_random_bytes_are_poison_or_a_record(name: str, data: st.DataObject, noise: bytes) -> None:
    """F21, also behind a valid header."""
    encode, decode, values = CODECS[name]
    header = encode(data.draw(values))[:10]
    reads_or_is_poison(decode, noise)
    reads_or_is_poison(decode, header + noise)


@every_record
@given(data=st.data())
def test_damaged_records_are_poison_or_a_record(name: str, data: st.DataObject) -> None:
    """F21: bytes changed, cut out and put in anywhere in a valid record."""
    encode, decode, values = CODECS[name]
    damaged = bytearray(encode(data.draw(values)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        length = data.draw(st.integers(0, 3))
        damaged[start : start + length] = data.draw(st.binary(max_size=12))
    reads_or_is_poison(decode, bytes(damaged))


@every_record
@given(data=st.data())
def test_a_record_cut_short_anywhere_is_poison(name: str, data: st.DataObject) -> None:
    """F21: truncated Avro."""
    encode, decode, values = CODECS[name]
    whole = encode(data.draw(values))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(PoisonRecord) as poison:
        decode(whole[:cut])
    assert poison.value.reason == UNDECODABLE


def test_the_usual_invocation_cut_short_by_any_number_of_bytes_is_poison() -> None:
    """F21; the reader takes a shortcut over its empty tail."""
    whole = encode_invocation(PLAIN)
    for cut in range(len(whole)):
        with pytest.raises(PoisonRecord):
            decode_invocation(whole[:cut])


@every_record
@given(data=st.data(), garbage=st.binary(min_size=1, max_size=20))
def test_trailing_garbage_is_poison(name: str, data: st.DataObject, garbage: bytes) -> None:
    """F21."""
    encode, decode, values = CODECS[name]
    with pytest.raises(PoisonRecord, match="should be"):
        decode(encode(data.draw(values)) + garbage)


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (None, UNDECODABLE, "no value"),
        (b"", UNDECODABLE, "empty"),
        (b"\xc3", UNDECODABLE, "starts with c3 instead"),
        (b"\xc3\x01\x00", UNDECODABLE, "inside its header"),
        (b'{"n": 1}', UNDECODABLE, "starts with 7b22 instead of c301"),
        (b"\x00\x00\x00\x00\x07body", UNKNOWN_SCHEMA, "registry"),
        (b"\xc3\x01abcdefghbody", UNKNOWN_SCHEMA, "6162636465666768; a newer barnabas"),
        (encode_reply(Reply("c", b"", bytes(24))), UNKNOWN_SCHEMA, "no known version of invocation"),
    ],
)
def test_poison_says_what_is_wrong(data: bytes | None, reason: str, says: str) -> None:
    """F21: tombstone, wrong magic, unknown schema."""
    with pytest.raises(PoisonRecord, match=says) as poison:
        decode_invocation(data)
    assert poison.value.reason == reason


HEADER = encode_invocation(PLAIN)[:10]
BEFORE_SERVICE = HEADER + bytes(24)
BEFORE_MAP = BEFORE_SERVICE + b"\x02S\x02h\x00\x00"
HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2**63 - 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (BEFORE_SERVICE + b"\x01", "negative length"),
        (BEFORE_SERVICE + HUGE, "IndexError"),
        (BEFORE_SERVICE + b"\xff" * 2000, "more than 64 bits"),
        (BEFORE_SERVICE + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (BEFORE_SERVICE + b"\x04\xff\xfe", "UnicodeDecodeError"),
        (BEFORE_SERVICE + b"\x02S\x02h\x04", "no such branch"),
        (BEFORE_MAP + HUGE, "IndexError"),
        (BEFORE_MAP + HUGE + b"\x00" * 100, "IndexError"),
    ],
)
def test_bombs_and_broken_lengths_are_poison(data: bytes, says: str) -> None:
    """F21: counts and lengths far beyond the data cost neither memory nor time."""
    with pytest.raises(PoisonRecord, match=says):
        decode_invocation(data)


def test_maps_in_several_blocks_with_sizes_are_read() -> None:
    """As writers in other languages may lay them out."""
    entries = b"\x01\x08\x02a\x02b" + b"\x02\x02c\x02d" + b"\x00"
    assert decode_invocation(BEFORE_MAP + entries + b"\x00" * 6).headers == {"a": "b", "c": "d"}


@given(longs)
@example(-(2**63))
@example(2**63 - 1)
@example(-1)
@example(1023)
@example(1024)
def test_numbers_of_64_bits_round_trip(number: int) -> None:
    signal = Signal(SignalKind.KILL, bytes(24), number)
    assert decode_signal(encode_signal(signal)) == signal


def test_values_that_the_schema_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="24 bytes, this has 3"):
        encode_invocation(Invocation(b"abc", "S", "h", None, b""))
    with pytest.raises(ValueError, match="24 bytes"):
        encode_signal(Signal(SignalKind.CANCEL, b""))
    with pytest.raises(ValueError, match="64 bits"):
        encode_invocation(Invocation(bytes(24), "S", "h", None, b"", due=2**63))
    with pytest.raises(UnicodeEncodeError):
        encode_invocation(Invocation(bytes(24), "S", "h", "\ud800", b""))


def version_of(declared: dict[str, Any], version: int) -> Schema:
    print_ = bytes.fromhex(fingerprint(to_parsing_canonical_form(declared), "CRC-64-AVRO"))
    return Schema("invocation", version, print_, parse_schema(declared))


def test_an_older_version_is_read_with_the_newest_ones_fields_and_defaults() -> None:
    declared = json.loads((folder("schemas") / "invocation.v2.avsc").read_text())
    kept = [field for field in declared["fields"] if field["name"] not in ("due", "headers")]
    older = dict(declared, fields=[{"name": "dropped_since", "type": "string"}, *kept])
    versions = (version_of(older, 1), version_of(declared, 2))
    reader = RecordReader(versions, codec._invocation)
    fields = {**avro_fields(PLAIN), "dropped_since": "x"}
    written = io.BytesIO(b"\xc3\x01" + versions[0].fingerprint)
    written.seek(10)
    schemaless_writer(written, versions[0].parsed, fields)
    assert reader.decode(written.getvalue()) == PLAIN
    assert reader.decode(encode_invocation(PLAIN)) == PLAIN
    with pytest.raises(PoisonRecord, match="should be"):
        reader.decode(written.getvalue() + b"x")
    with pytest.raises(PoisonRecord, match="malformed invocation"):
        reader.decode(written.getvalue()[:-1])


@given(value=invocations)
def test_fastavro_and_our_own_reader_agree(value: Invocation) -> None:
    by_fastavro = RecordReader(schemas("invocation"), codec._invocation)
    assert by_fastavro.decode(encode_invocation(value)) == decode_invocation(encode_invocation(value))


@given(value=signals)
def test_fastavro_and_our_own_signal_reader_agree(value: Signal) -> None:
    by_fastavro = RecordReader(schemas("signal"), codec._signal)
    assert by_fastavro.decode(encode_signal(value)) == decode_signal(encode_signal(value))


@given(value=replies)
def test_fastavro_and_our_own_reply_reader_agree(value: Reply) -> None:
    by_fastavro = RecordReader(schemas("reply"), codec._reply)
    assert by_fastavro.decode(encode_reply(value)) == decode_reply(encode_reply(value))
