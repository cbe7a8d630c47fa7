"""An installation with both doors open: what every test of this folder talks to."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.scenario.installation import Installation, Servers, installation


@dataclass(frozen=True)
class Doors:
    """Where the doors are, and the processes behind them by name."""

    place: Installation
    ingress: str  # URL
    admin: str  # URL
    processes: dict[str, subprocess.Popen[str]]

    def assert_alive(self) -> None:
        """No process has ended."""
        ended = {name: process.returncode for name, process in self.processes.items() if process.poll() is not None}
        assert not ended, f"processes have ended: {ended}"


@contextmanager
def doors(servers: Servers, target: str) -> Iterator[Doors]:
    """A namespace with worker, scheduler, ingress and admin; `target`: "module:app"."""
    with installation(servers, target) as place, ExitStack() as running:
        ports = {name: free_port() for name in ("ingress", "admin")}
        processes = {
            name: running.enter_context(place.process(name, "--port", str(port))) for name, port in ports.items()
        }
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        yield Doors(place, urls["ingress"], urls["admin"], processes)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
