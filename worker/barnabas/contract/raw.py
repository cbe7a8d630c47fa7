"""Raw records: invocations written by people with only a Kafka client at hand, payload as value, headers as address.

A record with the header `barnabas-handler` is raw, whatever its bytes. Four headers act: `barnabas-handler`,
`barnabas-idempotency-key`, `content-type` and `traceparent` (the last two are handed on to the handler); every other
one, however it is named, is ignored, so a record from outside cannot forge a caller, an id or a label.

Policy for what is odd (F22, F24): an acting header that comes twice, has no value or is not UTF-8 makes the record
poison, as does an empty handler name or idempotency key. The key of an object must be non-empty UTF-8; any such text is
a key, NUL and braces included. A service ignores the record key. A record without a value (a tombstone) has an empty
payload. Called by the worker; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from barnabas.contract.errors import UNADDRESSED, UNDECODABLE, PoisonRecord
from barnabas.contract.ids import idempotent_id, record_id
from barnabas.contract.records import Invocation

HANDLER: Final = "barnabas-handler"
IDEMPOTENCY_KEY: Final = "barnabas-idempotency-key"
_HANDED_ON: Final = ("content-type", "traceparent")
_ACTING: Final = (HANDLER, IDEMPOTENCY_KEY, *_HANDED_ON)

Headers = Sequence[tuple[str, bytes | None]]


def is_raw(headers: Headers | None) -> bool:
    """Whether a record of an invocations topic is raw; any other one is an encoded invocation."""
    if not headers:
        return False
    return any(name == HANDLER for name, _ in headers)


def parse_raw(
    service: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    *,
    keyed: bool,
    topic_id: bytes,
    partition: int,
    offset: int,
) -> Invocation:
    """The invocation that a raw record of the service's invocations topic asks for. Raises PoisonRecord.

    `keyed`: the service has keys (object or workflow). `topic_id` (the broker's 16 bytes), `partition` and `offset` are
    where the record lies, and its identity where it has no idempotency key. The invocation belongs to the partition of
    its own id, which for a service is seldom the record's.
    """
    acting = _acting(headers)
    handler = acting.get(HANDLER)
    if not handler or handler.startswith("@"):  # what begins so is no handler of people's
        raise PoisonRecord(UNADDRESSED, f"the header {HANDLER} names no handler")
    target_key = _key(service, key) if keyed else None
    idempotency_key = acting.get(IDEMPOTENCY_KEY)
    if idempotency_key is None:
        id = record_id(service, target_key, topic_id, partition, offset)
    elif idempotency_key:
        id = idempotent_id(service, handler, target_key, idempotency_key)
    else:
        raise PoisonRecord(UNDECODABLE, f"the header {IDEMPOTENCY_KEY} is empty; leave it out, or give it a value")
    handed_on = {name: text for name, text in acting.items() if name in _HANDED_ON}
    return Invocation(id, service, handler, target_key, value or b"", handed_on, idempotency_key=idempotency_key)


def _acting(headers: Headers) -> dict[str, str]:
    acting: dict[str, str] = {}
    for name, value in headers:
        if name not in _ACTING:
            continue
        reason = UNADDRESSED if name == HANDLER else UNDECODABLE
        if name in acting:
            raise PoisonRecord(reason, f"the header {name} occurs more than once")
        if value is None:
            raise PoisonRecord(reason, f"the header {name} has no value")
        try:
            acting[name] = value.decode()
        except UnicodeDecodeError as error:
            raise PoisonRecord(reason, f"the header {name} is not UTF-8") from error
    return acting


def _key(service: str, key: bytes | None) -> str:
    if not key:
        raise PoisonRecord(
            UNADDRESSED, f"the record has no key, and {service} has one per object: give the record a key"
        )
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise PoisonRecord(UNADDRESSED, "the record's key is not UTF-8") from error
