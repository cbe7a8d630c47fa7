"""Running worlds: one, many, and a failing one again and again until only what it takes is left."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.simulator.faces import Violation
from tests.simulator.profiles import PROFILES
from tests.simulator.world import World

logging.getLogger("barnabas.engine").setLevel(logging.CRITICAL + 1)

#: Where the tests begin, and how many runs they look for a violation in when a rule is switched off.
FIRST_SEED = 1
BUDGET = 400


@dataclass(frozen=True)
class Case:
    """One run, exactly."""

    profile: str
    seed: int
    without_faults: frozenset[int] = frozenset()
    without_roots: frozenset[int] = frozenset()
    events: int | None = None

    def world(self, trace: bool = False) -> World:
        return World(
            self.seed,
            PROFILES[self.profile],
            without_faults=self.without_faults,
            without_roots=self.without_roots,
            events=self.events,
            trace=trace,
        )

    def command(self) -> str:
        """How to run it again."""
        words = ["python -m tests.simulator", f"--profile {self.profile}", f"--only {self.seed}"]
        if self.without_faults:
            words.append(f"--without-faults {','.join(map(str, sorted(self.without_faults)))}")
        if self.without_roots:
            words.append(f"--without-roots {','.join(map(str, sorted(self.without_roots)))}")
        if self.events is not None:
            words.append(f"--events {self.events}")
        return " ".join(words)


@dataclass
class Failure:
    """A run that broke a promise."""

    case: Case
    violation: Violation
    world: World

    def report(self) -> str:
        trace = "\n".join(self.world.trace or [])
        return f"{trace}\n{self.violation}\n{len(self.world.trace or [])} steps. Again: {self.case.command()}"


@dataclass
class Tally:
    """What a number of runs came to."""

    runs: int = 0
    events: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.runs + other.runs,
            self.events + other.events,
            self.seconds + other.seconds,
            self.faults + other.faults,
            self.failure or other.failure,
        )

    def line(self) -> str:
        rate = self.runs / self.seconds if self.seconds else 0.0
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return f"{self.runs} runs, {self.events} events, {self.seconds:.1f} s, {rate:.0f} runs/s; {faults}"


def once(case: Case, trace: bool = False) -> Failure | World:
    """Run one world to its end."""
    world = case.world(trace)
    try:
        return world.run()
    except Violation as violation:
        return Failure(case, violation, world)


def cases(seed: int, profiles: list[str] | None = None) -> Iterator[Case]:
    """Case after case, the profiles in turn."""
    names = profiles or list(PROFILES)
    while True:
        for name in names:
            yield Case(name, seed)
        seed += 1


def many(
    seed: int, *, seconds: float = float("inf"), runs: int | None = None, profiles: list[str] | None = None
) -> Tally:
    """Run until the time is over, the number is reached, or a promise is broken."""
    tally = Tally()
    began = time.monotonic()
    for case in cases(seed, profiles):
        tally.seconds = time.monotonic() - began
        if tally.seconds >= seconds or tally.runs == runs:
            return tally
        result = once(case)
        world = result.world if isinstance(result, Failure) else result
        tally.runs += 1
        tally.events += world.happened
        tally.faults += world.counts
        if isinstance(result, Failure):
            tally.seconds = time.monotonic() - began
            tally.failure = result
            return tally
    raise AssertionError("cases() never ends")


def shrunk(failure: Failure, tries: int = 300) -> Failure:
    """The same promise broken by less: fewer requests, fewer faults, an earlier end of the faults. Keeps a trace."""
    check = failure.violation.check
    case = failure.case
    left = tries

    def still(candidate: Case) -> bool:
        nonlocal left
        left -= 1
        result = once(candidate) if left > 0 else None
        return isinstance(result, Failure) and result.violation.check == check

    progress = True
    while progress and left > 0:
        progress = False
        for candidate in _smaller(case, once(case)):
            if still(candidate):
                case, progress = candidate, True
                break
    result = once(case, trace=True)
    assert isinstance(result, Failure)
    return result


def _smaller(case: Case, result: Failure | World) -> Iterator[Case]:
    world = result.world if isinstance(result, Failure) else result
    for root in world.roots:
        yield replace(case, without_roots=case.without_roots | {root.number})
    done = world.faults_done
    size = len(done)
    while size:
        for start in range(0, len(done), size):
            yield replace(case, without_faults=case.without_faults | set(done[start : start + size]))
        size //= 2
    events = world.events
    for fewer in (events // 2, events * 3 // 4, events * 9 // 10, events - 1):
        if 0 < fewer < events:
            yield replace(case, events=fewer)
