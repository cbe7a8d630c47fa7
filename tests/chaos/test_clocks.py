"""F31: the clock of the store's host jumps. Needs the package `libfaketime`, which has no wheel for every platform.

The clocks of the workers' hosts are not faked: nothing of ours reads them for a timer, but librdkafka's timed waits go
by them (its issue 2145), and the members on a host whose clock is stepped by an hour drop out of their group.

Timers run by the store's time as it was read once, carried on by the monotonic clock (DESIGN.md 9). What is measured
here is the time between a request and its answer, by the monotonic clock of the test.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from barnabas.devstack.process import wait_until
from barnabas.devstack.settings import store_arguments
from barnabas.devstack.stack import Addresses
from barnabas.devstack.store import find_store
from tests.chaos.arena import FULL
from tests.chaos.stage import Stage

WAIT = 2.0
#: What a busy machine may add, and what the clocks of two processes may differ by.
LATE, EARLY = 5.0, 0.1
JUMPS = ("+1h", "-1h", "+2s")


def library() -> Path | None:
    """The library that fakes clocks: in the package `libfaketime`, or where LIBFAKETIME says."""
    spec = importlib.util.find_spec("libfaketime")
    inside = "" if spec is None else str(Path(spec.origin or "").parent / "vendor/libfaketime/src/libfaketime.so.1")
    path = Path(os.environ.get("LIBFAKETIME") or inside)
    return path if path.is_file() else None


pytestmark = pytest.mark.skipif(library() is None, reason="no package libfaketime here, nor LIBFAKETIME")


class FakeClock:
    """The wall clock of processes that were started with `environment`; their monotonic clock is the machine's."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self.jump("+0")
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, offset: str) -> None:
        """To this distance from the true time."""
        self._file.write_text(offset)


@pytest.fixture
def clock(tmp_path: Path) -> FakeClock:
    return FakeClock(tmp_path)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[str]:
    """The URL of a store that has that clock."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path), *map(str, store_arguments())]
    process = subprocess.Popen([find_store(), *arguments], env={**os.environ, **clock.environment})
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with Redis.from_url(url) as redis:
            assert wait_until(lambda: _answers(redis), 10)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except (OSError, RedisConnectionError):
        return False


def store_is_off(url: str) -> float:
    """Seconds by which the store's clock is ahead of ours."""
    with Redis.from_url(url) as redis:
        seconds, micros = redis.time()
    return float(seconds) + float(micros) / 1e6 - time.time()


@pytest.mark.scenario("F31")
def test_the_clock_of_the_stores_host_jumps(
    barnabas_stack: Addresses, tmp_path: Path, seed: int, clock: FakeClock, store: str
) -> None:
    """F31: an hour ahead, an hour back: sleeps and delays take as long as they should, none is lost."""
    stage = Stage(Addresses(barnabas_stack.kafka, store), tmp_path, Random(seed), 2)
    try:
        stage.worker()
        stage.scheduler()
        stage.warm_up()
        for jump in JUMPS:
            before = store_is_off(store)
            check_timers(stage, lambda jump=jump: clock.jump(jump))  # type: ignore[misc]
            assert abs(store_is_off(store) - before) > 1, "the clock has not jumped: nothing was tested"
        if FULL:  # the clock is read every minute: a jump is followed by five seconds at a time
            until = time.monotonic() + 130
            while time.monotonic() < until:
                check_timers(stage, lambda: None, tolerance=5.5)
        stage.wait_quiet()
        stage.no_dead_letters()
    finally:
        stage.close()


def check_timers(stage: Stage, jump: Callable[[], None], tolerance: float = 0.0) -> None:
    """Sleeps and delayed messages, begun before and after a jump, take the time that they should."""
    ms = round(WAIT * 1000)
    targets = [("Talk/linger", "done"), ("Talk/later", "late")] * 5
    asked, began, wanted = [], [], []
    for disturb in (lambda: None, jump):
        disturb()
        time.sleep(0.3)  # the library looks at its file once a second, within some calls
        for target, answer in targets:
            began.append(time.monotonic())
            asked.append(stage.outside.call(target, None, ms))
            wanted.append(answer)
        stage.outside.flush()
    took: dict[bytes, float] = {}
    deadline = time.monotonic() + WAIT + LATE + tolerance
    while len(took) < len(asked) and time.monotonic() < deadline:
        stage.outside.poll(0.01)
        for one, start in zip(asked, began, strict=True):
            if one.request in stage.outside.replies:
                took.setdefault(one.request, time.monotonic() - start)
    missing = [number for number, one in enumerate(asked) if one.request not in took]
    assert missing == [], f"timers are late or lost: {missing} of {len(asked)}\n{stage.crew.words()}"
    assert [stage.outside.outcome(one) for one in asked] == wanted
    assert min(took.values()) >= WAIT - EARLY - tolerance, "a timer was early"
