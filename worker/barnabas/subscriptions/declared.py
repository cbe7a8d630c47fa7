"""Reads subscriptions from a YAML file, whose fields are the arguments of `barnabas.Subscription`. For the CLI."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from barnabas.sdk.subscription import Subscription

_NEEDED: Final = ("topic", "handler")
_FIELDS: Final = (*_NEEDED, "key", "format", "schema", "framing", "start", "name", "group")


class NotDeclared(Exception):
    """The file does not say which subscriptions there are; the message says where and why."""


def read_subscriptions(file: Path) -> list[Subscription]:
    """Those of a file: a list, or a mapping with the list under `subscriptions`. Raises NotDeclared.

    The path of a schema counts from the file's folder.
    """
    try:
        declared = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotDeclared(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NotDeclared(f"{file} is no YAML: {error}") from error
    if isinstance(declared, dict) and declared.keys() == {"subscriptions"}:
        declared = declared["subscriptions"]
    if not isinstance(declared, list):
        raise NotDeclared(f"{file} must hold a list of subscriptions, with a topic and a handler each")
    return [_subscription(file, number, one) for number, one in enumerate(declared, 1)]


def _subscription(file: Path, number: int, fields: Any) -> Subscription:
    place = f"{file}, subscription {number}"
    if not isinstance(fields, dict):
        raise NotDeclared(f"{place}: it is no mapping")
    if unknown := [str(name) for name in fields if name not in _FIELDS]:
        raise NotDeclared(f"{place}: there is no field {unknown[0]!r}; there are {', '.join(_FIELDS)}")
    if missing := [name for name in _NEEDED if name not in fields]:
        raise NotDeclared(f"{place}: {missing[0]} is missing")
    try:
        return Subscription(**_completed(file, fields))
    except (ValueError, TypeError, OSError) as error:
        raise NotDeclared(f"{place}: {error}") from error


def _completed(file: Path, fields: dict[str, Any]) -> dict[str, Any]:
    schema, start = fields.get("schema"), fields.get("start")
    if isinstance(schema, str) and schema.endswith((".avsc", ".json")):
        fields = {**fields, "schema": file.parent / schema}
    if isinstance(start, str) and start not in ("earliest", "latest"):
        fields = {**fields, "start": datetime.fromisoformat(start)}
    return fields
