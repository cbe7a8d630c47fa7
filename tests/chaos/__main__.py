"""`python -m tests.chaos [F9] [--seed N]`: crash scenarios at full length. Behind `make chaos SCENARIO=F9 SEED=N`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenario", nargs="?", default="all", help="F1, F9, ... or all")
    parser.add_argument("--seed", type=int, help="repeat the random choices of a run")
    arguments = parser.parse_args()
    os.environ["BARNABAS_CHAOS"] = "full"
    if arguments.scenario != "all":
        os.environ["BARNABAS_CHAOS_SCENARIO"] = arguments.scenario
    if arguments.seed is not None:
        os.environ["BARNABAS_CHAOS_SEED"] = str(arguments.seed)
    return pytest.main(["-v", "-s", "-o", "timeout=1200", str(Path(__file__).parent)])


if __name__ == "__main__":
    sys.exit(main())
