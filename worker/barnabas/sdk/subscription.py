"""`Subscription`: every record of a Kafka topic becomes an invocation of a handler.

Part of an app, or read from a YAML file (`subscriptions.declared`). Opens nothing; a worker of the app reads the topic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeGuard, get_args

from barnabas.sdk.handler import Handler, handler_of

if TYPE_CHECKING:
    from barnabas.sdk.avro import AvroSerde

Format = Literal["json", "avro", "raw"]
Framing = Literal["confluent", "none"]
Start = Literal["earliest", "latest"]

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,180}")
_TARGET: Final = re.compile(r"(?P<service>[A-Za-z_][A-Za-z0-9_-]*)/(?P<handler>[A-Za-z_][A-Za-z0-9_.-]*)")
_FIELD: Final = re.compile(r"\$(\.[^.]+)+")
_HEADER: Final = "header:"
RECORD_KEY: Final = "key"


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record of a subscribed topic, as a key rule of your own sees it."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms since the epoch, as the topic has it
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    content: Any  # what the value says, for JSON and Avro; None for raw ones and for a record without a value


KeyRule = str | Callable[[SourceRecord], str]


class Subscription:
    """Every record of `topic` becomes one invocation of `handler`, a handler of a service or its `"Service/handler"`.

    `key`, for objects and workflows: where the object's key is. `"key"`, the record's key, unless given; `"$.a.b"`, a
    field of the value; `"header:name"`, a header; or a function of a `SourceRecord`, which returns it.

    `format`: `"json"`, passed on as it is once it was seen to be JSON; `"avro"`, becomes JSON; `"raw"`, passed on
    unseen. Avro is read with `schema` (a dict, JSON text or the path of a file), or with the schema that each record
    names by its id in a registry. `framing="confluent"`: each value begins with such an id although `schema` reads it.

    `start`: where to begin the first time, `"earliest"`, `"latest"` or a datetime with its timezone. From then on the
    place is kept under `name`, which is also what its records' invocations are recognised by: another name begins anew.

    Raises ValueError or TypeError, which say what to change.
    """

    __slots__ = ("_serde", "format", "framing", "group", "handler", "key", "name", "service", "start", "topic")

    def __init__(
        self,
        topic: str,
        handler: Callable[..., Any] | Handler[Any, Any] | str,
        *,
        key: KeyRule | None = None,
        format: Format = "json",
        schema: Mapping[str, Any] | Sequence[Any] | str | Path | None = None,
        framing: Framing | None = None,
        start: Start | datetime = "earliest",
        name: str | None = None,
        group: str | None = None,
    ) -> None:
        if not isinstance(topic, str) or not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            raise ValueError(f"{topic!r} cannot be the name of a topic")
        keyed, self.service, self.handler = _target(handler)
        self.topic = topic
        self.name = name if name is not None else f"{topic}.{self.service}.{self.handler}"
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} cannot be the name of a subscription: use up to 180 letters, digits, '.', '_' and '-' "
                f"(name=...)"
            )
        if group is not None and not _NAME.fullmatch(group):
            raise ValueError(f"{group!r} cannot be a consumer group: use up to 180 letters, digits, '.', '_' and '-'")
        self.group = group
        self.format = format
        self.key = _key(key, keyed, format, f"{self.service}/{self.handler}")
        self.start = _start(start)
        self._serde, self.framing = _schema(format, schema, framing)

    @property
    def serde(self) -> AvroSerde[Any] | None:
        """Reads its values, where it has a schema of its own."""
        return self._serde

    @property
    def needs_registry(self) -> bool:
        """Whether its values name their schemas by the id that a registry gave them."""
        return self.format == "avro" and self._serde is None

    def __repr__(self) -> str:
        return f"Subscription({self.topic!r}, '{self.service}/{self.handler}', name={self.name!r})"


def key_field(rule: KeyRule) -> list[str] | None:
    """The way to the field that a rule names; None if it names none."""
    return rule[2:].split(".") if is_text(rule) and rule.startswith("$") else None


def key_header(rule: KeyRule) -> str | None:
    """The header that a rule names; None if it names none."""
    return rule[len(_HEADER) :] if is_text(rule) and rule.startswith(_HEADER) else None


def is_text(rule: KeyRule) -> TypeGuard[str]:
    """Whether the rule is written in words, and is no function."""
    return isinstance(rule, str)


def _target(handler: object) -> tuple[bool | None, str, str]:
    """Whether it has keys (None: nobody knows here), and the names of service and handler."""
    if isinstance(handler, str):
        found = _TARGET.fullmatch(handler)
        if found is None:
            raise ValueError(f"{handler!r} names no handler: write 'Service/handler'")
        return None, found["service"], found["handler"]
    known = handler_of(handler)  # type: ignore[arg-type,var-annotated]
    return known.service_tag.kind != "service", known.service_tag.name, known.name


def _key(rule: KeyRule | None, keyed: bool | None, format: Format, target: str) -> KeyRule:
    if rule is None:
        return RECORD_KEY
    if keyed is False:
        raise ValueError(f"{target} is a handler of a service, which has no keys: leave key out")
    if callable(rule):
        return rule
    if not isinstance(rule, str):
        raise TypeError(f"key is text or a function, not a {type(rule).__name__}")
    if _FIELD.fullmatch(rule):
        if format == "raw":
            raise ValueError(f"key={rule!r} is a field of the value, and a raw value has none")
    elif rule != RECORD_KEY and not (rule.startswith(_HEADER) and len(rule) > len(_HEADER)):
        raise ValueError(f"key={rule!r} says nothing: write 'key', '$.field.of.value' or 'header:name'")
    return rule


def _start(start: object) -> Start | datetime:
    if start == "earliest":
        return "earliest"
    if start == "latest":
        return "latest"
    if not isinstance(start, datetime):
        raise ValueError(f"start is 'earliest', 'latest' or a datetime, not {start!r}")
    if start.tzinfo is None:
        raise ValueError(f"start={start.isoformat()} could be anywhere: give it a timezone (tzinfo=timezone.utc)")
    return start


def _schema(format: object, schema: Any, framing: object) -> tuple[AvroSerde[Any] | None, Framing]:
    if format not in get_args(Format):
        raise ValueError(f"format is one of {', '.join(get_args(Format))}, not {format!r}")
    if format != "avro":
        if schema is not None or framing is not None:
            raise ValueError(f"schema and framing are about Avro, and format is {format!r}")
        return None, "none"
    if schema is None:
        if framing == "none":
            raise ValueError("Avro without framing can be read with a schema alone: give schema, or leave framing out")
        return None, "confluent"
    if framing not in (None, *get_args(Framing)):
        raise ValueError(f"framing is 'confluent' or 'none', not {framing!r}")
    from barnabas.sdk.avro import AvroSerde  # and with it fastavro, which nobody needs otherwise

    return AvroSerde(schema), "confluent" if framing == "confluent" else "none"
