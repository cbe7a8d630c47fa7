"""The processes of `barnabas dev` besides its servers: started, started again when they end, ended together.

Each may be killed at any moment; the others go on meanwhile. The worker also starts again at every change of the code,
and waits for one where it could not start, since its code is being written.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from barnabas.cli import configuring
from barnabas.cli.members import READY
from barnabas.worker.supervisor import Supervisor, lines_of

WORKER: Final = "worker"
_SHORT_LIFE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs: command lines by name, and what looks after the servers."""

    worker: Sequence[str]
    others: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    reload: bool
    revive: Callable[[], Awaitable[None]]  # starts servers again that have died


class Processes:
    """Runs a plan. `run` returns when everything has ended."""

    def __init__(self, plan: Plan, on_all_ready: Callable[[dict[str, str]], None]) -> None:
        """`on_all_ready` gets what each process has said behind "ready", once, when the last of them has."""
        self._plan = plan
        self._environment = {**plan.environment, "PYTHONUNBUFFERED": "1"}  # what handlers print is seen at once
        self._on_all_ready = on_all_ready
        self._ready: dict[str, str] = {}
        self._told = False
        self._stopping = False
        self._wake = asyncio.Event()  # a change, or the wish to stop
        self._worker: asyncio.subprocess.Process | None = None
        self._others = Supervisor(
            list(plan.others.values()),
            self._environment,
            configuring.CANNOT_START,
            names=list(plan.others),
            on_line=self._on_line,
        )

    async def run(self) -> int:
        """Returns after SIGTERM or SIGINT, or when one of them cannot start: its exit code then."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        others = loop.create_task(self._run_others())
        looking = [loop.create_task(self._look_after_servers())]
        if self._plan.reload:
            looking.append(loop.create_task(self._watch()))
        try:
            code = await self._keep_worker()
        finally:
            self._stop()
            for task in looking:
                task.cancel()
            await asyncio.wait(looking)
            code_of_others = await others
        return max(code, code_of_others)

    # -- the worker

    async def _keep_worker(self) -> int:
        while True:
            self._wake.clear()
            if self._stopping:
                return 0
            self._ready.pop(WORKER, None)
            started = time.monotonic()
            code = await self._run_worker()
            if self._stopping:
                return 0
            if self._wake.is_set():
                continue
            if WORKER in self._ready or code < 0:  # it was well, or somebody has killed it
                typer.echo(f"the worker has ended with {code}, starting it again", err=True)
                await self._pause(_PAUSE_SECONDS if time.monotonic() - started < _SHORT_LIFE_SECONDS else 0)
            elif self._plan.reload:
                typer.echo(f"the worker has ended with {code}, it starts again at the next change", err=True)
                await self._wake.wait()
            else:
                return code

    async def _run_worker(self) -> int:
        """Run it until it is to end, or has ended by itself."""
        process = self._worker = await asyncio.create_subprocess_exec(
            *self._plan.worker,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        ended = asyncio.create_task(self._until_its_end(process))
        woken = asyncio.create_task(self._wake.wait())
        await asyncio.wait([ended, woken], return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        if process.returncode is None:
            process.terminate()
        code = await ended
        self._worker = None
        return code

    async def _until_its_end(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        async for line in lines_of(process.stdout):
            self._on_line(WORKER, line)
        return await process.wait()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch  # part of the extra barnabas[dev]

        async for changes in awatch(Path.cwd(), watch_filter=PythonFilter()):
            typer.echo(f"changed: {', '.join(sorted({path for _, path in changes})[:3])}", err=True)
            self._wake.set()

    # -- the others

    async def _run_others(self) -> int:
        code = await self._others.run()
        self._stop()  # one of them cannot start
        return code

    async def _look_after_servers(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._plan.revive()

    # -- what they say, and the end

    def _on_line(self, name: str, line: str) -> None:
        said = line.removeprefix(f"{READY}: ")
        if said == line:
            typer.echo(line)
            return
        typer.echo(f"{name} {line}")
        self._ready[name] = said
        if not self._told and self._ready.keys() >= {WORKER, *self._plan.others}:
            self._told = True
            self._on_all_ready(dict(self._ready))

    def _on_signal(self) -> None:
        if not self._stopping:
            self._stop()
            return
        self._others.kill()
        if self._worker is not None and self._worker.returncode is None:
            os.kill(self._worker.pid, signal.SIGKILL)

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._others.stop()
