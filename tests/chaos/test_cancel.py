"""F35: cancel and kill at every moment of an invocation: one outcome for everyone who asks, compensation once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from barnabas.contract.ids import InvocationId
from tests.chaos.arena import FULL
from tests.chaos.outside import Asked
from tests.chaos.stage import Stage

CANCELLED = (409, "cancelled")
KILLED = (409, "killed")


def with_attaches(stage: Stage, asked: Asked) -> list[Asked]:
    """The request, and two more who want its outcome."""
    stage.outside.flush()
    return [asked, stage.outside.attach(asked.id), stage.outside.attach(asked.id)]


def one_outcome(stage: Stage, asked: list[Asked]) -> Any:
    """The outcome that all of these were told."""
    answers = stage.answers(asked)
    assert all(answer == answers[0] for answer in answers), answers
    return answers[0]


@pytest.mark.scenario("F35")
@pytest.mark.parametrize("kill", [False, True], ids=["cancel", "kill"])
def test_what_has_not_begun_ends_at_once(stage: Stage, kill: bool) -> None:
    """F35: behind a busy key, and before its worker has read it at all; what is behind it goes on."""
    key = stage.key_of("Once", 1)
    early = stage.outside.call("Once/take", key, "early")
    stage.outside.flush()
    (stage.outside.kill if kill else stage.outside.cancel)(early.id)
    stage.outside.flush()
    stage.worker()
    stage.answers([early])
    busy = stage.outside.call("Once/hold", key, 60_000)
    stage.wait_status(busy.id, "running")
    queued = [stage.outside.call("Once/take", key, n) for n in range(5)]
    behind = stage.outside.call("Once/add", key, 1)
    stage.wait_status(queued[-1].id, "queued")
    all_asked = [with_attaches(stage, one) for one in queued]
    for one in queued:
        (stage.outside.kill if kill else stage.outside.cancel)(one.id)
    assert [one_outcome(stage, asked) for asked in all_asked] == [KILLED if kill else CANCELLED] * 5
    stage.outside.cancel(busy.id)
    assert stage.answer(busy) == CANCELLED
    assert stage.answer(behind) == 1
    assert all(stage.lines(one.id) == [] for one in queued)
    stage.wait_quiet()


@pytest.mark.scenario("F35")
@pytest.mark.parametrize("when", ["waiting", "suspended"] if FULL else ["suspended"])
def test_a_cancel_goes_down_to_the_leaves_and_compensates_once_each(stage: Stage, when: str) -> None:
    """F35: parent, child, grandchildren each undo once and end with 409; what was sent is nobody's child and runs."""
    worker = stage.worker(instance="one")
    asked = stage.outside.call("Talk/parent", None, 60_000)
    stage.wait_for(lambda: stage.timers("Talk") == 2, "both trips have come to their wait")
    if when == "suspended":
        worker.close()  # what is loaded again waits in the store alone until something comes
        stage.worker(instance="one")
    everyone = with_attaches(stage, asked)
    stage.outside.cancel(asked.id)
    assert one_outcome(stage, everyone) == CANCELLED
    stage.wait_quiet()
    lines = [line for line, _ in stage.ledger.lines()]
    assert sorted(lines) == ["book", "book", "counted", "undo", "undo", "undo-child", "undo-parent"]
    late = stage.outside.attach(asked.id)
    stage.outside.cancel(asked.id)
    assert stage.answer(late) == CANCELLED


@pytest.mark.scenario("F35")
def test_a_kill_ends_the_tree_without_compensation(stage: Stage) -> None:
    """F35: all of it is over, nothing was undone, what was sent has run."""
    stage.worker()
    asked = stage.outside.call("Talk/parent", None, 60_000)
    stage.wait_for(lambda: [line for line, _ in stage.ledger.lines()].count("book") == 2, "both trips are booked")
    everyone = with_attaches(stage, asked)
    stage.outside.kill(asked.id)
    assert one_outcome(stage, everyone) == KILLED
    stage.wait_quiet()
    assert sorted(line for line, _ in stage.ledger.lines()) == ["book", "book", "counted"]


@pytest.mark.scenario("F35")
def test_a_handler_may_go_on_after_a_cancel(stage: Stage) -> None:
    """F35: a cancel that is caught is over; what comes after it waits as ever."""
    stage.worker()
    asked = stage.outside.call("Talk/stubborn", None, 60_000)
    stage.wait_status(asked.id, "running")
    stage.outside.cancel(asked.id)
    assert stage.answer(asked) == "went on after 409"
    stage.outside.cancel(asked.id)
    assert one_outcome(stage, with_attaches(stage, asked)) == "went on after 409"
    stage.wait_quiet()


@pytest.mark.scenario("F35")
@pytest.mark.parametrize("killed", [False, True] if FULL else [True])
def test_cancels_at_any_moment_have_one_outcome(stage: Stage, killed: bool) -> None:
    """F35: from before the request to after its end, into its last commit too; also while workers die."""
    point = f"commit.ready=kill@{stage.random.randint(40, 120)}" if killed else ""
    worker = stage.worker(point, instance="one", session_ms=6000)
    stage.warm_up()
    count, pause = stage.scaled(400, 5000), 0.008
    trips: list[Asked] = []

    def run() -> None:
        for _ in range(count):
            asked = stage.outside.make("Talk/trip", None, 20)
            delay = stage.random.uniform(-0.01, 0.08)
            if delay < 0:
                stage.outside.cancel(asked.id)
            stage.outside.produce(asked)
            trips.append(asked)
            if delay >= 0:
                due.append((time.monotonic() + delay, asked.id))
            cancel_due()
            time.sleep(pause)
        while due:
            cancel_due()
            time.sleep(0.0005)

    due: list[tuple[float, InvocationId]] = []

    def cancel_due() -> None:
        now = time.monotonic()
        for one in [one for one in due if one[0] <= now]:
            due.remove(one)
            stage.outside.cancel(one[1])

    thread = threading.Thread(target=run)
    thread.start()
    if killed:
        worker.wait_killed(30)
        stage.worker(instance="one", session_ms=6000)
    thread.join()
    stage.outside.flush()
    answers = stage.answers(trips, 60)
    late = trips[-400:]  # those before may have left the ring
    assert stage.answers([stage.outside.attach(asked.id) for asked in late], 60) == answers[-400:]
    stage.wait_quiet()
    cancelled = [asked for asked, answer in zip(trips, answers, strict=True) if answer == CANCELLED]
    assert {answer for answer in answers if answer != CANCELLED} <= {"travelled"}
    stage.say(f"{len(cancelled)} of {count} were cancelled")
    assert 0 < len(cancelled) < count, "the moments were no test"
    seen = stage.counted()
    for asked, answer in zip(trips, answers, strict=True):
        booked, undone = seen["book", str(asked.id)], seen["undo", str(asked.id)]
        most = 2 if killed else 1  # a step runs again whose result the store did not get
        assert booked <= most
        assert undone <= most if answer == CANCELLED else (booked > 0 and undone == 0)
    # Only one that was cancelled before its step, or inside it, has nothing to undo.
    assert sum(seen["undo", str(asked.id)] == 0 for asked in cancelled) < len(cancelled)


@pytest.mark.scenario("F35")
@pytest.mark.parametrize("kill", [False, True], ids=["cancel", "kill"])
def test_a_delayed_message_is_cancelled_before_it_is_due(stage: Stage, kill: bool) -> None:
    """F35: in `delays`, and with an idempotency key at its target; it never runs, who waits is told at once."""
    stage.worker()
    stage.scheduler()
    plain = [stage.outside.call("Once/take", f"key {n}", n, delay_ms=3_600_000) for n in range(5)]
    keyed = [stage.outside.call("Once/take", f"key {n}", n, delay_ms=3_600_000, idempotency_key="k") for n in range(5)]
    everyone = [with_attaches(stage, one) for one in [*plain, *keyed]]
    for one in [*plain, *keyed]:
        (stage.outside.kill if kill else stage.outside.cancel)(one.id)
    assert [one_outcome(stage, asked) for asked in everyone] == [KILLED if kill else CANCELLED] * 10
    stage.wait_quiet()
    assert stage.ledger.lines() == []
