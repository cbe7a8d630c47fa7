"""F60, F61: cancel, kill, attach and resolve around the moment at which their invocation comes."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from barnabas.contract.ids import awakeable_id
from tests.chaos.outside import Asked
from tests.chaos.stage import Stage

HANDLERS = {
    "cancel": "linger",
    "kill": "linger",
    "attach": "linger",
    "resolve": "wait_for_value",
    "go": "wait_for_signal",
}
#: What may come out when the signal came too early, and when it came in time.
IN_TIME: dict[str, Any] = {
    "cancel": (409, "cancelled"),
    "kill": (409, "killed"),
    "attach": "done",
    "resolve": "value",
    "go": "value",
}


def signal(stage: Stage, what: str, asked: Asked) -> Asked | None:
    """Send it; an attach is a question of its own."""
    match what:
        case "cancel":
            stage.outside.cancel(asked.id)
        case "kill":
            stage.outside.kill(asked.id)
        case "attach":
            return stage.outside.attach(asked.id)
        case "resolve":
            stage.outside.resolve(awakeable_id(asked.id, 1), "value")
        case "go":
            stage.outside.resolve_signal(asked.id, "go", "value")
    return None


@pytest.mark.scenario("F60")
@pytest.mark.parametrize("order", ["before", "together", "after"])
def test_signals_around_their_invocation(stage: Stage, order: str) -> None:
    """F60: written before, with and after it to the other topic; what is written after it is never lost (R6, R7)."""
    stage.worker()
    stage.warm_up()
    asked: list[tuple[str, Asked]] = []
    attaches = []
    for _ in range(stage.scaled(40, 2000)):
        for what, handler in HANDLERS.items():
            one = stage.outside.make(f"Talk/{handler}", None, 400)
            if order == "before":
                attaches.append(signal(stage, what, one))
                if stage.random.random() < 0.3:
                    stage.outside.flush()
            stage.outside.produce(one)
            if order == "after":
                stage.outside.flush()
            if order != "before":
                attaches.append(signal(stage, what, one))
            asked.append((what, one))
    answers = stage.answers((one for _, one in asked), 60)
    found: dict[str, Counter[Any]] = {what: Counter() for what in HANDLERS}
    for (what, _), answer in zip(asked, answers, strict=True):
        found[what][answer] += 1
    print(order, found)  # noqa: T201
    for what, seen in found.items():
        late = "done" if HANDLERS[what] == "linger" else "timeout"
        assert set(seen) <= ({IN_TIME[what]} if order == "after" else {IN_TIME[what], late})
    attached = stage.answers([one for one in attaches if one is not None], 60)
    assert [one for one in attached if one != "done" and (order == "after" or one[0] != 404)] == []
    stage.wait_quiet()
    stage.no_dead_letters()


@pytest.mark.scenario("F60")
def test_signals_that_wait_for_their_invocation_across_a_kill(stage: Stage) -> None:
    """F60: both are in the log before any worker reads; a worker dies between the topics; nothing is lost."""
    count = stage.scaled(40, 1000)
    asked = []
    for n in range(count):
        what = list(HANDLERS)[n % len(HANDLERS)]
        one = stage.outside.make(f"Talk/{HANDLERS[what]}", None, 1500 if what == "attach" else 60_000)
        signal(stage, what, one)
        stage.outside.produce(one)
        asked.append((what, one))
    stage.outside.flush()
    for point in ("commit.ready", "commit.replied"):
        stage.worker(f"{point}=kill@{stage.random.randint(1, 4)}", instance="one", session_ms=6000).wait_killed(30)
    stage.worker(instance="one", session_ms=6000)
    answers = stage.answers([one for _, one in asked], 60)
    assert list(answers) == [IN_TIME[what] for what, _ in asked]
    stage.wait_quiet()


@pytest.mark.scenario("F61")
@pytest.mark.parametrize("what", ["cancel", "kill", "attach"])
def test_signals_about_a_delayed_message_at_its_due_instant(stage: Stage, what: str) -> None:
    """F61: one outcome each, the same for all who ask, and nothing is left (R8)."""
    stage.worker()
    stage.scheduler()
    count = stage.scaled(150, 10_000)
    delay, due, pending = 300, [], []
    asked, attaches = [], []
    for _ in range(count):
        one = stage.outside.call("Talk/linger", None, 40, delay_ms=delay)
        asked.append(one)
        pending.append((time.monotonic() + delay / 1000 + stage.random.uniform(-0.04, 0.06), one))
        if stage.random.random() < 0.2:
            time.sleep(0.002)
        now = time.monotonic()
        due, pending = [one for one in pending if one[0] <= now], [one for one in pending if one[0] > now]
        for _, other in due:
            attaches.append(signal(stage, what, other) or stage.outside.attach(other.id))
    for moment, other in sorted(pending, key=lambda one: one[0]):
        time.sleep(max(0.0, moment - time.monotonic()))
        attaches.append(signal(stage, what, other) or stage.outside.attach(other.id))
    answers = stage.answers(asked, 60)
    told = {one.id: answer for one, answer in zip(asked, answers, strict=True)}
    print(what, Counter(map(str, answers)))  # noqa: T201
    assert set(answers) <= {"done", IN_TIME[what]}
    by_attach = dict(zip((one.id for one in attaches), stage.answers(attaches, 60), strict=True))
    # One that was cancelled in `delays` is known nowhere afterwards: attach says so.
    assert {id_: one for id_, one in by_attach.items() if one != told[id_] and one[0] != 404} == {}
    if what == "attach":
        assert by_attach == told
    stage.wait_quiet()
    stage.no_dead_letters()
