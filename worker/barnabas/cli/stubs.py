"""`barnabas stubs`: writes a package with the definitions of an app's services, for callers without its code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from barnabas.cli import configuring
from barnabas.cli.configuring import AppArgument
from barnabas.stubs.package import InTheWay, files_of, write

#: Last parts of a module's name that say nothing about what is in it.
_GENERAL: Final = ("app", "main", "service", "services", "worker")
_PACKAGE: Final = re.compile(r"[a-z_][a-z0-9_]*")


def stubs(
    target: AppArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write to; made if it is missing.")],
    package: Annotated[
        str | None,
        typer.Option("--package", metavar="NAME", help="Name of the package; after the app's module if not given."),
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Version of the package.")] = "0.1.0",
) -> None:
    """Write an installable package with the signatures of the app's handlers and the models in them, and no code."""
    app = configuring.app_named(target)
    name = package or package_name(target)
    if not _PACKAGE.fullmatch(name):
        configuring.refuse(f"'{name}' is no name of a package: use small letters, digits and '_' (--package)")
    try:
        with configuring.explained(OSError):
            write(files_of(app, name, version), out)
    except InTheWay as error:
        configuring.refuse(str(error))
    typer.echo(f"{out}: package {name} with {', '.join(app.services)}")


def package_name(target: str) -> str:
    """`shop_api` for `shop.app:app`: after the part of the module's name that says something."""
    parts = target.partition(":")[0].split(".")
    while len(parts) > 1 and parts[-1] in _GENERAL:
        parts.pop()
    return re.sub(r"\W", "_", parts[-1]).lower() + "_api"
