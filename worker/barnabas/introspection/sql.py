"""SQL over what the store has: DuckDB in memory, filled with what a query reads, thrown away after it.

A query may only read: one SELECT, no files, no network, no settings. It has a limit of rows, one of bytes, and one of
time, which its reads of the store count towards. Each shard is read at one moment, shards one after the other. Called
by the admin API and by `barnabas sql`. The only file that imports duckdb, which the extra `barnabas[admin]` installs.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from barnabas.contract.ids import InvocationId
from barnabas.introspection.copying import copies
from barnabas.introspection.planning import columns_read
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
    "disabled_optimizers": "statistics_propagation",  # which finds at once that an empty table has no rows: `planning`
}
_READS: Final = ("SELECT", "EXPLAIN")
_INTERRUPT_SECONDS: Final = 0.1
#: Of an answer, roughly, as Python holds it.
MOST_BYTES: Final = 64 << 20
#: Rows that are taken out of DuckDB, and put into it, together. What is put in is in memory twice meanwhile.
_ROWS_OUT: Final = 1_024
_ROWS_IN: Final = 10_000
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
            read = await _threaded(database, partial(_read_by, database, query))
            await _fill(database, looks, services, read)
            return await _threaded(database, partial(_answered, database, query, most_rows))
    except TimeoutError:
        raise QueryTooSlow(f"the query took longer than {seconds:g} s: narrow it down") from None
    finally:
        database.close()


def plain_rows(answer: Answer) -> list[dict[str, Any]]:
    """The rows for JSON. Of columns with the same name the second is `name_1`, as DuckDB's own clients have it."""
    names: list[str] = []
    for column in answer.columns:
        others = (f"{column}_{n}" for n in count(1))
        names.append(next(name for name in chain([column], others) if name not in names))
    return [{name: plain(value) for name, value in zip(names, row, strict=True)} for row in answer.rows]


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


def _read_by(database: DuckDBPyConnection, query: str) -> dict[str, list[str]]:
    """Table -> the columns that a query reads. Raises QueryRefused unless it is one that reads."""
    import duckdb

    try:
        kinds = [statement.type.name for statement in database.extract_statements(query)]
        if len(kinds) != 1 or kinds[0] not in _READS:
            raise QueryRefused("a query is one SELECT statement, and changes nothing")
        if kinds[0] == "EXPLAIN":  # which may also execute it
            words = set(re.findall(r"\w+", query.lower()))
            return {name: list(table.columns) for name, table in TABLES.items() if name in words}
        [(_, plan)] = database.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchall()
    except duckdb.Error as error:
        raise QueryRefused(_first_lines(error)) from None
    read = columns_read(plan, {name: table.columns for name, table in TABLES.items()})
    return {name: [one for one in TABLES[name].columns if one in columns] for name, columns in read.items()}


async def _fill(
    database: DuckDBPyConnection, looks: Looks, services: Mapping[str, Service], read: Mapping[str, list[str]]
) -> None:
    if SERVICES.name in read:
        await _threaded(database, partial(_insert, database, SERVICES, read[SERVICES.name], service_rows(services)))
    wanted = [TABLES[name] for name in read if TABLES[name].parts]
    parts = {part: None for table in wanted for part in table.parts_for(read[table.name])}
    async for copy in copies(looks, services, parts):
        for table in wanted:
            if copy.service is not None or "waiting" in table.parts:
                await _threaded(database, partial(_insert, database, table, read[table.name], table.rows(copy)))


def _insert(database: DuckDBPyConnection, table: Table, columns: Sequence[str], rows: Iterator[Row]) -> None:
    """Put these columns of the rows in. They go as lists: row by row, DuckDB takes a millisecond for each."""
    import duckdb

    names = list(table.columns)
    places = [(names.index(name), table.columns[name]) for name in columns]
    terms = ", ".join(_FROM_LISTS.get(kind, f"unnest(?::{kind}[])") for _, kind in places)
    insertion = f'INSERT INTO "{table.name}" ({", ".join(map(_quoted, columns))}) SELECT {terms}'
    only_counted = f'INSERT INTO "{table.name}" ({_quoted(names[0])}) SELECT NULL FROM range(?)'
    try:
        while some := list(islice(rows, _ROWS_IN)):
            if columns:
                lists = [_column(kind, [row[place] for row in some]) for place, kind in places]
                database.execute(insertion, lists)
            else:
                database.execute(only_counted, [len(some)])
    except duckdb.OutOfMemoryException:
        raise QueryRefused(
            f"{table.name} does not fit into {_CONFIG['memory_limit']}: name the columns that you need, and no others"
        ) from None


_FROM_LISTS: Final = {"TIMESTAMPTZ": "to_timestamp(unnest(?::BIGINT[]) / 1000.0)"}


def _quoted(name: str) -> str:
    return f'"{name}"'


def _column(kind: str, values: list[Any]) -> list[Any]:
    if kind == "TIMESTAMPTZ":
        return [in_calendar(value) for value in values]
    if kind == "VARCHAR":
        return [str(value) if isinstance(value, InvocationId) else value for value in values]
    return values


def _answered(database: DuckDBPyConnection, query: str, most_rows: int) -> Answer:
    import duckdb

    try:
        database.execute("BEGIN TRANSACTION READ ONLY")  # a SELECT may have an INSERT in its WITH
        result = database.execute(query)
        columns = [str(column[0]) for column in result.description or ()]
        rows = _taken(result, most_rows + 1)
    except duckdb.InterruptException as error:
        raise QueryTooSlow(str(error)) from None
    except duckdb.Error as error:
        raise QueryRefused(_first_lines(error)) from None
    except (OverflowError, ValueError) as error:  # a value that Python has no form for, as a date before year 1
        raise QueryRefused(f"the result has a value that cannot be shown: {error}") from None
    return Answer(columns, rows[:most_rows], len(rows) > most_rows)


def _taken(result: DuckDBPyConnection, most_rows: int) -> list[tuple[Any, ...]]:
    """The first rows. Begins with few, since nobody knows how large they are."""
    rows: list[tuple[Any, ...]] = []
    size, step = 0, 1
    while some := result.fetchmany(min(step, most_rows - len(rows))):
        rows += some
        size += sum(_size(value) for row in some for value in row)
        if size > MOST_BYTES:
            raise QueryRefused(f"the answer has more than {MOST_BYTES >> 20} MiB: narrow it down")
        if len(rows) == most_rows:
            break
        step = min(2 * step, _ROWS_OUT)
    return rows


def _size(value: Any) -> int:
    match value:
        case str() | bytes():
            return len(value)
        case list() | tuple():
            return sum(map(_size, value))
        case dict():
            return sum(_size(name) + _size(one) for name, one in value.items())
        case _:
            return 8


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
