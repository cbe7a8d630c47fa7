"""Avro's binary encoding of the few types that our records are made of. Called by `wire` alone.

Written out in Python because a record's worth of it takes a quarter of what fastavro takes, most of which goes into
generality; fastavro stays the reference in the tests, and the reader of older schema versions.

Readers take the whole record and a position and return the value with the position behind it. They may run past the end
of a record that was cut short (IndexError, or a position that lies outside): the caller compares the last position with
the length, and takes every exception for a malformed record. No reader ever goes backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

NULL: Final = b"\x00"  # the first branch of a union
SOME: Final = b"\x02"  # the second one
_LONG_MIN: Final = -(1 << 63)
_LONG_MAX: Final = (1 << 63) - 1


def write_long(value: int) -> bytes:
    """Raises ValueError for what does not fit 64 bits."""
    return _SMALL[value] if 0 <= value < 1024 else _varint(value)


def _varint(value: int) -> bytes:
    if not _LONG_MIN <= value <= _LONG_MAX:
        raise ValueError(f"{value} does not fit 64 bits")
    rest = value << 1 if value >= 0 else ~(value << 1)
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


_SMALL: Final = tuple(_varint(value) for value in range(1024))


def write_bytes(value: bytes) -> bytes:
    """`value` with its length before it."""
    length = len(value)
    return (_SMALL[length] if length < 1024 else _varint(length)) + value


def write_text(value: str) -> bytes:
    """Raises UnicodeEncodeError (a ValueError) for lone surrogates."""
    encoded = value.encode()
    length = len(encoded)
    return (_SMALL[length] if length < 1024 else _varint(length)) + encoded


def write_map(value: Mapping[str, str]) -> bytes:
    """The entries in their order, as one block."""
    if not value:
        return NULL
    entries = [write_text(name) + write_text(text) for name, text in value.items()]
    return write_long(len(entries)) + b"".join(entries) + NULL


def write_array(values: Sequence[T], write: Callable[[T], bytes]) -> bytes:
    """The items in their order, as one block."""
    return write_long(len(values)) + b"".join(map(write, values)) + NULL if values else NULL


def write_optional(value: T | None, write: Callable[[T], bytes]) -> bytes:
    """A union of null and what `write` writes."""
    return NULL if value is None else SOME + write(value)


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """Raises ValueError for more than 64 bits."""
    byte = data[position]
    position += 1
    value = byte & 0x7F
    shift = 7
    while byte > 0x7F:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number of more than 64 bits")
    if value >> 64:
        raise ValueError("a number of more than 64 bits")
    return value >> 1 ^ -(value & 1), position


def read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    byte = data[position]
    if byte & 0x81:  # a length of 64 and more, or a negative one
        length, position = _read_length(data, position)
    else:
        length = byte >> 1
        position += 1
    end = position + length
    return data[position:end], end


def read_text(data: bytes, position: int) -> tuple[str, int]:
    """Raises UnicodeDecodeError."""
    byte = data[position]
    if byte & 0x81:
        length, position = _read_length(data, position)
    else:
        length = byte >> 1
        position += 1
    end = position + length
    return data[position:end].decode(), end


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    length, position = read_long(data, position)
    if length < 0:
        raise ValueError("a negative length")
    return length, position


def read_fixed(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    end = position + size
    return data[position:end], end


def read_map(data: bytes, position: int) -> tuple[dict[str, str], int]:
    """A count far above what follows is no danger: every entry takes two bytes at least, so the data end first."""
    entries: dict[str, str] = {}
    while True:
        count, position = read_long(data, position)
        if count == 0:
            return entries, position
        if count < 0:  # a block that tells its size in bytes as well
            count = -count
            _, position = read_long(data, position)
        for _ in range(count):
            name, position = read_text(data, position)
            entries[name], position = read_text(data, position)


def read_array(data: bytes, position: int, read: Callable[[bytes, int], tuple[T, int]]) -> tuple[list[T], int]:
    """As `read_map`: every item that `read` reads takes a byte at least, so the data end before a false count does."""
    items: list[T] = []
    while True:
        count, position = read_long(data, position)
        if count == 0:
            return items, position
        if count < 0:
            count = -count
            _, position = read_long(data, position)
        for _ in range(count):
            item, position = read(data, position)
            items.append(item)


def read_optional(data: bytes, position: int, read: Callable[[bytes, int], tuple[T, int]]) -> tuple[T | None, int]:
    """A union of null and what `read` reads. Raises ValueError for a third branch."""
    branch = data[position]
    if branch == 0:
        return None, position + 1
    if branch != 2:
        raise ValueError("a union has no such branch")
    return read(data, position + 1)
