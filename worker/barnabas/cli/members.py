"""Running a member of a consumer group as a process, or several under a supervisor: worker and scheduler alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import typer

from barnabas.cli import configuring
from barnabas.cli.health import Health, HealthAddress, answering
from barnabas.cli.topic_setup import WrongPartitions
from barnabas.log.port import LogUnavailableError
from barnabas.store.port import RegistryConflict, StoreUnavailable, UnsafeStore
from barnabas.worker.member import NotReady
from barnabas.worker.settings import Settings
from barnabas.worker.supervisor import Supervisor

#: What keeps a member from starting, each with a message that says what to do.
CANNOT_START = (NotReady, UnsafeStore, RegistryConflict, StoreUnavailable, LogUnavailableError, WrongPartitions)
READY = "ready"


class Serving(Protocol):
    """Something that a process runs: a member of a group, or a door."""

    def stop(self) -> None: ...

    async def run(self) -> None: ...


def command(*words: str, log_level: str) -> list[str]:
    """The command line of a member that ends when whoever started it ends."""
    own = [sys.executable, "-m", "barnabas.cli.main", *words]
    return [*own, "--log-level", log_level, "--supervised"]


def environment(settings: Settings) -> dict[str, str]:
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


def supervise(one: list[str], settings: Settings, processes: int) -> int:
    """Run that many members, each with a static id of its own; returns the exit code."""
    first = settings.instance_id or socket.gethostname()
    commands = [[*one, "--instance-id", f"{first}-{i}", *_health_port(settings, i)] for i in range(processes)]
    supervisor = Supervisor(commands, environment(settings), configuring.CANNOT_START)

    async def run() -> int:
        _on_signals(supervisor.stop, supervisor.kill)
        return await supervisor.run()

    return asyncio.run(run())


def health_of(settings: Settings) -> HealthAddress | None:
    """Where the probes of a member ask, if it has any."""
    return None if settings.health_port is None else HealthAddress(settings.health_host, settings.health_port)


def _health_port(settings: Settings, index: int) -> list[str]:
    """Members of one supervisor have ports in a row."""
    return [] if settings.health_port is None else ["--health-port", str(settings.health_port + index)]


async def serve(
    make: Callable[[Callable[[], None]], Serving],
    what: str | Callable[[], str],
    *,
    supervised: bool,
    before: Callable[[], Awaitable[None]] | None = None,
    probes: HealthAddress | None = None,
) -> int:
    """Run what `make` makes, given what it is to call when it is ready; returns the exit code.

    `what` it is ready for is printed then. `before` comes first, with the same errors allowed. `supervised`: end when
    stdin does. `probes`: where to answer them, for what serves no HTTP itself.
    """
    ready = False
    health = Health()

    def on_ready() -> None:
        nonlocal ready
        ready = True
        health.state = "ready"
        typer.echo(f"{READY}: {what if isinstance(what, str) else what()}")

    try:
        member = make(on_ready)

        def stop() -> None:
            health.state = "ending"
            member.stop()

        _on_signals(stop, _end_at_once)
        if supervised:
            _stop_with_parent(stop)
        async with answering(health, probes):
            if before is not None:
                await before()
            await member.run()
    except CANNOT_START as error:
        typer.echo(f"barnabas: {error}", err=True)
        return configuring.FAILED if ready else configuring.CANNOT_START
    return 0


def run(serving: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed (the extra `barnabas[fast]`)."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serving)


def raise_file_limit() -> None:
    """Let the process have as many connections as the system allows it: each is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # a hard limit that the system does not grant after all
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
