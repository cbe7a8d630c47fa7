"""Which object a record is about, by the rule of its subscription. Called by `intake`.

What is no usable key ends in PoisonRecord: the record becomes a dead letter, and others go on.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from barnabas.contract.errors import UNADDRESSED, PoisonRecord
from barnabas.sdk.subscription import KeyRule, SourceRecord, is_text, key_field, key_header


def key_of(rule: KeyRule, record: SourceRecord) -> str:
    """The key of the object that this record is about. Raises PoisonRecord."""
    found = _found(rule, record)
    if isinstance(found, UUID) or (isinstance(found, int) and not isinstance(found, bool)):
        found = str(found)
    if not isinstance(found, str) or not found:
        what = "is empty" if found == "" else f"is of type {type(found).__name__}, and a key is text"
        raise PoisonRecord(UNADDRESSED, f"{_named(rule)} {what}")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise PoisonRecord(UNADDRESSED, f"{_named(rule)} has half of a surrogate pair") from None
    return found


def _found(rule: KeyRule, record: SourceRecord) -> Any:
    if not is_text(rule):
        try:
            return rule(record)  # type: ignore[operator]  # TypeGuard says nothing about its else
        except Exception as error:  # the user's code: this record has no key, the next one may have
            raise PoisonRecord(UNADDRESSED, f"the key rule raised {_described(error)}") from error
    field, header = key_field(rule), key_header(rule)
    if field is not None:
        return _field(rule, field, record.content)
    if header is not None:
        return _text(rule, _header(header, record))
    return _text(rule, record.key)


def _field(rule: KeyRule, path: list[str], content: Any) -> Any:
    for name in path:
        if not isinstance(content, dict) or name not in content:
            raise PoisonRecord(UNADDRESSED, f"the value has no {ascii(rule)[1:-1]}")
        content = content[name]
    return content


def _header(name: str, record: SourceRecord) -> bytes | None:
    values = [value for header, value in record.headers if header == name]
    if len(values) > 1:
        raise PoisonRecord(UNADDRESSED, f"the header {ascii(name)[1:-1]} occurs more than once")
    return values[0] if values else None


def _text(rule: KeyRule, raw: bytes | None) -> str:
    if raw is None:
        raise PoisonRecord(UNADDRESSED, f"the record has no {'key' if rule == 'key' else ascii(rule)[1:-1]}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise PoisonRecord(UNADDRESSED, f"{_named(rule)} is not UTF-8") from None


def _named(rule: KeyRule) -> str:
    """What to call the key that a rule gives."""
    if not is_text(rule):
        return "what the key rule returned"
    return "the record's key" if rule == "key" else f"the key at {ascii(rule)[1:-1]}"


def _described(error: Exception) -> str:
    text = ascii(str(error))[1:-1]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
