"""F36: attach before, during and after the completion, and when nothing is kept; in numbers, and by those who die."""

from __future__ import annotations

import pytest

from barnabas.contract.ids import awakeable_id, random_id
from barnabas.store import keys
from barnabas.store.port import Shard
from tests.chaos.arena import FULL
from tests.chaos.outside import Asked
from tests.chaos.stage import Stage


def resolve(stage: Stage, asked: Asked, value: object = "value") -> None:
    """End one that waits for its awakeable."""
    stage.outside.resolve(awakeable_id(asked.id, 1), value)


@pytest.mark.scenario("F36")
def test_attach_before_during_and_after(stage: Stage) -> None:
    """F36: from outside and from handlers: the same outcome for everyone, failures too."""
    stage.worker()
    kinds = {
        "plain": stage.outside.make("Talk/wait_for_ever"),
        "idempotent": stage.outside.make("Talk/wait_for_ever", idempotency_key="k"),
        "failed": stage.outside.make("Talk/wait_for_ever"),
    }
    followers: dict[str, list[Asked]] = {}
    attaches: dict[str, list[Asked]] = {}

    def attach() -> None:
        for kind, asked in kinds.items():
            attaches.setdefault(kind, []).append(stage.outside.attach(asked.id))
            followers.setdefault(kind, []).append(stage.outside.call("Talk/follow", None, asked.invocation_id))

    for asked in kinds.values():
        stage.outside.produce(asked)
    attach()
    for asked in kinds.values():
        stage.wait_status(asked.id, "running")
    attach()
    for kind, asked in kinds.items():
        if kind == "failed":
            stage.outside.kill(asked.id)
        else:
            resolve(stage, asked)
    attach()
    stage.answers(kinds.values())
    attach()
    for kind, asked in kinds.items():
        wanted = (409, "killed") if kind == "failed" else "value"
        assert stage.answer(asked) == wanted
        assert stage.answers(attaches[kind]) == [wanted] * 4
        assert stage.answers(followers[kind]) == [list(wanted) if kind == "failed" else [wanted]] * 4
    stage.wait_quiet()
    stage.no_dead_letters()


@pytest.mark.scenario("F36")
def test_attach_to_what_nobody_knows_any_more_is_a_404(stage: Stage) -> None:
    """F36: after its retention, after the ring has gone round, and to ids that never were."""
    stage.worker()
    brief = stage.outside.call("Brief/take", "key", "value", idempotency_key="k")
    assert stage.answers([brief, stage.outside.attach(brief.id)]) == ["value", "value"]
    old = stage.outside.call("Talk/echo", None, "old")
    assert stage.answer(old) == "old"
    same = [stage.outside.make("Talk/echo", None, n) for n in range(5000)]
    same = [one for one in same if one.partition == old.partition]
    stage.answers([stage.outside.produce(one) for one in same])
    assert len(same) > 1000, "the ring holds more"
    shard = Shard("Brief", brief.partition)
    stage.wait_for(lambda: stage.store.length(shard, keys.KEPT) == 0, "the result has expired")
    unknown = random_id("Talk", None)
    attaches = [stage.outside.attach(id_) for id_ in (brief.id, old.id, unknown)]
    followers = [stage.outside.call("Talk/follow", None, str(id_)) for id_ in (brief.id, old.id, unknown)]
    assert [answer[0] for answer in stage.answers(attaches)] == [404] * 3
    assert [answer[0] for answer in stage.answers(followers)] == [404] * 3
    stage.wait_quiet()


@pytest.mark.scenario("F36")
def test_thousands_attach_to_one(stage: Stage) -> None:
    """F36: 10,000 handlers and as many clients wait for one invocation; all are told, and nothing is left."""
    stage.worker()
    count = stage.scaled(1000, 10_000)
    target = stage.outside.call("Talk/wait_for_ever")
    stage.wait_status(target.id, "running")
    waiters = []
    for n in range(count):
        waiters.append(stage.outside.attach(target.id))
        waiters.append(stage.outside.call("Talk/follow", None, target.invocation_id))
        if n % 1000 == 0:
            stage.outside.flush()
    stage.wait_for(lambda: stage.waiters(target.id) == 2 * count + 1, "all of them wait", 60)
    resolve(stage, target)
    answers = stage.answers(waiters, 60)
    assert set(answers[::2]) == {"value"}
    assert all(answer == ["value"] for answer in answers[1::2])
    stage.wait_quiet()
    stage.no_dead_letters()


@pytest.mark.scenario("F36")
@pytest.mark.parametrize("who", ["waiter", "both"] if FULL else ["both"])
def test_a_process_dies_while_its_handlers_are_attached(stage: Stage, who: str) -> None:
    """F36: the waiters' worker is killed before, and while, the outcome comes; they get it all the same, once."""
    first = stage.worker()
    targets = [stage.outside.call("Talk/wait_for_ever") for _ in range(20)]
    for target in targets:
        stage.wait_status(target.id, "running")
    if who == "waiter":
        stage.worker()
    followers = [stage.outside.call("Talk/follow", None, target.invocation_id) for target in targets for _ in range(5)]
    for target in targets:
        stage.wait_for(lambda target=target: stage.waiters(target.id) == 6, "all of them wait")  # type: ignore[misc]
    for target in targets[:10]:
        resolve(stage, target)
    first.close()
    for target in targets[10:]:
        resolve(stage, target)
    stage.worker()
    assert stage.answers(targets) == ["value"] * 20
    assert stage.answers(followers) == [["value"]] * 100
    stage.wait_quiet()
    stage.no_dead_letters()
