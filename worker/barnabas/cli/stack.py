"""`barnabas stack`: the broker and the store of a development machine, on their own.

The lines for other shells go to stdout, everything else to stderr, so that `eval "$(barnabas stack up)"` works.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import DEFAULT_DIRECTORY, Addresses, Stack

app = typer.Typer(help="Start and stop a broker and a store on this machine.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of the stack: its data, logs and ports.")]


def exports(addresses: Addresses) -> str:
    """The two variables as lines for a shell."""
    return f"export BARNABAS_KAFKA={addresses.kafka}\nexport BARNABAS_REDIS={addresses.redis}"


@app.command()
def up(data: Data = DEFAULT_DIRECTORY) -> None:
    """Start both servers, or find them running, and print the variables that other shells need."""
    console = Console(stderr=True)
    with _explained():
        console.print(f"Broker and store in {data} ...", highlight=False)
        addresses = Stack(data).up(detached=True)
        console.print(f"Ready. End them with: barnabas stack down --data {data}", highlight=False)
    typer.echo(exports(addresses))


@app.command()
def down(data: Data = DEFAULT_DIRECTORY) -> None:
    """End both servers; their data stays for the next start."""
    with _explained():
        Stack(data).down()


@app.command()
def status(data: Data = DEFAULT_DIRECTORY) -> None:
    """Say what runs. Ends with code 1 unless both servers do."""
    if not data.exists():
        typer.echo(f"No stack in {data}. Start one with: barnabas stack up --data {data}", err=True)
        raise typer.Exit(1)
    now = Stack(data).status()
    for name, pid, address in (
        ("broker", now.broker_pid, now.addresses.kafka),
        ("store", now.store_pid, now.addresses.redis),
    ):
        typer.echo(f"{name}: {f'process {pid} at {address}' if pid else 'not running'}", err=True)
    if not (now.broker_pid and now.store_pid):
        raise typer.Exit(1)
    typer.echo(exports(now.addresses))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DevstackError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
