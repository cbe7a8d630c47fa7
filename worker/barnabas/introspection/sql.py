"""SQL over what the store has: DuckDB in memory, filled with the tables that a query mentions, thrown away after it.

A query may only read: one SELECT, no files, no network, no settings. It has a limit of rows and one of time, which its
reads of the store count towards. Each shard is read at one moment, shards one after the other. Called by the admin API
and by `barnabas sql`. The only file that imports duckdb, which the extra `barnabas[admin]` installs.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from barnabas.introspection.copying import Copy, copies
from barnabas.introspection.tables import SERVICES, TABLES, Row, Table, in_calendar, service_rows
from barnabas.store.looking import Looks
from barnabas.store.port import Service

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

_CONFIG: Final = {
    "threads": "2",
    "memory_limit": "512MB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # else a name that is no table would be looked for in our variables
}
_READS: Final = ("SELECT", "EXPLAIN")
_INTERRUPT_SECONDS: Final = 0.1
#: Beyond it, JSON readers that have doubles alone would read another number.
_EXACT: Final = 2**53


class QueryRefused(Exception):
    """The query cannot be answered as it is; the message says why."""


class QueryTooSlow(Exception):
    """The query and its reads took longer than its limit."""


class NoDuckdb(Exception):
    """DuckDB is not installed."""

    def __init__(self) -> None:
        super().__init__("SQL needs DuckDB, which is not installed: pip install 'barnabas[admin]'")


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a query. `truncated`: there were more than its limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


async def run_query(
    looks: Looks, services: Mapping[str, Service], query: str, *, most_rows: int = 10_000, seconds: float = 30.0
) -> Answer:
    """Answer a query. Raises QueryRefused, QueryTooSlow, NoDuckdb, TooLarge, StoreUnavailable, StoreCorrupt."""
    database = await asyncio.to_thread(_connected)
    try:
        async with asyncio.timeout(seconds):
            wanted = await _threaded(database, partial(_tables_of, database, query))
            await _fill(database, looks, services, wanted)
            return await _threaded(database, partial(_answered, database, query, most_rows))
    except TimeoutError:
        raise QueryTooSlow(f"the query took longer than {seconds:g} s: narrow it down") from None
    finally:
        database.close()


def plain_rows(answer: Answer) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [{name: plain(value) for name, value in zip(answer.columns, row, strict=True)} for row in answer.rows]


def plain(value: Any) -> Any:
    """A value for JSON: bytes in hex, times in ISO 8601, numbers that doubles cannot hold as text."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= _EXACT else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case list() | tuple():
            return [plain(one) for one in value]
        case dict():
            return {str(name): plain(one) for name, one in value.items()}
        case date() | time():
            return value.isoformat()
        case timedelta() | Decimal() | UUID():
            return str(value)
        case _:
            return str(value)


# -- the database


def _connected() -> DuckDBPyConnection:
    try:
        import duckdb
    except ImportError:
        raise NoDuckdb from None
    database = duckdb.connect(":memory:", config=dict(_CONFIG))
    database.execute("SET TimeZone = 'UTC'")
    for table in TABLES.values():
        columns = ", ".join(f'"{name}" {kind}' for name, kind in table.columns.items())
        database.execute(f'CREATE TABLE "{table.name}" ({columns})')
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _tables_of(database: DuckDBPyConnection, query: str) -> list[Table]:
    """The tables that a query mentions. Raises QueryRefused unless it is one that reads."""
    import duckdb

    try:
        statements = database.extract_statements(query)
        kinds = [statement.type.name for statement in statements]
        if len(kinds) != 1 or kinds[0] not in _READS:
            raise QueryRefused("a query is one SELECT statement, and changes nothing")
    except duckdb.Error as error:
        raise QueryRefused(_first_lines(error)) from None
    try:
        names = {name.lower() for name in database.get_table_names(query)}
    except duckdb.Error:  # it cannot tell of every query (JOIN ... USING): then whatever is named in its text
        names = set(re.findall(r"\w+", query.lower()))
    return [table for table in TABLES.values() if table.name in names]


async def _fill(
    database: DuckDBPyConnection, looks: Looks, services: Mapping[str, Service], wanted: Sequence[Table]
) -> None:
    if SERVICES in wanted:
        await _threaded(database, partial(_insert, database, SERVICES, list(service_rows(services))))
    parts = {part: None for table in wanted for part in table.parts}
    async for copy in copies(looks, services, parts):
        for table in wanted:
            if table.parts and (copy.service is not None or "waiting" in table.parts):
                await _threaded(database, partial(_insert_copy, database, table, copy))


def _insert_copy(database: DuckDBPyConnection, table: Table, copy: Copy) -> None:
    _insert(database, table, list(table.rows(copy)))


def _insert(database: DuckDBPyConnection, table: Table, rows: Sequence[Row]) -> None:
    """Columns go in as lists: row by row, DuckDB takes a millisecond for each."""
    if not rows:
        return
    columns: list[list[Any]] = []
    terms = []
    for kind, values in zip(table.columns.values(), zip(*rows, strict=True), strict=True):
        if kind == "TIMESTAMPTZ":
            columns.append([in_calendar(value) for value in values])
            terms.append("to_timestamp(unnest(?::BIGINT[]) / 1000.0)")
        else:
            columns.append(list(values))
            terms.append(f"unnest(?::{kind}[])")
    database.execute(f'INSERT INTO "{table.name}" SELECT {", ".join(terms)}', columns)


def _answered(database: DuckDBPyConnection, query: str, most_rows: int) -> Answer:
    import duckdb

    try:
        result = database.execute(query)
        rows = result.fetchmany(most_rows + 1)
        columns = [str(column[0]) for column in result.description or ()]
    except duckdb.InterruptException as error:
        raise QueryTooSlow(str(error)) from None
    except duckdb.Error as error:
        raise QueryRefused(_first_lines(error)) from None
    except (OverflowError, ValueError) as error:  # a value that Python has no form for, as a date before year 1
        raise QueryRefused(f"the result has a value that cannot be shown: {error}") from None
    return Answer(columns, rows[:most_rows], len(rows) > most_rows)


async def _threaded(database: DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Work on a thread, broken off when the caller is cancelled; it is over when this returns."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():  # an interrupt that comes before the query has begun is forgotten
            database.interrupt()
            await asyncio.wait([task], timeout=_INTERRUPT_SECONDS)
        task.exception()
        raise


def _first_lines(error: Exception) -> str:
    return str(error).split("\n\n", 1)[0].replace("\n", " ")
