"""F50, F64, and kills of handlers that use everything: what another process makes of a journal is the same."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from barnabas.contract.ids import InvocationId
from tests.chaos.arena import FULL
from tests.chaos.outside import Asked
from tests.chaos.stage import Stage

POINTS = ["produce.done", "commit.replied", "step.ended"]
MORE_POINTS = ["produce.ready", "commit.ready", "step.ready", "load.replied"]
CASES = [pytest.param(point, marks=pytest.mark.scenario("F5")) for point in [*POINTS, *(MORE_POINTS if FULL else [])]]


@pytest.mark.scenario("F50")
def test_another_hash_seed_takes_the_same_branches(stage: Stage) -> None:
    """F50: workers with other hash seeds go on with the journals of killed ones; every attempt sees the same (K6)."""
    count = stage.scaled(15, 400)
    asked = []
    for seed in range(stage.scaled(3, 20)):
        point = stage.random.choice(["commit.ready", "commit.replied", "produce.done"])
        where = f"{point}=kill@{stage.random.randint(8, 40)}"
        worker = stage.worker(where, instance="one", session_ms=6000, PYTHONHASHSEED=str(seed + 1))
        asked += [stage.outside.call("Talk/combine", None, n) for n in range(count)]
        stage.outside.flush()
        worker.wait_killed(40)
    stage.worker(instance="one", session_ms=6000, PYTHONHASHSEED="4242")
    answers = stage.answers(asked, 60)
    assert len(answers) == len(asked)
    seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    attempts: Counter[str] = Counter()
    for line, id_ in stage.ledger.lines():
        if line.startswith("saw-"):
            _, number, what = line.split("-", 2)
            seen[id_, number].add(what)
            attempts[id_] += number == "1"
    differing = {at: what for at, what in seen.items() if len(what) > 1}
    assert differing == {}
    assert max(attempts.values()) > 1, "no journal was replayed"
    stage.say(f"{sum(number > 1 for number in attempts.values())} of {len(asked)} ran again")
    stage.wait_quiet()


@pytest.mark.scenario("F64")
@pytest.mark.parametrize("lost", ["some", "everything"])
def test_a_caller_that_was_rolled_back_never_gets_the_result_of_its_former_self(stage: Stage, lost: str) -> None:
    """F64: the store falls back, steps draw other numbers, calls have other arguments: results are not mixed."""
    stage.worker()
    # Without anything in the store all that was ever asked runs again, and what it asked in its former lives too.
    rounds, chunk = stage.scaled(2, 15 if lost == "some" else 10), stage.scaled(60, 300)
    patience = stage.scaled(30, 180)
    asked: list[Asked] = []
    for round_ in range(rounds):
        asked += [stage.outside.call("Talk/draw", None, f"k {round_} {n}") for n in range(chunk)]
        stage.outside.flush()
        assert stage.outside.wait_answered(len(asked) - chunk * 4 // 5, patience), stage.crew.words()
        older = stage.store.dump() if lost == "some" else {}
        asked += [stage.outside.call("Talk/draw", None, f"l {round_} {n}") for n in range(chunk)]
        stage.outside.flush()
        assert stage.outside.wait_answered(len(asked) - chunk // 2, patience), stage.crew.words()
        stage.store.fall_back(older)
    assert stage.outside.collect(asked, 2 * patience) == [], stage.crew.words()
    stage.wait_for(lambda: stage.left_over() == [], "nothing is left to do", patience)
    stage.outside.poll(0.5)
    several = 0
    for one in asked:
        outcomes = stage.outside.outcomes(one)
        several += len(outcomes) > 1
        for outcome in outcomes:
            number, first, second = outcome
            assert first == number, f"{one.id} asked about {number} and was answered about {first}"
            # Its key is made of the number too: another number is another request.
            assert second[0] == number, f"{one.id} asked about {number} and was answered about {second}"
    stage.say(f"{several} of {len(asked)} had another outcome the second time")


@pytest.mark.parametrize("point", CASES)
def test_kills_under_everything_that_handlers_say_to_each_other(stage: Stage, point: str) -> None:
    """F5: awakeables, idempotency, attach, cancel, workflows and promises, killed at every point: K1, K2, K4, K5."""
    asked: list[tuple[Asked, object]] = []
    number = 0
    kills = stage.scaled(1 if point == "load.replied" else 2, 15)
    for _ in range(kills):
        # Fewer than the little work of the short form reaches in any case: acknowledgements come many at a time.
        most = 6 if point == "load.replied" else stage.scaled(12, 40)
        where = f"{point}=kill@{stage.random.randint(1, most)}"
        worker = stage.worker(where, instance="one", session_ms=6000)
        for _ in range(stage.scaled(12, 60)):
            number += 1
            asked += [
                (stage.outside.call("Talk/ask_back", None, number), number),
                (stage.outside.call("Talk/repeat", None, number), [1, 1, 1]),
                (stage.outside.call("Talk/regret", None, number), [409, 409]),
                (stage.outside.call("Talk/close_deal", None, number), [[True, False], [number, number + 1]]),
            ]
        stage.outside.flush()
        worker.wait_killed(30)
    stage.worker(instance="one", session_ms=6000)
    answers = stage.answers((one for one, _ in asked), 60)
    wrong = [
        (str(one.id), answer, wanted) for (one, wanted), answer in zip(asked, answers, strict=True) if answer != wanted
    ]
    assert wrong == []
    stage.wait_quiet()
    stage.no_dead_letters()
    assert {stage.total(f"repeat {n}") for n in range(1, number + 1)} == {1}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line, id_ in stage.ledger.lines():
        counts[line][id_] += 1
    # A step runs again whose result the store did not get: at most once a kill.
    assert all(most <= 1 + kills for line in counts for most in counts[line].values())
    assert len(counts["deal"]) == number
    booked, undone = set(counts["book"]), set(counts["undo"])
    assert undone <= booked
    assert all(InvocationId.parse(id_) for id_ in undone)
