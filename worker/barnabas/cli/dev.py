"""`barnabas dev`: broker, store, worker and scheduler together, for a person trying things out; reloads on change."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import AppArgument, NamespaceOption
from barnabas.cli.scheduler import scheduler_command
from barnabas.cli.subscriptions import SubscriptionsOption, subscriptions_of
from barnabas.cli.topic_setup import WrongPartitions
from barnabas.cli.worker import apply_topics_of, worker_command
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import DEFAULT_DIRECTORY, Addresses, find_or_start
from barnabas.log.port import LogUnavailableError
from barnabas.sdk.app import App
from barnabas.worker.supervisor import Supervisor

_INSTANCE = "dev"


def dev(
    target: AppArgument,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder of the servers' data.")
    ] = DEFAULT_DIRECTORY,
    no_reload: Annotated[bool, typer.Option("--no-reload", help="Do not watch the code.")] = False,
    namespace: NamespaceOption = None,
    file: SubscriptionsOption = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Start a broker and a store (or use those of BARNABAS_KAFKA and BARNABAS_REDIS), topics, a worker and a scheduler.

    The worker starts again when a .py file below the current folder changes. Ctrl-C ends everything that was started.
    """
    configuring.log_to_stderr(log_level)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    app = configuring.app_named(target)
    subscriptions_of(app, file)  # what the worker would refuse is refused before servers start
    signal.signal(signal.SIGTERM, _leave)  # also while the servers start
    try:
        with find_or_start(data) as addresses:
            settings = configuring.settings_of(
                app, namespace, kafka=addresses.kafka, redis=addresses.redis, drain_seconds=2.0, instance_id=_INSTANCE
            )
            _introduce(app, target, addresses, settings.namespace)
            asyncio.run(apply_topics_of(app, settings))
            worker = [*worker_command(target, log_level, file), "--apply-topics", "--instance-id", _INSTANCE]
            scheduler = [*scheduler_command(log_level), "--instance-id", _INSTANCE]
            environment = members.environment(settings)
            code = asyncio.run(_Run(worker, scheduler, environment, reload=not no_reload).run())
    except (DevstackError, WrongPartitions, LogUnavailableError) as error:
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
    """The worker process, started again at every change of the code, and a scheduler, which knows no code."""

    def __init__(self, worker: list[str], scheduler: list[str], environment: dict[str, str], *, reload: bool) -> None:
        self._command = worker
        self._scheduler = Supervisor([scheduler], environment, configuring.CANNOT_START)
        self._environment = environment
        self._reload = reload
        self._stopping = False
        self._wake = asyncio.Event()  # a change, or the wish to stop

    async def run(self) -> int:
        """Returns after SIGTERM or SIGINT; without reloading also when the worker ends, with its code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        watching = asyncio.create_task(self._watch()) if self._reload else None
        scheduling = asyncio.create_task(self._scheduler.run())
        try:
            while True:
                code = await self._run_once()
                if self._stopping or not self._reload:
                    return 0 if self._stopping else code
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
            self._scheduler.stop()
            await scheduling

    async def _run_once(self) -> int:
        """Run the worker until it is to end, or has ended by itself and something has changed since."""
        if not self._stopping:
            self._wake.clear()
        process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        ended = asyncio.create_task(process.wait())
        woken = asyncio.create_task(self._wake.wait())
        await asyncio.wait([ended, woken], return_when=asyncio.FIRST_COMPLETED)
        if not woken.done() and self._reload:
            typer.echo(f"the worker has ended with {process.returncode}, it starts again at the next change", err=True)
            await woken
        woken.cancel()
        if process.returncode is None:
            process.terminate()
        return await ended

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch  # part of the extra barnabas[dev]

        async for changes in awatch(Path.cwd(), watch_filter=PythonFilter()):
            typer.echo(f"changed: {', '.join(sorted({path for _, path in changes})[:3])}", err=True)
            self._wake.set()

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
