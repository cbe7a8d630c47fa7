"""The supervisor, with small programs in the place of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

from barnabas.worker.supervisor import Supervisor

CANNOT_START = 2
#: Writes a line with its pid for each start, then runs what it is told to.
CHILD = "import os, sys, signal; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); exec(sys.argv[2])"
UP = "open(sys.argv[1] + '.up', 'a').write('up\\n'); signal.pause()"
UNTIL_SIGTERM = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {UP}"


def command(log: Path, code: str) -> list[str]:
    return [sys.executable, "-c", CHILD, str(log), code]


async def lines(file: Path, number: int) -> list[str]:
    """The lines of a file, once another process has written that many."""
    async with asyncio.timeout(20):
        while len(found := _lines(file)) < number:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.01)
    return found


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_a_killed_child_is_started_again_and_all_end_together(tmp_path: Path) -> None:
    logs = [tmp_path / "0", tmp_path / "1"]
    supervisor = Supervisor([command(log, UNTIL_SIGTERM) for log in logs], os.environ, CANNOT_START)
    running = asyncio.create_task(supervisor.run())
    for log in logs:
        await lines(log.with_suffix(".up"), 1)
    (first,) = await lines(logs[0], 1)
    os.kill(int(first), signal.SIGKILL)
    await lines(logs[0].with_suffix(".up"), 2)
    assert len(await lines(logs[1], 1)) == 1
    supervisor.stop()
    assert await running == 0


async def test_a_child_that_cannot_start_ends_everything(tmp_path: Path) -> None:
    commands = [command(tmp_path / "0", UNTIL_SIGTERM), command(tmp_path / "1", "sys.exit(2)")]
    async with asyncio.timeout(30):
        assert await Supervisor(commands, os.environ, CANNOT_START).run() == CANNOT_START
    assert len(await lines(tmp_path / "1", 1)) == 1


async def test_a_child_that_dies_at_once_is_started_at_growing_intervals(tmp_path: Path) -> None:
    log = tmp_path / "0"
    stamps = "import time; open(sys.argv[1] + '.at', 'a').write(f'{time.monotonic()}\\n'); sys.exit(1)"
    supervisor = Supervisor([command(log, stamps)], os.environ, CANNOT_START)
    running = asyncio.create_task(supervisor.run())
    times = [float(line) for line in await lines(log.with_suffix(".at"), 4)]
    supervisor.stop()
    assert await running in (0, 1)  # 0 if it was just being started
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[1] > 0.2
    assert gaps[2] > 0.4


async def test_a_second_request_ends_children_that_do_not(tmp_path: Path) -> None:
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {UP}"
    supervisor = Supervisor([command(tmp_path / "0", deaf)], os.environ, CANNOT_START)
    running = asyncio.create_task(supervisor.run())
    await lines(tmp_path / "0.up", 1)
    supervisor.stop()
    done, _ = await asyncio.wait([running], timeout=0.2)
    assert not done
    supervisor.kill()
    assert await running == signal.SIGKILL


async def test_children_see_the_end_of_their_supervisor_on_stdin(tmp_path: Path) -> None:
    """The pipe is open as long as the supervisor lives: reading from it does not return."""
    reading = (
        "import select; say = open(sys.argv[1] + '.said', 'a', buffering=1).write; "
        "say('closed\\n' if select.select([0], [], [], 0.2)[0] else 'open\\n'); sys.stdin.read(); say('ended\\n')"
    )
    program = (
        "import asyncio, os, sys; from barnabas.worker.supervisor import Supervisor; "
        f"asyncio.run(Supervisor([{command(tmp_path / '0', reading)!r}], os.environ, 2).run())"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await lines(tmp_path / "0.said", 1)
    process.kill()
    await process.wait()
    assert await lines(tmp_path / "0.said", 2) == ["open", "ended"]
