"""Runs several worker processes as one: starts a dead one again under its static id, ends them together.

A member that comes back under its static id within its session gets its shards back without a rebalance, so a crash
costs well under a second. Started by `barnabas worker --processes N`; touches its children only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

log = logging.getLogger("barnabas.supervisor")

_SHORT_LIFE_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 10.0
_CHUNK: Final = 65_536


class Supervisor:
    """A process for each command, until `stop`.

    Each child's stdin is a pipe that this process holds open: its end tells the child that its supervisor is gone.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environment: Mapping[str, str],
        cannot_start: int,
        *,
        names: Sequence[str] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        """`cannot_start`: the exit code by which a child says that starting it again would not help.

        `names` are for people, worker 0, worker 1 and so on unless given. `on_line` gets what children print, by name,
        line by line; without it they print where this process does.
        """
        self._commands = commands
        self._environment = dict(environment)
        self._cannot_start = cannot_start
        self._names = names or [f"worker {index}" for index in range(len(commands))]
        self._on_line = on_line
        self._running: dict[int, Process] = {}
        self._stopping = asyncio.Event()
        self._refused = False

    async def run(self) -> int:
        """Returns when all children have ended after `stop`: 0, or the highest of their exit codes.

        A child that cannot start at its first attempt ends everything: what is wrong then was wrong from the beginning.
        """
        codes = await asyncio.gather(*(self._keep(index) for index in range(len(self._commands))))
        return self._cannot_start if self._refused else max(codes)

    def stop(self) -> None:
        """Pass SIGTERM on and start nothing again."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the children at once."""
        self._signal(signal.SIGKILL)

    async def _keep(self, index: int) -> int:
        pause = 0.0
        first = True
        code = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run_once(index)
            if self._stopping.is_set():
                return 0 if code == -signal.SIGTERM else abs(code)  # a child that was still starting
            if first and code == self._cannot_start:
                self._refused = True
                self.stop()
                break
            first = False
            short = time.monotonic() - started < _SHORT_LIFE_SECONDS
            pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, pause * 2)) if short else 0.0
            log.warning(
                "%s ended with %d, starting it again%s", self._names[index], code, f" in {pause:g} s" if pause else ""
            )
            await self._pause(pause)
        return abs(code)

    async def _run_once(self, index: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._commands[index],
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=None if self._on_line is None else asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches this process alone, which passes it on
        )
        self._running[index] = process
        if self._stopping.is_set():  # asked to stop while the child was being started
            send(process, signal.SIGTERM)
        try:
            if self._on_line is not None and process.stdout is not None:
                async for line in lines_of(process.stdout):
                    self._on_line(self._names[index], line)
            return await process.wait()
        finally:
            del self._running[index]

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _signal(self, number: signal.Signals) -> None:
        for process in self._running.values():
            send(process, number)


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a child, if it has not ended.

    Not by the process itself: that looks whether the child has ended and, if it just has, takes the exit code away from
    asyncio, which then makes up another (255).
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def lines_of(output: asyncio.StreamReader) -> AsyncIterator[str]:
    """What a child prints, line by line, of any length (a StreamReader's own lines have a limit)."""
    rest = b""
    while chunk := await output.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")
