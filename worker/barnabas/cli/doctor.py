"""`barnabas doctor`: settings of the broker and the store that would lose data, and what to change."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.table import Table

from barnabas.cli import configuring, printing
from barnabas.devstack.doctor import Finding, Severity, examine
from barnabas.devstack.errors import ServerUnreachableError
from barnabas.devstack.stack import DEFAULT_DIRECTORY, Addresses, Stack
from barnabas.store.wire import check_url

LOSES_DATA = 1
UNREACHABLE = 2
STYLES = {Severity.LOSES: "bold red", Severity.RISK: "yellow", Severity.OK: "green"}

app = typer.Typer()


@app.command()
def doctor(
    kafka: Annotated[str, typer.Option(envvar="BARNABAS_KAFKA", help="Address of the broker, host:port.")] = "",
    redis: Annotated[str, typer.Option(envvar="BARNABAS_REDIS", help="Address of the store, a redis:// URL.")] = "",
    namespace: Annotated[str, typer.Option(envvar="BARNABAS_NAMESPACE", help="Whose topics to look at.")] = "barnabas",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for settings of broker and store that would lose data. Ends with 1 if there are any, 2 without an answer."""
    try:
        addresses = _addresses(kafka, redis)
        check_url(addresses.redis)
        options = configuring.kafka_of(addresses.kafka).options
        findings = asyncio.run(examine(addresses.kafka, addresses.redis, namespace, options))
    except (ServerUnreachableError, ValueError) as error:
        configuring.refuse(str(error), UNREACHABLE)
    if as_json:
        typer.echo(json.dumps([_plain(finding) for finding in findings], indent=2))
    else:
        printing.console().print(_table(findings))
    if any(finding.severity is Severity.LOSES for finding in findings):
        raise typer.Exit(LOSES_DATA)


def _addresses(kafka: str, redis: str) -> Addresses:
    """Those that were given; for one that was not, the stack in the current folder."""
    if kafka and redis:
        return Addresses(kafka, redis)
    if not DEFAULT_DIRECTORY.exists():
        raise ServerUnreachableError(
            "Say which servers to look at: set BARNABAS_KAFKA and BARNABAS_REDIS, or start some with: barnabas stack up"
        )
    own = Stack(DEFAULT_DIRECTORY).addresses
    return Addresses(kafka or own.kafka, redis or own.redis)


def _plain(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "subject": finding.subject,
        "found": finding.found,
        "change": finding.change,
    }


def _table(findings: list[Finding]) -> Table:
    table = printing.table("", "what", "is", "what to change")
    for finding in findings:
        style = STYLES[finding.severity]
        words = (finding.subject, finding.found, finding.change)
        table.add_row(f"[{style}]{finding.severity.value}[/]", *map(printing.shown, words))
    return table
