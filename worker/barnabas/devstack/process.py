"""Processes that outlive the one that started them: spawn, record, recognise, end.

A process id alone names nobody, since the system hands ids out again: a process is its id and the moment of its birth.
Used by `server` and `stack`; touches processes and log files only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, running or not."""

    pid: int
    birth: str  # when it started, as the system words it; compared for equality only

    @classmethod
    def current(cls) -> Process:
        """The process that asks."""
        birth = birth_of(os.getpid())
        assert birth is not None, "a process that asks is alive"
        return cls(os.getpid(), birth)

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that has ended and was not collected by its parent does not."""
        return birth_of(self.pid) == self.birth

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, grace_seconds: float) -> None:
        """Ask it to end, wait that long, then end it with SIGKILL; returns when it is gone."""
        self.send(signal.SIGTERM)
        if not wait_until(lambda: not self.is_alive(), grace_seconds):
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL; returns when it is gone."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.is_alive(), 10)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def spawn(command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a command with its output in `log`, in a session of its own: Ctrl-C in the terminal reaches only its owner.

    posix_spawn and not Popen: the process may outlive this one on purpose, which Popen warns about.
    """
    arguments = [os.fspath(part) for part in command]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ | (environment or {}),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process(pid, birth_of(pid) or "")


def birth_of(pid: int) -> str | None:
    """When the process with that id was born, None where there is none. Collects it if it is our own and has ended."""
    with suppress(ChildProcessError):  # not our child, or collected before
        os.waitpid(pid, os.WNOHANG)
    return _birth_linux(pid) if sys.platform == "linux" else _birth_ps(pid)


def _birth_linux(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets and may itself hold blanks and brackets.
    fields = text.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else start_ticks


def _birth_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = answer.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else start.strip()
