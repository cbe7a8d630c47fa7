"""Finds and reads the declarations: `schemas/*.avsc` and `topics/*.yaml`.

In a wheel they lie inside the package, in the source tree at the top of the repository. Called by `codec` and `topics`;
the only I/O of the contract layer, once a file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

_SCHEMA_FILE: Final = re.compile(r"(?P<name>[a-z-]+)\.v(?P<version>[0-9]+)\.avsc")


@dataclass(frozen=True, slots=True)
class Schema:
    """One released version of one record's schema."""

    name: str  # "invocation"
    version: int  # from 1 on
    fingerprint: bytes  # CRC-64-AVRO of the parsing canonical form, 8 bytes, little endian as on the wire
    parsed: Any  # as fastavro's readers and writers take it


def folder(name: str) -> Path:
    """The folder of the `schemas` or `topics` declarations. Raises FileNotFoundError for an incomplete installation."""
    package = Path(__file__).resolve().parents[1]
    places = [package / name, package.parents[1] / name]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"barnabas is not installed completely, there is no folder {name!r} at any of: "
        f"{', '.join(map(str, places))}. Install the package again."
    )


@cache
def schemas(name: str) -> tuple[Schema, ...]:
    """All released versions of the record `name` ("invocation", ...), oldest first."""
    found = []
    for file in folder("schemas").iterdir():
        match = _SCHEMA_FILE.fullmatch(file.name)
        if match and match["name"] == name:
            found.append(_schema(name, int(match["version"]), file))
    if not found:
        raise FileNotFoundError(f"there is no schema {name!r} in {folder('schemas')}")
    return tuple(sorted(found, key=lambda schema: schema.version))


def _schema(name: str, version: int, file: Path) -> Schema:
    declared = json.loads(file.read_text(encoding="utf-8"))
    # fastavro writes the fingerprint's bytes in the order of the wire: least significant first.
    wire_fingerprint = bytes.fromhex(fingerprint(to_parsing_canonical_form(declared), "CRC-64-AVRO"))
    return Schema(name, version, wire_fingerprint, parse_schema(declared))


@cache
def topic_declarations() -> dict[str, dict[str, Any]]:
    """What each file of `topics/` says, by family name (the file's name)."""
    return {
        file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(folder("topics").glob("*.yaml"))
    }
