"""The clock of a member: the store's, carried on by the monotonic clock, and never ahead of it."""

from __future__ import annotations

import logging
from typing import cast

import pytest

from barnabas.scheduler.process import SchedulerProcess
from barnabas.store.port import Store
from barnabas.worker import member
from barnabas.worker.settings import Settings

EPOCH = 1_700_000_000.0


class Clocks:
    """The store's clock and ours, with a network between that takes so long each way, for each question."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = 1000.0
        self.ahead = EPOCH
        self.ways: list[tuple[float, float]] = []
        monkeypatch.setattr(member.time, "monotonic", lambda: self.monotonic)

    async def time_ms(self) -> int:
        there, back = self.ways.pop(0) if self.ways else (0.0, 0.0)
        self.monotonic += there
        now = int(self.true_ms())
        self.monotonic += back
        return now

    def true_ms(self) -> float:
        return (self.monotonic + self.ahead) * 1000


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
async def process() -> SchedulerProcess:
    return SchedulerProcess(Settings.model_validate({"kafka": "nowhere:1", "redis": "redis://nowhere"}))


async def ask(process: SchedulerProcess, clocks: Clocks, *ways: tuple[float, float]) -> float:
    """How far the process's clock is ahead of the store's afterwards, in ms."""
    clocks.ways = list(ways)
    await process._set_clock(cast(Store, clocks))
    return process.clock() - clocks.true_ms()


async def test_a_slow_request_makes_the_clock_no_earlier_than_the_stores(
    process: SchedulerProcess, clocks: Clocks
) -> None:
    assert -2 <= await ask(process, clocks, *[(2.0, 0.0)] * 5) <= 0


async def test_a_slow_answer_is_made_up_for_by_a_quick_one(process: SchedulerProcess, clocks: Clocks) -> None:
    assert -2 <= await ask(process, clocks, (0.0, 2.0), (0.0, 0.0005), (1.0, 1.0)) <= 0


async def test_answers_that_leave_room_for_what_we_have_change_nothing(
    process: SchedulerProcess, clocks: Clocks
) -> None:
    await ask(process, clocks)
    assert -2 <= await ask(process, clocks, *[(0.5, 2.0)] * 5) <= 0


async def test_a_clock_that_has_moved_is_followed(
    process: SchedulerProcess, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(process, clocks)
    clocks.ahead -= 2
    assert -2 <= await ask(process, clocks) <= 0
    clocks.ahead += 60
    with caplog.at_level(logging.WARNING):
        assert -55_002 <= await ask(process, clocks) <= -54_998
    assert "has moved by 60.0 s" in caplog.text
