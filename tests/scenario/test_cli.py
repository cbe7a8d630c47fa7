"""The command line as people use it: real processes, real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

import barnabas
from barnabas.devstack.stack import Addresses

APP = """
import asyncio
import barnabas

greeter = barnabas.Service("Greeter")
counter = barnabas.VirtualObject("Counter")

@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    if name == "nobody":
        raise barnabas.TerminalError("nobody is here", 404, {"looked": "twice"})
    return f"Hello {name}, {ctx.request().headers.get('mood', '')}"

@greeter.handler()
async def slow(ctx: barnabas.Context) -> str:
    async def nap() -> str:
        open("napping", "w").close()
        await asyncio.sleep(1)
        return "rested"
    return await ctx.run_typed("nap", nap)

@counter.handler()
async def add(ctx: barnabas.ObjectContext, number: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total

app = barnabas.app([greeter, counter])
"""
SECONDS = 60


class Shell:
    """Runs `barnabas` in a folder with an app, a namespace of its own, and the session's servers."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "BARNABAS_KAFKA": addresses.kafka,
            "BARNABAS_REDIS": addresses.redis,
            "BARNABAS_NAMESPACE": f"cli-{uuid4().hex[:8]}",
            "PYTHONPATH": str(Path(barnabas.__file__).parents[1]),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "barnabas.cli.main", *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A worker that is ready; killed at the end if it still runs."""
        with (
            (self.folder / "worker.log").open("a") as log,
            subprocess.Popen(
                self.command("worker", "greeting:app", *arguments),
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("ready"), (self.folder / "worker.log").read_text()
                yield process
            finally:
                process.kill()


@pytest.fixture
def shell(tmp_path: Path, barnabas_stack: Addresses) -> Shell:
    (tmp_path / "greeting.py").write_text(APP)
    return Shell(tmp_path, barnabas_stack)


@pytest.fixture
def ready_shell(shell: Shell) -> Shell:
    applied = shell.run("topics", "apply", "greeting:app", "--partitions", "2")
    assert applied.returncode == 0, applied.stderr
    return shell


def test_a_worker_serves_what_invoke_asks_and_drains(ready_shell: Shell) -> None:
    shell = ready_shell
    with shell.worker() as worker:
        greeted = shell.run("invoke", "Greeter/greet", '"Ada"', "--header", "mood=well")
        assert (greeted.returncode, greeted.stdout) == (0, '"Hello Ada, well"')
        assert shell.run("invoke", "Counter/a%2Fb/add", "5").stdout == "5"
        assert shell.run("invoke", "Counter/a%2Fb/add", "-", stdin="7").stdout == "12"

        failed = shell.run("invoke", "Greeter/greet", '"nobody"')
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "[404] nobody is here" in failed.stderr
        assert "looked: twice" in failed.stderr

        sent = shell.run("invoke", "Counter/c/add", "1", "--send")
        assert sent.returncode == 0
        assert sent.stdout.startswith("inv_")
        late = shell.run("invoke", "Greeter/slow", "--timeout", "0.01")
        assert late.returncode == 1
        assert "goes on" in late.stderr

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(SECONDS) == 0


def test_sigterm_lets_a_running_step_end(ready_shell: Shell) -> None:
    shell = ready_shell
    with shell.worker() as worker:
        asking = subprocess.Popen(
            shell.command("invoke", "Greeter/slow"),
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        with asking:
            while not (shell.folder / "napping").exists():
                assert worker.poll() is None
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(SECONDS) == 0
            assert asking.communicate(timeout=SECONDS)[0] == '"rested"'


def test_a_second_signal_ends_a_worker_at_once(ready_shell: Shell) -> None:
    shell = ready_shell
    with shell.worker() as worker:
        shell.run("invoke", "Greeter/slow", "--send")
        while not (shell.folder / "napping").exists():
            assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        while "draining" not in (shell.folder / "worker.log").read_text():
            assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(SECONDS) == 1


def test_a_supervisor_runs_members_and_ends_them(ready_shell: Shell) -> None:
    shell = ready_shell
    with shell.worker("--processes", "2") as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().startswith("ready")
        assert shell.run("invoke", "Counter/k/add", "3").stdout == "3"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(SECONDS) == 0


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_without_topics_a_worker_names_the_command_that_creates_them(shell: Shell, more: tuple[str, ...]) -> None:
    ended = shell.run("worker", "greeting:app", *more)
    assert ended.returncode == 2
    assert "barnabas topics apply" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "greting:app"), "no module 'greting'"),
        (("worker", "greeting:ap"), "did you mean greeting:app?"),
        (("worker", "greeting"), "module:attribute"),
        (("worker", "greeting:app", "--log-level", "loud"), "no log level 'loud'"),
        (("worker", "greeting:app", "--redis", "redis://127.0.0.1:9/0"), "127.0.0.1:9"),
        (("invoke", "Greeter"), "Object/key/handler"),
        (("invoke", "Greeter/greet", "--header", "x"), "no header"),
        (("invoke", "Greeter/greet", "--kafka", "127.0.0.1:9"), "127.0.0.1:9"),
        (("topics", "plan", "nothing"), "module:attribute"),
    ],
)
def test_what_cannot_start_says_why_in_a_sentence(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    ended = shell.run(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_worker_without_addresses_names_the_variables(shell: Shell) -> None:
    del shell.environment["BARNABAS_KAFKA"], shell.environment["BARNABAS_REDIS"]
    ended = shell.run("worker", "greeting:app")
    assert ended.returncode == 2
    assert "BARNABAS_KAFKA is not set" in ended.stderr
    assert "BARNABAS_REDIS is not set" in ended.stderr


def test_topics_are_planned_applied_and_listed(shell: Shell) -> None:
    planned = shell.run("topics", "plan", "greeting:app")
    assert planned.returncode == 0
    assert planned.stdout.count("create") == 7
    assert shell.run("topics", "apply", "greeting:app").returncode == 0
    again = shell.run("topics", "apply", "greeting:app")
    assert again.returncode == 0
    assert again.stdout.count("as declared") == 7
    assert shell.run("topics", "list", "greeting:app").stdout.count("30 days") == 5

    refused = shell.run("topics", "apply", "greeting:app", "--partitions", "3")
    assert refused.returncode == 1
    assert "has 8 partitions, 3 are declared" in refused.stderr
