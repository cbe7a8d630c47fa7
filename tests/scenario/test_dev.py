"""`barnabas dev` with servers of its own: everything killed once, alone, while the rest goes on; Ctrl-C ends it all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import barnabas
from barnabas.devstack.stack import DEFAULT_DIRECTORY, Stack

APP = """
import barnabas

greeter = barnabas.Service("Greeter")

@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    return f"Hello {name}"

app = barnabas.app([greeter])
"""
SECONDS = 60


class Dev:
    """A running `barnabas dev`, and what it has printed."""

    def __init__(self, folder: Path, *options: str) -> None:
        unset = ("BARNABAS_KAFKA", "BARNABAS_REDIS", "BARNABAS_NAMESPACE")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment["PYTHONPATH"] = str(Path(barnabas.__file__).parents[1])
        command = [sys.executable, "-m", "barnabas.cli.main", "dev", "hello:app", "--log-level", "warning", *options]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def said(self, pattern: str, times: int = 1) -> str:
        """The line in which this was found, once it was printed that often."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in self.lines if re.search(pattern, line)]
            return len(found) >= times or self.process.poll() is not None

        until(look, f"{pattern!r}, {times} times")
        assert len(found) >= times, "\n".join(self.lines)
        return found[times - 1]

    def children(self) -> dict[str, int]:
        """Ids of Barnabas's own processes, by what they are."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        found = {}
        for line in listed.splitlines():
            pid, parent, command = line.split(None, 2)
            if int(parent) == self.process.pid:
                name = command.partition("barnabas.cli.main ")[2].partition(" ")[0]
                found |= {name: int(pid)} if name else {}
        return found

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self._reading.join()
            assert self.process.stdout is not None
            self.process.stdout.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(APP)
    return tmp_path


@pytest.fixture
def dev(folder: Path) -> Iterator[Dev]:
    running = Dev(folder, "--ingress-port", "0", "--admin-port", "0")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


@pytest.mark.timeout(300)
def test_everything_runs_each_part_may_be_killed_and_ctrl_c_ends_all(dev: Dev, folder: Path) -> None:
    doors = re.findall(r"http://\S+", dev.said("^ready: "))
    ingress, admin = doors

    def greets(name: str) -> bool:
        try:
            answer = httpx.post(f"{ingress}/Greeter/greet", json=name, timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json() == f"Hello {name}"

    assert greets("you")
    assert httpx.get(f"{admin}/services").json()["services"][0]["name"] == "Greeter"
    before = dev.children()
    for name in ("worker", "scheduler", "ingress", "admin"):
        os.kill(before[name], signal.SIGKILL)
        dev.said(f"^{name} ready", 2)
        after = dev.children()
        assert after[name] != before[name]
        assert {other: pid for other, pid in after.items() if other != name} == {
            other: pid for other, pid in before.items() if other != name
        }
        before = after
        until(lambda: greets("again"), f"a call after {name} was killed")

    servers = Stack(folder / DEFAULT_DIRECTORY)
    for server in (servers.store, servers.broker):
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        dev.said(f"the {server.name} had ended, it was started again")
        until(lambda: greets("again"), "a call after a server was killed")

    (folder / "hello.py").write_text(APP.replace("Hello {name}", "Hello {name} {"))
    dev.said("it starts again at the next change")
    (folder / "hello.py").write_text(APP)
    dev.said("^worker ready", 3)
    until(lambda: greets("mended"), "a call after the code was mended")

    pids = [*dev.children().values(), servers.store.pid, servers.broker.pid]
    assert None not in pids
    assert dev.end() == 0
    until(lambda: not any(_lives(pid) for pid in pids if pid), "the end of all that was started")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_port_that_was_asked_for_and_is_taken_is_refused(folder: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = Dev(folder, "--admin-port", str(port))
        assert running.process.wait(SECONDS) == 2
        running.end()
    assert f"port {port} is taken" in "\n".join(running.lines)
