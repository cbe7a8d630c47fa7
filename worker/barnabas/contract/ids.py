"""Invocation ids: made once, then carried. The id alone finds topic, partition and store slot.

24 bytes: 4 of the service name's hash, 4 (big endian) of the partition key's hash, 16 of identity. The partition hash
has 31 bits; the bit above it is the delay bit, "waits in delays". The text form is `inv_` and the 24 bytes as 33 base62
digits.

Every derived identity is a BLAKE2b over length-prefixed fields, personalised per kind of derivation, so that neither
two kinds nor two splits of the same characters into fields ever give one id. Text with lone surrogates raises
UnicodeEncodeError, a ValueError, everywhere here. Pure; called by clients and by the engine.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from os import urandom
from typing import Final, Self

from barnabas.contract.partitioning import partition_hash, partition_of, remembered_partition_hash

ID_BYTES: Final = 24
_PREFIX: Final = "inv_"
_AWAKEABLE: Final = "sign_1"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT_DIGITS: Final = 33  # the least n with 62**n >= 2**192
_CHUNK_DIGITS: Final = 11
_CHUNK: Final = 62**_CHUNK_DIGITS
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_DELAY_BIT: Final = 0x80000000

# One per kind of derivation; at most 16 bytes.
_SERVICE: Final = b"barnabas.service"
_IDEMPOTENT: Final = b"barnabas.idemp"
_WORKFLOW: Final = b"barnabas.wflow"
_CHILD: Final = b"barnabas.child"
_RECORD: Final = b"barnabas.record"
_SUBSCRIBED: Final = b"barnabas.subscr"


class MalformedId(ValueError):
    """The text or the bytes given are no invocation id; the message says what is wrong with them."""


class InvocationId(bytes):
    """An invocation id: its 24 bytes, equal to and hashing like the same plain bytes."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Raises MalformedId unless `value` has 24 bytes."""
        if len(value) != ID_BYTES:
            raise MalformedId(f"an invocation id has {ID_BYTES} bytes, these are {len(value)}")
        return bytes.__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> InvocationId:
        """The id that was written as `text`. Raises MalformedId."""
        if not text.startswith(_PREFIX):
            raise MalformedId(f"an invocation id starts with {_PREFIX!r}, this does not: {_shortened(text)}")
        digits = text[len(_PREFIX) :]
        if len(digits) != _TEXT_DIGITS:
            raise MalformedId(
                f"an invocation id has {_TEXT_DIGITS} digits after {_PREFIX!r}, not {len(digits)}: {_shortened(text)}"
            )
        number = 0
        for digit in digits:
            value = _VALUES.get(digit)
            if value is None:
                raise MalformedId(f"{digit!a} does not occur in invocation ids: {_shortened(text)}")
            number = number * 62 + value
        if number >> 8 * ID_BYTES:
            raise MalformedId(f"no invocation id is that large, a character must have changed: {_shortened(text)}")
        return cls(number.to_bytes(ID_BYTES, "big"))

    def __str__(self) -> str:
        number = int.from_bytes(self, "big")
        digits = []
        for _ in range(_TEXT_DIGITS // _CHUNK_DIGITS):  # chunks fit into a machine word, where a division costs least
            number, chunk = divmod(number, _CHUNK)
            for _ in range(_CHUNK_DIGITS):
                chunk, value = divmod(chunk, 62)
                digits.append(_DIGITS[value])
        return _PREFIX + "".join(reversed(digits))

    def __repr__(self) -> str:
        return f"InvocationId({str(self)!r})"

    @property
    def key_hash(self) -> int:
        """The 31-bit hash of the partition key, see `partitioning.partition_hash`."""
        return int.from_bytes(self[4:8], "big") & 0x7FFFFFFF

    @property
    def delayed(self) -> bool:
        """Whether the invocation waits in the delays topic before it goes to its target."""
        return self[4] >= 0x80

    @property
    def identity(self) -> bytes:
        """The 16 bytes that tell invocations of one target apart."""
        return self[8:]

    @property
    def service_partition_key(self) -> str:
        """The partition key of an invocation of a service (which has no key of its own): the identity in hex."""
        return self[8:].hex()

    def partition(self, partitions: int) -> int:  # type: ignore[override]  # hides bytes.partition, which no id needs
        """The partition of the target's topics, which have that many partitions."""
        return partition_of(self.key_hash, partitions)

    def of_service(self, name: str) -> bool:
        """Whether the id is one of this service, object or workflow (a chance of 2**-32 aside)."""
        return self[:4] == _service_hash(name)


def random_id(service: str, key: str | None, *, delayed: bool = False) -> InvocationId:
    """A new id, for a plain request from outside. `key=None` for a service."""
    return _id(service, key, urandom(16), delayed)


def idempotent_id(service: str, handler: str, key: str | None, idempotency_key: str) -> InvocationId:
    """The one id of all requests to this target with this idempotency key."""
    return _derived(service, key, _IDEMPOTENT, _target(service, handler) + _key_field(key) + _field(idempotency_key))


def workflow_id(service: str, key: str) -> InvocationId:
    """The one id of a workflow's run under this key."""
    return _derived(service, key, _WORKFLOW, _target(service, "run") + _key_field(key))


def child_id(
    caller: bytes,
    position: int,
    service: str,
    handler: str,
    key: str | None,
    payload: bytes,
    *,
    delayed: bool = False,
) -> InvocationId:
    """The id of a call or send made inside a handler.

    `caller` is the calling invocation's id (24 bytes), `position` where the call stands in its journal. Target and
    argument are part of the id: a run that comes out differently gets another id, never another call's result.
    """
    fields = caller + position.to_bytes(8, "big") + _target(service, handler) + _key_field(key) + payload
    return _id(service, key, blake2b(fields, digest_size=16, person=_CHILD).digest(), delayed)


def record_id(service: str, key: str | None, topic_id: bytes, partition: int, offset: int) -> InvocationId:
    """The id of what a raw record asks for, which carries no id.

    `topic_id` is the broker's 16-byte id of the topic, so that a topic deleted and made again starts new ids.
    """
    place = _place(topic_id, partition, offset)
    return _derived(service, key, _RECORD, place + _field(service) + _key_field(key))


def subscribed_id(
    service: str, key: str | None, subscription: str, round: int, topic_id: bytes, partition: int, offset: int
) -> InvocationId:
    """The id of what a record of a subscribed topic becomes.

    Each subscription has its own, whether or not they share topic and service. `round`: how often the subscription was
    set to another place, since what people have run again is to run again.
    """
    place = _place(topic_id, partition, offset) + round.to_bytes(8, "big") + _field(subscription)
    return _derived(service, key, _SUBSCRIBED, place + _field(service) + _key_field(key))


def _place(topic_id: bytes, partition: int, offset: int) -> bytes:
    if len(topic_id) != 16:
        raise ValueError(f"a topic id has 16 bytes, this has {len(topic_id)}")
    return topic_id + partition.to_bytes(4, "big") + offset.to_bytes(8, "big")


def awakeable_id(invocation: bytes, position: int) -> str:
    """The id of an awakeable, to give away: which invocation waits, and at which position of its journal.

    `sign_1` and 38 characters of URL-safe base64, as long as Restate's.
    """
    return _AWAKEABLE + urlsafe_b64encode(invocation + position.to_bytes(4, "big")).decode().rstrip("=")


def parse_awakeable_id(text: str) -> tuple[InvocationId, int]:
    """The invocation and the position that `awakeable_id` wrote down. Raises MalformedId."""
    if not text.startswith(_AWAKEABLE):
        raise MalformedId(f"an awakeable's id starts with {_AWAKEABLE!r}, this does not: {_shortened(text)}")
    digits = text[len(_AWAKEABLE) :]
    try:
        raw = urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except ValueError as error:
        raise MalformedId(f"this is no awakeable's id: {_shortened(text)}") from error
    if len(raw) != ID_BYTES + 4 or awakeable_id(raw[:ID_BYTES], int.from_bytes(raw[ID_BYTES:], "big")) != text:
        raise MalformedId(f"this is no awakeable's id, a character must have changed: {_shortened(text)}")
    return InvocationId(raw[:ID_BYTES]), int.from_bytes(raw[ID_BYTES:], "big")


def _derived(service: str, key: str | None, kind: bytes, fields: bytes) -> InvocationId:
    return _id(service, key, blake2b(fields, digest_size=16, person=kind).digest(), delayed=False)


def _id(service: str, key: str | None, identity: bytes, delayed: bool) -> InvocationId:
    key_hash = partition_hash(identity.hex().encode()) if key is None else remembered_partition_hash(key.encode())
    if delayed:
        key_hash |= _DELAY_BIT
    # Past the length check of __new__: these are 24 bytes by construction, and this runs per call.
    return bytes.__new__(InvocationId, _service_hash(service) + key_hash.to_bytes(4, "big") + identity)


@lru_cache(maxsize=4096)
def _service_hash(service: str) -> bytes:
    return blake2b(service.encode(), person=_SERVICE).digest()[:4]


@lru_cache(maxsize=4096)
def _target(service: str, handler: str) -> bytes:
    return _field(service) + _field(handler)


def _field(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def _key_field(key: str | None) -> bytes:
    return b"\x00" if key is None else b"\x01" + _field(key)


def _shortened(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "...")
