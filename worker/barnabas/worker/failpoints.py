"""Named points of the delivery protocol at which a test can make this very process die or freeze.

    BARNABAS_FAILPOINTS="commit.replied=kill@3,step.ended=stop"

kills the process (SIGKILL) when `commit.replied` is reached for the third time, and freezes it (SIGSTOP) at the first
`step.ended`. BARNABAS_FAILPOINTS_FROM=FILE counts only visits after that file has come into being, for tests that need
the process to have reached some state before. Without the variables a point costs one dictionary look-up. The points
are called by the driver alone, between two effects, where a crash leaves something half done:

    batch.taken       records were fetched, nothing was done with them
    take.sent         a lease was asked for
    take.replied      it was given, the engine does not know yet
    load.replied      the shard was read from the store
    commit.ready      a commit is about to be sent
    commit.replied    it was applied (or refused), the engine does not know yet
    produce.ready     committed outbox entries are about to be handed to the producer
    produce.done      records were acknowledged, their entries are still in the outbox
    step.ready        a step's action is about to run
    step.ended        it has run, its result is nowhere yet
    drain.begun       SIGTERM has come
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Final

POINTS: Final = (
    "batch.taken",
    "take.sent",
    "take.replied",
    "load.replied",
    "commit.ready",
    "commit.replied",
    "produce.ready",
    "produce.done",
    "step.ready",
    "step.ended",
    "drain.begun",
)
_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
VARIABLE: Final = "BARNABAS_FAILPOINTS"
FROM: Final = "BARNABAS_FAILPOINTS_FROM"


def parse(text: str) -> dict[str, tuple[signal.Signals, int]]:
    """What to do at which visit of which point. Raises ValueError, with the point's name, for what makes no sense."""
    armed: dict[str, tuple[signal.Signals, int]] = {}
    for item in filter(None, text.split(",")):
        point, _, action = item.partition("=")
        name, _, visit = action.partition("@")
        if point not in POINTS or name not in _SIGNALS:
            raise ValueError(f"{VARIABLE}: cannot read {item!r}; points: {', '.join(POINTS)}; actions: kill, stop")
        if visit and not (visit.isdecimal() and int(visit)):
            raise ValueError(f"{VARIABLE}: cannot read {item!r}; after '@' comes the number of the visit, from 1")
        armed[point] = (_SIGNALS[name], int(visit or 1))
    return armed


class Failpoints:
    """The armed points of this process."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._armed = parse(environment.get(VARIABLE, ""))
        self._from = environment.get(FROM)
        self._visits: dict[str, int] = {}

    def reach(self, point: str) -> None:
        """Die or freeze here, if a test wants it."""
        if point in self._armed and (self._from is None or os.path.exists(self._from)):
            what, visit = self._armed[point]
            self._visits[point] = self._visits.get(point, 0) + 1
            if self._visits[point] == visit:
                os.kill(os.getpid(), what)
