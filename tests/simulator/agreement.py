"""What the participants of a world must agree on: one outcome of what many asked for, values that were handed on, and
what was cut short (K2, K3, P1). Part of `checks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.expected import CUT, Expected
from tests.simulator.faces import Violation

if TYPE_CHECKING:
    from tests.simulator.world import World


def check(world: World, expected: Expected) -> None:
    """Raises Violation."""
    _nobody_slept_on(world, expected)
    if not world.fell_back:  # what was told in the time that the store has lost may be contradicted
        _all_were_told_the_same(expected)
        _one_submission(expected)
        _first_of_the_outside(world)


def _nobody_slept_on(world: World, expected: Expected) -> None:
    for token in sorted(expected.never & world.napped):
        raise Violation("K3", f"{token} was cancelled or killed, and was not cut short")


def _all_were_told_the_same(expected: Expected) -> None:
    for name, told in expected.told.items():
        values = [one for one in told if not (name in expected.cut and one == CUT)]
        if any(one != values[0] for one in values):
            raise Violation("P1", f"what many asked of {name} was told in more than one way: {values}")


def _one_submission(expected: Expected) -> None:
    if len(expected.submitters) > 1 and "f0" not in expected.cut:
        raise Violation("K2", f"{sorted(expected.submitters)} were all told that they had submitted the workflow")
    promised = set(expected.told.get("the promise", ()))
    if len(expected.tellers) > 1 or (promised and expected.tellers - promised):
        raise Violation("K2", f"{sorted(expected.tellers)} completed the promise, whose value is {promised}")


def _first_of_the_outside(world: World) -> None:
    for id_, values in world.resolved.items():
        me = world.shown[id_]
        if me in world.seen and world.seen[me] != values[0]:
            raise Violation("R9", f"the awakeable of {me} became {world.seen[me]}, and {values[0]} came first")
