"""`python -m tests.simulator --seconds 600 --seed 1`: run random worlds until the time is over or a promise is broken.

Ends with 1 and a shrunk trace if one is. `--only` with the other options repeats a single run.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys

from tests.simulator.profiles import PROFILES
from tests.simulator.run import Case, Failure, many, once, shrunk


def main() -> int:
    logging.getLogger("barnabas.worker").setLevel(logging.ERROR)  # lines break here all the time
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="first seed; drawn and printed if it is not given")
    parser.add_argument("--profile", choices=sorted(PROFILES), default=None, help="worlds of this kind only")
    parser.add_argument("--only", type=int, default=None, metavar="SEED", help="one run, with its trace")
    parser.add_argument("--without-faults", type=_numbers, default=frozenset())
    parser.add_argument("--without-roots", type=_numbers, default=frozenset())
    parser.add_argument("--events", type=int, default=None)
    given = parser.parse_args()
    if given.only is not None:
        case = Case(given.profile or "crashes", given.only, given.without_faults, given.without_roots, given.events)
        return _single(case)
    seed = secrets.randbelow(10**9) if given.seed is None else given.seed
    _print(f"seed {seed}")
    tally = many(seed, seconds=given.seconds, profiles=[given.profile] if given.profile else None)
    _print(tally.line())
    if tally.failure is None:
        return 0
    _print(f"{tally.failure.violation}\nAgain: {tally.failure.case.command()}\nshrinking ...")
    _print(shrunk(tally.failure).report())
    return 1


def _single(case: Case) -> int:
    result = once(case, trace=True)
    if isinstance(result, Failure):
        _print(result.report())
        return 1
    _print("\n".join(result.trace or []))
    _print(f"clean after {result.happened} events")
    return 0


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(part) for part in text.split(",") if part)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
