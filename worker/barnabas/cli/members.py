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
    commands = [[*one, "--instance-id", f"{first}-{i}"] for i in range(processes)]
    supervisor = Supervisor(commands, environment(settings), configuring.CANNOT_START)

    async def run() -> int:
        _on_signals(supervisor.stop, supervisor.kill)
        return await supervisor.run()

    return asyncio.run(run())


async def serve(
    make: Callable[[Callable[[], None]], Serving],
    what: str | Callable[[], str],
    *,
    supervised: bool,
    before: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run what `make` makes, given what it is to call when it is ready; returns the exit code.

    `what` it is ready for is printed then. `before` comes first, with the same errors allowed. `supervised`: end when
    stdin does.
    """
    ready = False

    def on_ready() -> None:
        nonlocal ready
        ready = True
        typer.echo(f"{READY}: {what if isinstance(what, str) else what()}")

    member = make(on_ready)
    _on_signals(member.stop, _end_at_once)
    if supervised:
        _stop_with_parent(member.stop)
    try:
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
