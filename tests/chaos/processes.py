"""Worker processes of one test: started with failpoints, killed, frozen, resumed, and always ended.

Used by the fixtures of `conftest.py`. Touches its own children, by their process ids, and files in the test's folder.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import barnabas
from barnabas.devstack.process import wait_until

ROOT = Path(__file__).parents[2]
PACKAGE = Path(barnabas.__file__).parents[1]  # the workers run the code that the tests import
READY_SECONDS = 30.0


class WorkerProcess:
    """`barnabas worker` with an app, or `barnabas scheduler` without one."""

    def __init__(
        self, environment: Mapping[str, str], output: Path, target: str | None, armed_from: Path | None = None
    ) -> None:
        self.output = output
        self._armed_from = armed_from
        with output.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "barnabas.cli.main", *(["scheduler"] if target is None else ["worker", target])],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{ROOT}", **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self.pid = self._process.pid

    def wait_ready(self) -> None:
        """Until it says that it has joined; it may also die at a failpoint before that."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], READY_SECONDS)
        assert readable, f"worker {self.pid} was not ready after {READY_SECONDS} s\n{self.words()}"
        line = self._process.stdout.readline()
        assert line.startswith(b"ready") or self.wait(5) == -signal.SIGKILL, (
            f"worker {self.pid} did not start\n{self.words()}"
        )

    def arm(self) -> None:
        """Count the visits of its failpoints from now on; it was started with `armed=False`."""
        assert self._armed_from is not None, "it counts them since it began"
        self._armed_from.touch()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None if it still runs after that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait_killed(self, seconds: float) -> None:
        """Until it has died at its failpoint."""
        code = self.wait(seconds)
        assert code == -signal.SIGKILL, f"worker {self.pid} was to die at a failpoint, but: {code}\n{self.words()}"

    def wait_stopped(self, seconds: float) -> None:
        """Until it has frozen at its failpoint."""
        frozen = wait_until(self.is_stopped, seconds)
        assert frozen, f"worker {self.pid} was to freeze at a failpoint\n{self.words()}"

    def is_stopped(self) -> bool:
        """Whether it has frozen at its failpoint."""
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None

    def megabytes(self) -> float:
        """Its resident memory; needs /proc."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it however it stands."""
        if self.is_running():
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def words(self, lines: int = 60) -> str:
        """The end of what it wrote to its log."""
        text = self.output.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- worker {self.pid} ---", *text])


class Crew:
    """All workers of one test."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._workers: list[WorkerProcess] = []

    def start(
        self,
        failpoints: str = "",
        *,
        armed: bool = True,
        instance: str | None = None,
        session_ms: int = 1500,
        target: str | None = "tests.chaos.app:app",
        **environment: str,
    ) -> WorkerProcess:
        """Start a worker of that app, or a scheduler if there is none, and wait until it is ready.

        (Or was killed by its failpoint before.) `armed=False`: visits of failpoints count only from `arm` on, as a
        process that owns something commits by itself now and then, the sooner the slower the others are.
        """
        name = f"worker-{len(self._workers)}"
        more = {"BARNABAS_FAILPOINTS": failpoints, "BARNABAS_SESSION_TIMEOUT_MS": str(session_ms), **environment}
        if instance is not None:
            more["BARNABAS_INSTANCE_ID"] = instance
        armed_from = None if armed else self._folder / f"{name}.armed"
        if armed_from is not None:
            more["BARNABAS_FAILPOINTS_FROM"] = str(armed_from)
        worker = WorkerProcess({**self._environment, **more}, self._folder / f"{name}.log", target, armed_from)
        self._workers.append(worker)
        worker.wait_ready()
        return worker

    def running(self) -> list[WorkerProcess]:
        """Those that have not ended."""
        return [worker for worker in self._workers if worker.is_running()]

    def close(self) -> None:
        """End all of them."""
        for worker in self._workers:
            worker.close()

    def words(self) -> str:
        """What all of them wrote, for the message of a failed check."""
        return "\n".join(worker.words() for worker in self._workers)

    def count_in_logs(self, text: str) -> int:
        """How many lines of their logs hold this."""
        return sum(worker.output.read_text(errors="replace").count(text) for worker in self._workers)
