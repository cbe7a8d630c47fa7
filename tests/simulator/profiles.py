"""Kinds of worlds: which faults happen how often, what programs run, how tight the limits are.

All are part of the budget, and all must be clean with every rule on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.simulator.programs import Mix

PROGRAMS = {
    "call": 5, "two": 2, "send": 5, "step": 3, "dice": 1, "sleep": 2, "mark": 2, "show": 2, "flaky": 1, "fail": 1,
    "big": 1,
}  # fmt: skip

TALK = PROGRAMS | {
    "idem": 4, "submit": 3, "tell": 1, "ask": 1, "awake": 5, "reveal": 2, "signal": 3, "attach": 4, "cancel": 5,
    "recall": 3, "race": 3, "saga": 3, "gather": 2, "each": 2,
}  # fmt: skip
ENDS = {"cancel": 6, "recall": 4, "attach": 3, "awake": 3, "signal": 2, "call": 1, "send": 2}
LATER = TALK | {"later": 8, "attach": 8, "cancel": 10, "notice": 5}
FED = {"call": 3, "send": 3, "step": 3, "sleep": 2, "mark": 1, "show": 1, "flaky": 1, "fail": 1}
KNOTTED = {"call": 8, "two": 3, "send": 2, "step": 2, "sleep": 2, "flaky": 1, "fail": 1}


@dataclass(frozen=True, slots=True)
class Profile:
    """`faults`: weight of each, by the name of its function in `faults.py`; `rate`: faults per event."""

    name: str
    faults: dict[str, int]
    rate: float = 0.05
    events: int = 220  # with faults; then everything is let run to its end
    members: int = 2
    schedulers: int = 0  # none where nothing is delayed
    feeders: int = 0  # none where no topic of others is read
    attaches: float = 0.2  # chance that a client does so when it could
    mix: Mix = field(default_factory=lambda: Mix(PROGRAMS))
    slow_looks: float = 0.0  # chance that a part of a look for deadlocks does not come about when it could
    limits: dict[str, int] = field(default_factory=dict)  # besides those drawn by lot
    max_active: int = 3  # attempts and steps at work before a member holds back
    kept_leases: int = 64


CRASHES = {"crash": 3, "crash_midway": 3, "freeze": 2, "rebalance": 3}
LINES = {"cut_line": 3, "lose_reply": 2, "close_store": 1, "end_session": 4}

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("calm", {"repeat": 1}, rate=0.02, events=150),
        Profile("crashes", CRASHES | LINES | {"repeat": 2}),
        Profile("groups", {"rebalance": 5, "freeze": 4, "cut_line": 2, "repeat": 1}, rate=0.08, members=3),
        Profile("contest", {"rebalance": 5, "cut_line": 6, "lose_reply": 3}, rate=0.1),
        Profile("lines", LINES | {"rebalance": 1, "crash": 1}, rate=0.1),
        Profile(
            "outages", {"cut_line": 8, "lose_reply": 4, "linger": 6}, rate=0.4, events=300,
            mix=Mix({"sleep": 5, "call": 5, "step": 3, "send": 3}, roots=(6, 9)),
        ),
        Profile("leases", CRASHES | LINES, rate=0.12, kept_leases=2),
        Profile(
            "narrow", CRASHES | LINES | {"repeat": 6}, rate=0.06,
            mix=Mix(PROGRAMS | {"sleep": 4}, roots=(5, 9), keys=2, length=2),
            limits={"queued": 1, "refill": 1}, max_active=2,
        ),
        Profile("fallback", {"fall_back": 3, "repeat": 1} | CRASHES | LINES, mix=Mix(PROGRAMS | {"dice": 4})),
        Profile(
            "deliveries", {"end_session": 6, "repeat": 1}, rate=0.15,
            mix=Mix(PROGRAMS | {"send": 12, "two": 6}, roots=(4, 7)),
        ),
        Profile(
            "reads", LINES | {"crash": 2, "repeat": 1},
            mix=Mix({"mark": 5, "show": 3, "step": 1, "call": 1}, keys=2, looks=0.5),
        ),
        Profile(
            "dice", {"fall_back": 4, "end_session": 1, "crash": 1}, rate=0.08,
            mix=Mix({"dice": 6, "call": 3, "send": 1}),
        ),
        Profile("talk", CRASHES | LINES | {"repeat": 2}, mix=Mix(TALK, shared=0.3)),
        Profile("ends", CRASHES | LINES | {"repeat": 2}, mix=Mix(TALK, shared=0.2, fates=0.6), attaches=0.6),
        Profile(
            "later", CRASHES | LINES | {"repeat": 2}, mix=Mix(LATER, shared=0.2, delayed=0.4, fates=0.3), schedulers=2
        ),
        Profile(
            "early", {"fall_back": 4, "rebalance": 1}, rate=0.06,
            mix=Mix({"call": 4, "sleep": 2, "step": 1, "awake": 6, "reveal": 4}),
        ),
        Profile("stalls", {"stall": 6, "end_session": 1, "crash": 1, "repeat": 1}, rate=0.1, mix=Mix(ENDS)),
        Profile(
            "stale", {"rebalance": 5, "freeze": 2, "cut_line": 4, "lose_reply": 2, "repeat": 1}, rate=0.1,
            mix=Mix(TALK, fates=0.3),
        ),
        Profile(
            "relapse", {"fall_back": 3, "repeat": 1} | CRASHES | LINES, schedulers=2,
            mix=Mix(LATER, shared=0.2, delayed=0.2, fates=0.3),
        ),
        Profile(
            "brief", {"leap": 8, "crash": 1, "cut_line": 1, "rebalance": 1}, rate=0.2, events=300,
            mix=Mix({"idem": 5, "call": 2, "step": 1}, shared=0.7, brief=True), attaches=0.0,
        ),
        Profile("feeds", CRASHES | LINES | {"repeat": 1}, feeders=2, mix=Mix(FED, roots=(0, 3), fed=(3, 7))),
        Profile("refed", {"fall_back": 3} | CRASHES | LINES, feeders=2, mix=Mix(FED, roots=(0, 3), fed=(3, 7))),
        Profile(
            "knots", CRASHES | LINES | {"cut_line": 6, "repeat": 1},
            mix=Mix(KNOTTED, keys=3, depth=3, knots=True), slow_looks=0.7,
        ),
        Profile(
            "retied", {"fall_back": 3} | CRASHES | LINES,
            mix=Mix(KNOTTED, keys=3, depth=3, knots=True),
        ),
        Profile("idle", {"fall_back": 3}, rate=0.02, events=260),
    )
}  # fmt: skip
