"""P1-P6 over random worlds (F1-F4, F9, F13, F19, F57-F59, F63, F64).

The shipped engine under crashes, zombies, late and lost requests, dying producer sessions and a store that falls back.
`make simulate` runs the same for as long as you like.
"""

from __future__ import annotations

import sys

import pytest

from tests.simulator.profiles import PROFILES
from tests.simulator.run import FIRST_SEED, Case, Failure, Tally, many, once, shrunk
from tests.simulator.world import World

#: Runs of each profile in which no fault may break a promise.
EACH = 28


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    return {name: many(FIRST_SEED, runs=EACH, profiles=[name]) for name in PROFILES}


def test_no_promise_is_broken(tallies: dict[str, Tally], capsys: pytest.CaptureFixture[str]) -> None:
    total = sum(tallies.values(), Tally())
    with capsys.disabled():
        sys.stdout.write(f"\nsimulator, seeds {FIRST_SEED} to {FIRST_SEED + EACH - 1}: {total.line()}\n")
    for tally in tallies.values():
        assert tally.failure is None, shrunk(tally.failure).report()


def test_every_fault_of_every_profile_happens(tallies: dict[str, Tally]) -> None:
    """A fault that never comes about would leave the promises unproved."""
    for name, profile in PROFILES.items():
        missing = set(profile.faults) - set(tallies[name].faults)
        assert not missing, f"{name}: {missing} never happened in {tallies[name].runs} runs"


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [once(Case("crashes", FIRST_SEED), trace=True) for _ in range(2)]
    traces = []
    for run in runs:
        assert isinstance(run, World), run.report() if isinstance(run, Failure) else ""
        traces.append(run.trace)
    assert traces[0] == traces[1]
