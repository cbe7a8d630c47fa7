"""F20, F66: requests with an idempotency key: many at once, and one that is repeated late."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from barnabas.contract import codec
from barnabas.contract.ids import idempotent_id
from barnabas.store import keys
from barnabas.store.port import Shard
from tests.chaos.arena import FULL
from tests.chaos.stage import Stage


@pytest.mark.scenario("F20")
@pytest.mark.parametrize("stage", [10], indirect=True)
def test_one_idempotency_key_from_many_producers_is_one_execution(stage: Stage) -> None:
    """F20: to ten keys in ten partitions and to a service, each producer with another payload: the first counts."""
    producers = [stage.outside.producer() for _ in range(stage.scaled(20, 100))]
    targets: list[tuple[str, str | None]] = [("Once/take", stage.key_of("Once", partition)) for partition in range(10)]
    targets += [("Talk/counted", None)]
    asked = {
        target: [stage.outside.make(*target, n, idempotency_key="the same") for n in range(len(producers))]
        for target in targets
    }
    stage.worker()
    stage.worker()

    def produce(number: int) -> None:
        for target in targets:
            stage.outside.produce(asked[target][number], producers[number])
        assert producers[number].flush(30) == 0

    with ThreadPoolExecutor(len(producers)) as threads:
        list(threads.map(produce, range(len(producers))))
    for target in targets:
        answers = stage.answers(asked[target], 60)
        first = stage.first_record(asked[target][0])
        assert set(answers) == {json.loads(codec.decode_invocation(first).payload)}, target
    late = [stage.outside.call(*target, "late", idempotency_key="the same") for target in targets]
    assert stage.answers(late) == [stage.outside.outcome(asked[target][0]) for target in targets]
    stage.wait_quiet()
    assert set(stage.counted().values()) == {1}
    assert len(stage.counted()) == len(targets)


@pytest.mark.scenario("F20")
def test_one_workflow_from_many_producers_runs_once(stage: Stage) -> None:
    """F20: who came first gets the result, the others are told that it was submitted before."""
    producers = [stage.outside.producer() for _ in range(stage.scaled(10, 100))]
    asked = [stage.outside.make("BriefDeal/run", "w", n) for n in range(len(producers))]
    stage.worker()

    def produce(number: int) -> None:
        stage.outside.produce(asked[number], producers[number])
        assert producers[number].flush(30) == 0

    with ThreadPoolExecutor(len(producers)) as threads:
        list(threads.map(produce, range(len(producers))))
    answers = stage.answers(asked)
    results = [answer for answer in answers if isinstance(answer, int)]
    assert results == [json.loads(codec.decode_invocation(stage.first_record(asked[0])).payload)]
    assert [answer[0] for answer in answers if not isinstance(answer, int)] == [409] * (len(answers) - 1)
    assert stage.lines(asked[0].id) == ["take"]


@pytest.mark.scenario("F66")
@pytest.mark.parametrize("restarted", [False, True] if FULL else [True])
def test_a_repeat_in_a_backlog_that_is_older_than_the_retention_is_answered(stage: Stage, restarted: bool) -> None:
    """F66: by the clock the result has expired when its repeat is read; by the topic's time it has not (R13)."""
    key = stage.key_of("Brief", 0)
    first = stage.outside.call("Brief/take", key, "one", idempotency_key="k")
    workflow = stage.outside.call("BriefDeal/run", "w", 1)
    stage.outside.flush()
    worker = None
    if restarted:
        worker = stage.worker(instance="one")
        assert stage.answers([first, workflow]) == ["one", 1]
    # Work of several retentions, and behind it the repeats: appended at almost the same time as the first.
    fillers = [stage.outside.call("Brief/fill", key, 50) for _ in range(30)]
    repeat = stage.outside.call("Brief/take", key, "two", idempotency_key="k")
    again = stage.outside.call("BriefDeal/run", "w", 2)
    stage.outside.flush()
    if worker is not None:
        worker.close()
    stage.worker(instance="one")
    stage.answers(fillers)
    answers = stage.answers([first, repeat, workflow, again])
    assert answers[:3] == ["one", "one", 1]
    assert answers[3][0] == 409
    shard = Shard("Brief", first.partition)
    stage.wait_for(lambda: stage.store.length(shard, keys.KEPT) == 0, "the result has expired")
    stage.wait_for(
        lambda: all(stage.store.length(one, keys.KEPT) == 0 for one in stage.shards("BriefDeal")),
        "so has the workflow's",
    )
    assert stage.store.state("BriefDeal", "w") == {}
    assert idempotent_id("Brief", "take", key, "k") == first.id
    assert stage.lines(first.id) == ["take"]
    assert stage.answer(stage.outside.call("Brief/take", key, "three", idempotency_key="k")) == "three"
    assert stage.lines(first.id) == ["take", "take"]
    stage.wait_quiet()
