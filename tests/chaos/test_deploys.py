"""F27, F28, F29: handlers that misbehave, and code that changes under them."""

from __future__ import annotations

import json
import time

import pytest

from barnabas.contract.ids import awakeable_id
from tests.chaos.arena import FULL
from tests.chaos.stage import Stage

CHANGES = ["added", "removed", "reordered", "renamed"]


@pytest.mark.scenario("F27")
def test_a_handler_that_blocks_its_loop_loses_its_shards_and_nothing_else(stage: Stage) -> None:
    """F27: another worker takes over and finishes; the blocked one is fenced when it goes on, and works again."""
    seconds = stage.scaled(9, 60)
    options = json.dumps({"max.poll.interval.ms": 3000})
    first = stage.worker(app="talk_alone", TALK_BLOCKS="1", BARNABAS_KAFKA_OPTIONS=options)
    second = stage.worker(app="talk_alone", BARNABAS_KAFKA_OPTIONS=options)
    stage.wait_owners(first.pid, second.pid)
    stage.warm_up()
    partition = stage.owned_by(first.pid, "Talk")[0]
    blocked = next(
        one for one in iter(lambda: stage.outside.make("Talk/block", None, seconds), None) if one.partition == partition
    )
    stage.outside.produce(blocked)
    stage.wait_line("blocked", blocked.id)
    began = time.monotonic()
    # Work goes on coming, for all shards; those of the second worker answer as ever.
    others, mine = [], []
    while stage.owned_by(first.pid, "Talk") and time.monotonic() - began < seconds:
        one = stage.outside.call("Talk/counted", None, 1)
        (others if one.partition in stage.owned_by(second.pid, "Talk") else mine).append(one)
        stage.outside.flush()
        time.sleep(0.02)
    moved = time.monotonic() - began
    stage.say(f"the shards of the blocked worker moved after {moved:.1f} s")
    assert moved < seconds, "nobody took the shards of the blocked worker"
    assert stage.answer(blocked, 20) == str(second.pid)
    assert stage.answers([*others, *mine]) == [1] * len([*others, *mine])
    assert time.monotonic() - began < seconds, "the blocked one was to be blocked until here"
    stage.wait_owners(first.pid, second.pid, seconds=seconds + 20)
    after = [stage.outside.call("Talk/counted", None, n) for n in range(40)]
    assert stage.answers(after) == list(range(40))
    stage.wait_quiet()
    seen = stage.counted()
    assert {seen["counted", str(one.id)] for one in [*others, *mine, *after]} == {1}
    assert stage.lines(blocked.id).count("after") == 1


@pytest.mark.scenario("F28")
@pytest.mark.parametrize("as_task", [False, True], ids=["by-hand", "task"])
def test_a_handler_that_swallows_its_end_does_nothing_any_more(stage: Stage, as_task: bool) -> None:
    """F28: its shard moves, it goes on regardless: no message of it goes out, its result is that of another attempt."""
    stage.worker()
    waiting = [stage.outside.call("Talk/swallow", None, as_task) for _ in range(24)]
    for one in waiting:
        stage.wait_status(one.id, "running")
    second = stage.worker(app="talk_alone")
    stage.wait_for(lambda: stage.owned_by(second.pid, "Talk") != [], "shards have moved")
    for one in waiting:
        stage.outside.resolve(awakeable_id(one.id, 1), "value")
    assert stage.answers(waiting) == ["value"] * 24
    stage.wait_quiet()
    assert stage.total("swallowed") == 0
    assert not any(line == "sent-anyway" for line, _ in stage.ledger.lines())


@pytest.mark.scenario("F28")
@pytest.mark.parametrize("as_task", [False, True], ids=["by-hand", "task"])
def test_a_cancel_is_no_base_exception_to_be_swallowed(stage: Stage, as_task: bool) -> None:
    """F28: it is raised once, as a terminal error; a handler that takes it for its result has that result."""
    stage.worker()
    waiting = stage.outside.call("Talk/swallow", None, as_task)
    stage.wait_status(waiting.id, "running")
    stage.outside.cancel(waiting.id)
    assert stage.answer(waiting) == "terminal 409"
    stage.wait_quiet()
    assert stage.total("swallowed") == 0


@pytest.mark.scenario("F29")
@pytest.mark.parametrize("change", CHANGES if FULL else CHANGES[::3])
def test_changed_code_is_noticed_before_it_does_anything_new(stage: Stage, change: str) -> None:
    """F29: those in flight stop with both sides named, others flow, and rolling back heals them."""
    worker = stage.worker(instance="one")
    flying = [stage.outside.call("Talk/changing", None, "x") for _ in range(5)]
    for one in flying:
        stage.wait_for(lambda one=one: stage.journaled(one.id, "go"), "it waits for its signal")  # type: ignore[misc]
    worker.close()
    worker = stage.worker(instance="one", version=change)
    new = stage.outside.call("Talk/changing", None, "x")
    for one in flying:
        stage.outside.resolve_signal(one.id, "go", "gone")
        stage.wait_status(one.id, "backing-off", "paused")
    others = [stage.outside.call("Talk/counted", None, n) for n in range(20)]
    assert stage.answers(others) == list(range(20))
    failures = [(live.last_failure if (live := stage.live(one.id)) else "") for one in flying]
    assert all("the journal has" in text and "the handler now" in text for text in failures), failures
    assert [stage.lines(one.id) for one in flying] == [["one", "two"]] * 5
    assert stage.total("changing") == 0
    stage.outside.resolve_signal(new.id, "go", "gone")
    steps = {"added": ["zero", "one", "two"], "removed": ["one"], "reordered": ["two", "one"], "renamed": ["one", "2"]}
    assert stage.answer(new) == [*steps[change], "gone", "three"]
    worker.close()
    stage.worker(instance="one")
    assert stage.answers(flying, 60) == [["one", "two", "gone", "three"]] * 5
    assert [stage.lines(one.id) for one in flying] == [["one", "two", "three"]] * 5
    stage.wait_quiet()
    assert stage.total("changing") == 6
