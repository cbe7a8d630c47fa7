"""F23, F55: what is too large for a record, and what has no form at all: a terminal failure, and nothing gets stuck."""

from __future__ import annotations

from typing import Any

import pytest

from barnabas.contract.ids import awakeable_id
from barnabas.contract.records import Failure, SignalKind
from tests.chaos.stage import Stage
from tests.chaos.talk import LARGE, UNWRITABLE

#: More than a handler may give away, less than what a broker refuses.
ALMOST = 950_000

REFUSED = [
    "call",
    "send",
    "delayed",
    "headers",
    "key",
    "idempotency key",
    "awakeable",
    "signal",
    "signal name",
    "state",
    "step",
    "failure",
]
HOSTILE = [
    "base exception",
    "hostile text",
    "surrogate message",
    "generator exit",
    "cancelled",
    "stop iteration",
    "surrogate state",
    "surrogate value",
    "surrogate key",
    "step",
    "step base exception",
    "recursion",
    "odd code",
    "odd metadata",
]


@pytest.mark.scenario("F23")
def test_what_is_too_large_is_a_terminal_failure_where_it_is_made(stage: Stage) -> None:
    """F23: the key is free at once, neighbours of the same partition are not disturbed, no outbox is wedged."""
    stage.worker()
    stage.scheduler()
    key = stage.key_of("Once", 0)
    things = [stage.outside.call("Once/large_things", key, what) for what in REFUSED]
    neighbours = [stage.outside.call("Once/add", stage.key_of("Once", 0, "other"), 1) for _ in things]
    results = [stage.outside.call("Once/large_result", key, size) for size in (LARGE, ALMOST, 10)]
    after = stage.outside.call("Once/add", key, 1)
    found = dict(zip(REFUSED, stage.answers(things), strict=True))
    code, message = found.pop("failure")
    assert (code, len(message) < 40_000) == (500, True)
    assert set(found.values()) == {"refused 413"}, found
    assert stage.answers(neighbours) == list(range(1, len(REFUSED) + 1))
    too_large, almost, small = stage.answers(results)
    assert too_large[0] == almost[0] == 500
    assert "bytes, more than" in too_large[1]
    assert small == "x" * 8
    assert stage.answer(after) == 1
    stage.wait_quiet()
    stage.no_dead_letters()
    assert stage.total("large") == 0


@pytest.mark.scenario("F23")
def test_large_values_from_outside_do_not_wedge_whoever_waits_for_them(stage: Stage) -> None:
    """F23: what the broker takes is delivered; handing it on is refused, as any result of that size."""
    stage.worker()
    awakeables = [stage.outside.call("Talk/wait_for_ever") for _ in range(3)]
    signals = [stage.outside.call("Talk/wait_for_signal", None, 60_000) for _ in range(3)]
    stage.outside.flush()
    for one, size in zip(awakeables, (10, 800_000, ALMOST), strict=True):
        stage.outside.resolve(awakeable_id(one.id, 1), "x" * size)
    for one, size in zip(signals, (10, 800_000, ALMOST), strict=True):
        stage.outside.resolve_signal(one.id, "go", "x" * size)
    rejected = stage.outside.call("Talk/wait_for_ever")
    stage.outside.signal(SignalKind.RESOLVE, rejected.id, position=1, failure=Failure(418, "y" * ALMOST))
    answers = stage.answers([*awakeables, *signals])
    assert [size_of(answer) for answer in answers] == [10, 800_000, 500, 10, 800_000, 500]
    code, message = stage.answer(rejected)
    assert code == 418
    assert len(message) < 40_000
    stage.wait_quiet()
    stage.no_dead_letters()


@pytest.mark.scenario("F55")
@pytest.mark.parametrize("handler", ["unwritable", "hostile"])
def test_malicious_output_is_a_terminal_failure_and_frees_the_key(stage: Stage, handler: str) -> None:
    """F55: results without a form in JSON, 50 MB, lone surrogates; errors that are none, or have no text."""
    stage.worker()
    stage.worker()
    whats = list(UNWRITABLE) if handler == "unwritable" else HOSTILE
    keys = [stage.key_of("Once", number % 4, what) for number, what in enumerate(whats)]
    bad = [stage.outside.call(f"Once/{handler}", key, what) for key, what in zip(keys, whats, strict=True)]
    behind = [stage.outside.call("Once/add", key, 1) for key in keys]
    answers = dict(zip(whats, stage.answers(bad, 40), strict=True))
    survived = {what: answer for what, answer in answers.items() if not isinstance(answer, tuple)}
    assert survived == {}
    assert all(400 <= answer[0] <= 599 for answer in answers.values()), answers
    assert all(answer[1].isprintable() for answer in answers.values()), answers
    assert stage.answers(behind) == [1] * len(keys)
    stage.wait_quiet()
    stage.no_dead_letters()
    assert all(worker.is_running() for worker in stage.crew.running())
    assert len(stage.crew.running()) == 2, stage.crew.words()


def size_of(answer: Any) -> int:
    """Of a text; of a failure its code."""
    return len(answer) if isinstance(answer, str) else int(answer[0])
