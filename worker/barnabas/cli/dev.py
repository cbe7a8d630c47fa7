"""`barnabas dev`: broker, store and worker together, for a person trying things out; reloads on change."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from barnabas.cli import configuring
from barnabas.cli.configuring import AppArgument, NamespaceOption
from barnabas.cli.worker import worker_command, worker_environment
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import DEFAULT_DIRECTORY, Addresses, find_or_start
from barnabas.sdk.app import App

_INSTANCE = "dev"


def dev(
    target: AppArgument,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder of the servers' data.")
    ] = DEFAULT_DIRECTORY,
    no_reload: Annotated[bool, typer.Option("--no-reload", help="Do not watch the code.")] = False,
    namespace: NamespaceOption = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Start a broker and a store (or use those of BARNABAS_KAFKA and BARNABAS_REDIS), the topics and a worker.

    The worker starts again when a .py file below the current folder changes. Ctrl-C ends everything that was started.
    """
    configuring.log_to_stderr(log_level)
    app = configuring.app_named(target)
    signal.signal(signal.SIGTERM, _leave)  # also while the servers start
    try:
        with find_or_start(data) as addresses:
            settings = configuring.settings_of(
                app, namespace, kafka=addresses.kafka, redis=addresses.redis, drain_seconds=2.0, instance_id=_INSTANCE
            )
            _introduce(app, target, addresses, settings.namespace)
            command = worker_command(target, log_level, "--apply-topics", "--instance-id", _INSTANCE)
            code = asyncio.run(_Run(command, worker_environment(settings), reload=not no_reload).run())
    except DevstackError as error:
        configuring.refuse(str(error))
    raise typer.Exit(code)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


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
    typer.echo(f"export BARNABAS_KAFKA={addresses.kafka}\nexport BARNABAS_REDIS={shlex.quote(addresses.redis)}")
    typer.echo(example)


class _Run:
    """The worker process, started again at every change of the code."""

    def __init__(self, command: list[str], environment: dict[str, str], *, reload: bool) -> None:
        self._command = command
        self._environment = environment
        self._reload = reload
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Returns after SIGTERM or SIGINT; without reloading also when the worker ends, with its code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        stopping = asyncio.ensure_future(self._stopping.wait())
        while True:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdin=asyncio.subprocess.PIPE, start_new_session=True
            )
            waits: list[asyncio.Future[object]] = [stopping]
            waits.append(asyncio.ensure_future(self._changed() if self._reload else process.wait()))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            waits[1].cancel()
            code = await _end(process)
            if self._stopping.is_set():
                return 0
            if not self._reload:
                return code

    async def _changed(self) -> None:
        from watchfiles import PythonFilter, awatch  # part of the extra barnabas[dev]

        async for changes in awatch(os.getcwd(), watch_filter=PythonFilter()):
            names = sorted({os.path.relpath(path) for _, path in changes})
            typer.echo(f"changed: {', '.join(names[:3])}", err=True)
            return


async def _end(process: Process) -> int:
    if process.returncode is None:
        process.terminate()
    return await process.wait()
