"""A server of the dev stack as a process on this machine: start, be sure it is ready, kill, stop.

`broker` and `store` fill in the command; `stack` owns both. Touches the stack's folder and the processes named in it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from barnabas.devstack.errors import ServerDiedError
from barnabas.devstack.process import Process, spawn, wait_until

STOP_SECONDS = 15.0
LOG_LINES = 15


class Server(ABC):
    """One server with its port and its files. Any number of objects may speak about the same server, in any process."""

    name: str
    start_seconds: float

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it, as they write it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it takes writes now; blocks for a few seconds at most."""

    @abstractmethod
    def _prepare(self) -> Sequence[str | Path]:
        """Write what it needs to start and give the command."""

    @property
    def log(self) -> Path:
        """The file that its output goes to; it grows over restarts."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        process = self.process
        return process.pid if process else None

    @property
    def process(self) -> Process | None:
        """The running process, whoever started it."""
        try:
            process = Process(**json.loads(self._pid_file.read_text()))
        except FileNotFoundError:
            return None
        return process if process.is_alive() else None

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to: it does not run, and nobody has stopped it."""
        return self._pid_file.exists() and self.process is None

    def start(self) -> None:
        """Have it running and ready; one that runs is used as it is, unless it does not answer.

        Raises ServerDiedError where it ends or does not become ready, DevstackError where something is missing.
        """
        running = self.process
        if running is not None:
            if wait_until(self.is_ready, self.start_seconds):
                return
            running.kill()
        command = self._prepare()
        process = spawn(command, self.log)
        replace_file(self._pid_file, json.dumps({"pid": process.pid, "birth": process.birth}))
        if not wait_until(lambda: self.is_ready() or not process.is_alive(), self.start_seconds):
            process.kill()
            raise ServerDiedError(
                f"The {self.name} was not ready after {self.start_seconds:.0f} s.{self._last_words()}"
            )
        if not process.is_alive():
            raise ServerDiedError(f"The {self.name} ended while it started.{self._last_words()}")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; its data stays. Returns when it is gone."""
        if process := self.process:
            process.kill()
        self._pid_file.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it in good order; its data stays. Returns when it is gone."""
        if process := self.process:
            process.end(STOP_SECONDS)
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.directory / f"{self.name}.pid"

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log.exists() else []
        return f" The end of {self.log}:\n" + "\n".join(lines)


def replace_file(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it sees the old text or the new one."""
    draft = path.with_suffix(path.suffix + ".new")
    draft.write_text(text)
    draft.replace(path)
