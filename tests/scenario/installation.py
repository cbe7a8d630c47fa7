"""A namespace of its own with a worker and a scheduler in it, as people run them; for tests that use an app."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import barnabas

ROOT = Path(__file__).parents[2]
SECONDS = 60


class Servers(Protocol):
    """Where the servers of the test session are."""

    kafka: str
    redis: str


class Installation:
    """One namespace on the session's servers, and the commands that run in it."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.kafka = servers.kafka
        self.namespace = f"t-{uuid4().hex[:8]}"
        self.folder = folder
        self.environment = os.environ | {
            "BARNABAS_KAFKA": servers.kafka,
            "BARNABAS_REDIS": servers.redis,
            "BARNABAS_NAMESPACE": self.namespace,
            "PYTHONPATH": os.pathsep.join([str(folder), str(Path(barnabas.__file__).parents[1])]),
        }

    def client(self) -> barnabas.Client:
        """A client of the namespace, not connected yet."""
        return barnabas.Client(self.kafka, self.namespace)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What a `barnabas` command prints and how it ends."""
        return subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A `barnabas worker` or `barnabas scheduler` that is ready; drained at the end."""
        command = self._command(*arguments, "--log-level", "warning")
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("ready"), f"{' '.join(arguments)} did not become ready"
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "barnabas.cli.main", *arguments]


@contextmanager
def installation(servers: Servers, target: str, folder: Path = ROOT, partitions: int = 2) -> Iterator[Installation]:
    """A namespace where `target` ("module:app", found from `folder`) is served by one worker, with one scheduler."""
    place = Installation(servers, folder)
    applied = place.run("topics", "apply", target, "--partitions", str(partitions))
    assert applied.returncode == 0, applied.stderr
    with ExitStack() as running:
        running.enter_context(place.process("worker", target))
        running.enter_context(place.process("scheduler"))
        yield place
