"""`barnabas sql "SELECT ..."`: SQL over what the store has."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from barnabas.cli import configuring
from barnabas.cli.asking import JsonOption, RedisOption, ask_looks, print_json
from barnabas.cli.configuring import NamespaceOption
from barnabas.cli.printing import console, fields, one_line, shown, table
from barnabas.introspection.sql import Answer, NoDuckdb, QueryRefused, QueryTooSlow, plain, plain_rows, run_query
from barnabas.introspection.tables import TABLES
from barnabas.store.looking import Looks
from barnabas.store.port import Store

#: Characters that a column needs.
_NARROWEST = 14


def sql(
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="One SELECT; - reads it from stdin.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows that are shown at most.")] = 1_000,
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for the query with its reads.")] = 60.0,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer SQL (DuckDB's) over the store's tables; without a query, list tables and columns.

    Each shard is read at one moment. Ends with 0, also where rows were cut off, which stderr says; 2 without an answer.
    """
    if query is None:
        _print_tables(as_json)
        return
    text = typer.get_text_stream("stdin").read() if query == "-" else query

    async def ask(store: Store, looks: Looks) -> Answer:
        return await run_query(looks, await store.services(), text, most_rows=limit, seconds=seconds)

    with configuring.explained(NoDuckdb, QueryRefused, QueryTooSlow):
        answer = ask_looks(redis, namespace, ask)
    if as_json:
        print_json({"rows": plain_rows(answer), "truncated": answer.truncated})
    else:
        _print_rows(answer)
    if answer.truncated:
        typer.echo(f"barnabas: there are more than these {limit} rows: raise --limit", err=True)


def _print_rows(answer: Answer) -> None:
    out = console()
    if len(answer.columns) * _NARROWEST > Console().width:  # of the terminal, also where there is none: for people
        _print_one_by_one(out, answer)
        return
    rows = table(*map(one_line, answer.columns))
    for row in answer.rows:
        rows.add_row(*(_cell(value) for value in row))
    out.print(rows)


def _print_one_by_one(out: Console, answer: Answer) -> None:
    """A line for each value, where a line for each row would be too long to be read."""
    for number, row in enumerate(answer.rows, 1):
        out.print(f"[bold]row {number}[/]")
        rows = fields("dim")
        for column, value in zip(answer.columns, row, strict=True):
            rows.add_row(one_line(column), _cell(value))
        out.print(rows)


def _cell(value: Any) -> str:
    return "[dim]null[/]" if value is None else shown(str(plain(value)))


def _print_tables(as_json: bool) -> None:
    if as_json:
        print_json({name: table.columns for name, table in TABLES.items()})
        return
    rows = table("table", "columns")
    for name, one in TABLES.items():
        rows.add_row(name, ", ".join(one.columns))
    console().print(rows)
