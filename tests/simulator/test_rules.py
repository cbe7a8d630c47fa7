"""F56: with any one rule of DESIGN.md 6 switched off the simulator finds a violation within its default budget.

That it finds none with all of them on is what `test_simulation.py` is for, and is looked at here for each world found.
"""

from __future__ import annotations

import sys

import pytest

from tests.simulator.mutants import MUTANTS, Mutant
from tests.simulator.run import BUDGET, FIRST_SEED, Failure, Tally, many, once, shrunk
from tests.simulator.world import World


def found_by(mutant: Mutant) -> tuple[Tally, Failure | None]:
    with mutant.active():
        tally = many(FIRST_SEED, runs=BUDGET, profiles=list(mutant.profiles))
        return tally, tally.failure and shrunk(tally.failure, tries=12)


@pytest.mark.timeout(400)  # a minute by itself, and much more beside other work
def test_every_rule_is_missed_when_it_is_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    """F56. The table goes to the terminal."""
    lines, survivors = [], []
    for mutant in MUTANTS:
        tally, failure = found_by(mutant)
        if failure is None:
            survivors.append(f"{mutant.rule} ({mutant.without})")
            lines.append(f"{mutant.rule:<5}{mutant.without:<58}{'not found':>8}")
            continue
        length = len(failure.world.trace or [])
        lines.append(f"{mutant.rule:<5}{mutant.without:<58}{tally.runs:>8}{length:>8}  {failure.violation.check}")
        # nothing is proved by a mutant that only breaks itself, nor by a world that is broken with the rule on, too
        assert failure.violation.check != "raised", f"{mutant.rule} ({mutant.without}): {failure.report()}"
        assert tally.failure is not None
        for case in (tally.failure.case, failure.case):
            assert isinstance(once(case), World), f"{case.command()} fails with {mutant.rule} on"
    with capsys.disabled():
        header = f"\n{'rule':<5}{f'without it, from seed {FIRST_SEED}':<58}{'seeds':>8}{'trace':>8}  check\n"
        sys.stdout.write(header + "\n".join(lines) + "\n")
    assert not survivors


def test_a_mutant_leaves_nothing_behind() -> None:
    for mutant in MUTANTS:
        patches = mutant.patches()
        before = [owner.__dict__[name] for owner, name, _ in patches]
        with mutant.active():
            assert [owner.__dict__[name] for owner, name, _ in patches] != before
        assert [owner.__dict__[name] for owner, name, _ in patches] == before


def test_a_failing_run_is_repeated_and_shrunk() -> None:
    """The report has the trace, the promise that was broken, and the command that breaks it again."""
    mutant = next(one for one in MUTANTS if one.rule == "R16")
    with mutant.active():
        failure = many(FIRST_SEED, runs=BUDGET, profiles=list(mutant.profiles)).failure
        assert failure is not None
        again = once(failure.case, trace=True)
        assert isinstance(again, Failure)
        assert str(again.violation) == str(failure.violation)
        small = shrunk(failure)
    assert small.violation.check == failure.violation.check
    assert len(small.world.trace or []) < len(again.world.trace or [])
    assert small.case.command() in small.report()
    assert small.report().count("\n") >= len(small.world.trace or [])
