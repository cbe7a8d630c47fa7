"""Worker processes of the demo: started like anyone would, killed like nobody should, ended without fail."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from barnabas.cli.worker import worker_command
from barnabas.devstack.stack import Addresses

_ROOT = Path(__file__).resolve().parents[2]
_APP = "examples.flights.app:app"
_DRAIN_SECONDS = 5
_LOG_LINES = 15


class WorkerEnded(Exception):
    """A worker ended by itself; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: Process
    log: Path


class Workers:
    """`async with Workers(...)`: all that were started and still run are ended with the context."""

    def __init__(self, addresses: Addresses, namespace: str, logs: Path) -> None:
        self._environment = {
            **os.environ,
            "BARNABAS_KAFKA": addresses.kafka,
            "BARNABAS_REDIS": addresses.redis,
            "BARNABAS_NAMESPACE": namespace,
            "BARNABAS_DRAIN_SECONDS": str(_DRAIN_SECONDS),
        }
        self._logs = logs
        self._running: list[_Worker] = []
        self._started = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> int:
        """Start one more; returns its process id. It is ready when it owns shards, later."""
        self._started += 1
        log = self._logs / f"worker-{self._started}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *worker_command(_APP, "info"),
                stdin=PIPE,  # held open: when this process is gone, however it went, the workers end by themselves
                stdout=output,
                stderr=STDOUT,
                env=self._environment,
                cwd=_ROOT,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then ends them in order
            )
        self._running.append(_Worker(process, log))
        return process.pid

    async def kill(self) -> int:
        """Kill the oldest with SIGKILL; returns its process id once it is gone."""
        worker = self._running.pop(0)
        worker.process.kill()
        await worker.process.wait()
        return worker.process.pid

    def check(self) -> None:
        """Raises WorkerEnded if one is no longer there."""
        for worker in self._running:
            if worker.process.returncode is not None:
                lines = worker.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                code = worker.process.returncode
                raise WorkerEnded("\n".join([f"A worker ended by itself with code {code}. Its last words:", *lines]))

    async def aclose(self) -> None:
        """End all: SIGTERM, time to drain, SIGKILL for what is still there, also when this is cancelled."""
        try:
            for worker in self._running:
                _signal(worker.process, signal.SIGTERM)
            async with asyncio.timeout(2 * _DRAIN_SECONDS):
                await asyncio.gather(*(worker.process.wait() for worker in self._running))
        except TimeoutError:
            pass  # ended by force below
        finally:
            for worker in self._running:
                _signal(worker.process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)
