"""`barnabas dev`: everything together, servers included, for a person trying things out; reloads on change."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shlex
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from barnabas.cli import configuring, members
from barnabas.cli.admin import admin_command
from barnabas.cli.configuring import AppArgument, NamespaceOption
from barnabas.cli.dev_processes import Plan, Processes
from barnabas.cli.ingress import ingress_command
from barnabas.cli.scheduler import scheduler_command
from barnabas.cli.subscriptions import SubscriptionsOption, subscriptions_of
from barnabas.cli.topic_setup import WrongPartitions
from barnabas.cli.worker import apply_topics_of, worker_command
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import DEFAULT_DIRECTORY, PORTS, Addresses, Stack, find_or_start, usable_port
from barnabas.log.port import LogUnavailableError
from barnabas.sdk.app import App
from barnabas.worker.settings import Settings

INGRESS_PORT = 8080
ADMIN_PORT = 9070
_INSTANCE = "dev"


def dev(
    target: AppArgument,
    ingress_port: Annotated[
        int | None,
        typer.Option(
            "--ingress-port", envvar="BARNABAS_INGRESS_PORT", min=0, max=65_535, help="Else 8080, or one that is free."
        ),
    ] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(
            "--admin-port", envvar="BARNABAS_ADMIN_PORT", min=0, max=65_535, help="Else 9070, or one that is free."
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder of the servers' data.")
    ] = DEFAULT_DIRECTORY,
    no_reload: Annotated[bool, typer.Option("--no-reload", help="Do not watch the code.")] = False,
    namespace: NamespaceOption = None,
    file: SubscriptionsOption = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Run an app with all that it needs: broker and store (or those of BARNABAS_KAFKA and BARNABAS_REDIS), topics,
    worker, scheduler, HTTP ingress and admin API.

    Prints where the doors are, and a line that begins with "ready" when all of them are. What ends by itself is started
    again; the worker also when a .py file below the current folder changes. Ctrl-C ends everything that was started.
    """
    configuring.log_to_stderr(log_level)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    app = configuring.app_named(target)
    subscriptions_of(app, file)  # what the worker would refuse is refused before servers start
    signal.signal(signal.SIGTERM, _leave)  # also while the servers start
    try:
        doors = _doors(ingress_port, admin_port, log_level)
        with find_or_start(data) as addresses:
            settings = configuring.settings_of(
                app, namespace, kafka=addresses.kafka, redis=addresses.redis, drain_seconds=2.0, instance_id=_INSTANCE
            )
            _introduce(app, target, addresses, settings.namespace)
            asyncio.run(apply_topics_of(app, settings))
            plan = Plan(
                [*worker_command(target, log_level, file), "--apply-topics", "--instance-id", _INSTANCE],
                {"scheduler": [*scheduler_command(log_level), "--instance-id", _INSTANCE], **doors},
                _environment(settings),
                reload=not no_reload and _can_reload(),
                revive=_Reviver(data),
            )
            code = asyncio.run(Processes(plan, _tell).run())
    except (DevstackError, WrongPartitions, LogUnavailableError) as error:
        configuring.refuse(str(error))
    raise typer.Exit(code)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _environment(settings: Settings) -> dict[str, str]:
    """Of the children. A port for probes is one process's."""
    found = members.environment(settings)
    found.pop("BARNABAS_HEALTH_PORT", None)
    return found


def _can_reload() -> bool:
    if find_spec("watchfiles") is not None:
        return True
    typer.echo("# The code is not watched: that needs watchfiles, pip install 'barnabas[dev]'", err=True)
    return False


# -- the doors


def _doors(ingress_port: int | None, admin_port: int | None, log_level: str) -> dict[str, list[str]]:
    """The commands of ingress and admin, each on a port that it keeps."""
    found = {"ingress": ingress_command(_port("ingress", ingress_port, INGRESS_PORT), log_level)}
    if find_spec("fastapi") is None:
        typer.echo("# No admin API: it needs FastAPI, pip install 'barnabas[admin]'", err=True)
    else:
        found["admin"] = admin_command(_port("admin", admin_port, ADMIN_PORT), log_level)
    return found


def _port(what: str, wanted: int | None, usual: int) -> int:
    """A port that is free now. One that was asked for is taken or refused, never replaced."""
    first = {None: usual, 0: random.choice(PORTS)}.get(wanted, wanted)
    assert first is not None
    port = usable_port(first)
    if wanted not in (None, 0, port):
        configuring.refuse(f"port {wanted} is taken: give another --{what}-port, or leave it out for one that is free")
    if wanted is None and port != usual:
        typer.echo(f"# Port {usual} is taken, so the {what} is on {port}.", err=True)
    return port


# -- the servers


class _Reviver:
    """Starts servers of a stack again that have died; those of somebody else are left alone."""

    def __init__(self, data: Path) -> None:
        own = not (os.environ.get("BARNABAS_KAFKA") and os.environ.get("BARNABAS_REDIS"))
        self._stack = Stack(data) if own else None

    async def __call__(self) -> None:
        """Look once. A server that cannot be started again is told of, and tried again at the next look."""
        if self._stack is None:
            return
        try:
            for name in await asyncio.to_thread(self._stack.revive):
                typer.echo(f"the {name} had ended, it was started again", err=True)
        except DevstackError as error:
            typer.echo(str(error), err=True)


# -- what people see


def _introduce(app: App, target: str, addresses: Addresses, namespace: str) -> None:
    definition = next(iter(app.services.values()))
    handler = next(iter(definition.handlers.values()))
    key = "" if definition.kind == "service" else "some-key/"
    example = f"barnabas invoke {definition.name}/{key}{handler.name}"
    if handler.arity == 2:
        example += " '...'"
    if namespace != configuring.DEFAULT_NAMESPACE:
        example += f" --namespace {shlex.quote(namespace)}"
    typer.echo(f"# {target}: {', '.join(app.services)}. In another shell:")
    typer.echo("\n".join(_exports(addresses)))
    typer.echo(example)


def _exports(addresses: Addresses) -> list[str]:
    """For other shells; what this shell was given is not shown, it may hold a password."""
    found = {"BARNABAS_KAFKA": addresses.kafka, "BARNABAS_REDIS": addresses.redis}
    return [
        f"# {name} as here" if os.environ.get(name) else f"export {name}={shlex.quote(value)}"
        for name, value in found.items()
    ]


def _tell(ready: dict[str, str]) -> None:
    doors = " and ".join(f"{name} {ready[name].split()[0]}" for name in ("ingress", "admin") if name in ready)
    typer.echo(f"{members.READY}: {doors} (Ctrl-C ends everything)")
