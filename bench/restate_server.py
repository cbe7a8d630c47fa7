"""A Restate server on this machine, with the no-op handler registered: the other side of `bench.http`.

The server comes from npm (into a folder of the user's cache), its SDK and hypercorn from the test environment.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.interop.node_tools import find_node, installed

PROJECT = Path(__file__).parent / "restate"
SECONDS = 60.0


@contextmanager
def restate_server(folder: Path) -> Iterator[int]:
    """The port of its ingress, while it runs; its data go into `folder`."""
    node = find_node()
    start = installed(PROJECT, node) / "@restatedev" / "restate-server" / "lib" / "index.js"
    ingress, admin, internal, handlers = (free_port() for _ in range(4))
    environment = os.environ | {
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{internal}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{internal}/",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    serve = [sys.executable, "-m", "hypercorn", "-k", "uvloop", "-b", f"127.0.0.1:{handlers}"]
    with ExitStack() as running:
        running.enter_context(_process([*serve, "bench.restate.services:app"], os.environ.copy(), folder / "sdk.log"))
        server = [*node.node, str(start), "--no-logo", "--base-dir", str(folder / "data")]
        running.enter_context(_process(server, environment, folder / "server.log"))
        _register(admin, f"http://127.0.0.1:{handlers}")
        yield ingress


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        with process:
            try:
                yield
            finally:
                process.terminate()
                process.wait(SECONDS)


def _register(admin: int, uri: str) -> None:
    """Tell it where the handlers are, as soon as both answer."""
    deadline = time.monotonic() + SECONDS
    last: object = None
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
            body = json.dumps({"uri": uri, "force": True})
            connection.request("POST", "/deployments", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            last = answer.read()
            connection.close()
            if answer.status in (200, 201):
                return
        except OSError as error:
            last = error
        time.sleep(0.2)
    raise RuntimeError(f"Restate has not taken the deployment within {SECONDS:g} s: {last!r}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
