"""`barnabas worker`: one member of the consumer group, or several under a supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from barnabas.cli import configuring
from barnabas.cli.configuring import AppArgument, KafkaOption, NamespaceOption
from barnabas.cli.topic_setup import WrongPartitions, apply, compare
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.port import LogUnavailableError
from barnabas.log.settings import KafkaSettings
from barnabas.sdk.app import App
from barnabas.store.port import RegistryConflict, StoreUnavailable, UnsafeStore
from barnabas.worker.member import NotReady
from barnabas.worker.process import Worker
from barnabas.worker.settings import Settings
from barnabas.worker.supervisor import Supervisor

#: What keeps a worker from starting, each with a message that says what to do.
CANNOT_START = (NotReady, UnsafeStore, RegistryConflict, StoreUnavailable, LogUnavailableError, WrongPartitions)
READY = "ready"


def worker(
    target: AppArgument,
    processes: Annotated[int, typer.Option("--processes", min=1, help="How many members to run.")] = 1,
    kafka: KafkaOption = None,
    redis: Annotated[
        str | None, typer.Option("--redis", envvar="BARNABAS_REDIS", help="URL of the store.", show_envvar=True)
    ] = None,
    namespace: NamespaceOption = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Consumer group; {namespace}.workers unless set.")
    ] = None,
    instance_id: Annotated[str | None, typer.Option("--instance-id", help="Static member id.")] = None,
    drain_seconds: Annotated[
        float | None, typer.Option("--drain-seconds", min=0, help="How long SIGTERM waits for running attempts.")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    apply_topics: Annotated[bool, typer.Option("--apply-topics", hidden=True)] = False,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Serve an app until SIGTERM or Ctrl-C, then drain; a second signal ends it at once.

    Prints "ready". Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    app = configuring.app_named(target)
    settings = configuring.settings_of(
        app, namespace, kafka=kafka, redis=redis, group=group, instance_id=instance_id, drain_seconds=drain_seconds
    )
    if processes > 1:
        raise typer.Exit(_supervise(target, settings, processes, log_level))
    code = _run(_serve(app, settings, apply_topics, supervised))
    raise typer.Exit(code)


def worker_command(target: str, log_level: str, *flags: str) -> list[str]:
    """The command line of a worker that ends when whoever started it ends."""
    own = [sys.executable, "-m", "barnabas.cli.main", "worker", target]
    return [*own, "--log-level", log_level, "--supervised", *flags]


def worker_environment(settings: Settings) -> dict[str, str]:
    """The settings that may have come from flags, as variables: a password does not belong into a command line."""
    found = {
        "BARNABAS_KAFKA": settings.kafka,
        "BARNABAS_REDIS": settings.redis.get_secret_value(),
        "BARNABAS_NAMESPACE": settings.namespace,
        "BARNABAS_DRAIN_SECONDS": str(settings.drain_seconds),
    }
    if settings.group is not None:
        found["BARNABAS_GROUP"] = settings.group
    return os.environ | found


def _supervise(target: str, settings: Settings, processes: int, log_level: str) -> int:
    first = settings.instance_id or socket.gethostname()
    commands = [worker_command(target, log_level, "--instance-id", f"{first}-{i}") for i in range(processes)]
    supervisor = Supervisor(commands, worker_environment(settings), configuring.CANNOT_START)

    async def run() -> int:
        _on_signals(supervisor.stop, supervisor.kill)
        return await supervisor.run()

    return asyncio.run(run())


async def _serve(app: App, settings: Settings, apply_topics: bool, supervised: bool) -> int:
    ready = False

    def on_ready() -> None:
        nonlocal ready
        ready = True
        typer.echo(f"{READY}: {', '.join(app.services)} in namespace {settings.namespace}")

    serving = Worker(app, settings, on_ready)
    _on_signals(serving.stop, _end_at_once)
    if supervised:
        _stop_with_parent(serving.stop)
    try:
        if apply_topics:
            admin = KafkaAdmin(KafkaSettings(bootstrap=settings.kafka, options=settings.kafka_options))
            await apply(admin, await compare(admin, settings.namespace, app))
        await serving.run()
    except CANNOT_START as error:
        typer.echo(f"barnabas: {error}", err=True)
        return configuring.FAILED if ready else configuring.CANNOT_START
    return 0


def _on_signals(first: Callable[[], None], second: Callable[[], None]) -> None:
    """SIGTERM and SIGINT call `first`; when they come again, `second`."""
    loop = asyncio.get_running_loop()
    asked = False

    def asked_to_end() -> None:
        nonlocal asked
        if asked:
            second()
        asked = True
        first()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end)


def _stop_with_parent(stop: Callable[[], None]) -> None:
    """Stdin is a pipe that the parent holds open: its end is the parent's, however that ended."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, readable)


def _end_at_once() -> None:
    os._exit(configuring.FAILED)


def _run(serving: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed (the extra `barnabas[fast]`)."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serving)
