"""The command line, `barnabas`: the composition root, the one place that reads settings and picks adapters."""

from __future__ import annotations

from typing import Annotated

import typer

from barnabas.cli import dead_letters, doctor, invocations, keys, stack, state, topics
from barnabas.cli.admin import admin
from barnabas.cli.dev import dev
from barnabas.cli.ingress import ingress
from barnabas.cli.invoke import invoke
from barnabas.cli.scheduler import scheduler
from barnabas.cli.services import services
from barnabas.cli.sql import sql
from barnabas.cli.stubs import stubs
from barnabas.cli.subscriptions import app as subscriptions
from barnabas.cli.worker import worker

app = typer.Typer(
    help="Durable calls, messages and delays for Python services on Kafka and Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(worker)
app.command()(scheduler)
app.command()(ingress)
app.command()(admin)
app.command()(invoke)
app.command()(services)
app.command()(sql)
app.command()(stubs)
app.command()(dev)
app.add_typer(topics.app, name="topics")
app.add_typer(subscriptions, name="subscriptions")
app.add_typer(invocations.app, name="invocations")
app.add_typer(state.app, name="state")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(keys.app, name="keys")
app.add_typer(stack.app, name="stack")
app.add_typer(doctor.app)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # 50 ms that no other command needs

    try:
        typer.echo(version("barnabas"))
    except PackageNotFoundError:  # run from the source tree without being installed
        typer.echo("unknown: the package is not installed")
    raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What comes before the command."""


def main() -> None:
    """Entry point of the script `barnabas`."""
    app()


if __name__ == "__main__":
    main()
