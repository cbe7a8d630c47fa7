"""What a query reads, by the plan that DuckDB makes of it, so that nothing else is asked of the store. Pure.

The plan is made while the tables are empty. What it says must hold when they are not: so `sql` has switched off the one
optimisation that looks at a table's content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any


def columns_read(plan: str, tables: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Table -> those of its columns that the plan (EXPLAIN as JSON) reads. Tables that it does not read are left out.

    Rather too many than too few: a column counts that is named anywhere in what is said of a scan.
    """
    found: dict[str, set[str]] = {}
    for said in _said_of_scans(json.loads(plan)):
        name = str(said["Table"]).rpartition(".")[2].strip('"')
        if name in tables:
            words = set(re.findall(r"\w+", json.dumps(said)))
            read = words.intersection(tables[name]) if "Projections" in said else set(tables[name])
            found.setdefault(name, set()).update(read)
    return found


def _said_of_scans(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if "Table" in node["extra_info"]:
            yield node["extra_info"]
        yield from _said_of_scans(node["children"])
