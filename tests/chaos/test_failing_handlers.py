"""F25, F26: work that cannot go on, for now or for ever: it waits as its policy says, and nobody else does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.stage import Stage
from tests.chaos.talk import ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE

PAUSES = [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(ATTEMPTS - 1)]


@pytest.mark.scenario("F25")
def test_calls_to_what_is_not_deployed_wait_and_go_on_after_a_deploy(stage: Stage) -> None:
    """F25: unknown service, unknown handler, call and send, invocations and raw records from outside; no tight loop."""
    old = stage.worker(instance="one", session_ms=6000)  # it is back within its session, as the same member
    calls = [stage.outside.call("Talk/call_late", None, how) for how in ("call", "handler", "send")]
    direct = [stage.outside.call("Talk/added_later", None, "directly"), stage.outside.call("Late/hello", None, "early")]
    stage.outside.send_raw("Talk", "added_later", None, b'"raw"')
    others = [stage.outside.call("Talk/echo", None, n) for n in range(20)]
    assert stage.answers(others) == list(range(20))
    for call in calls:
        stage.wait_status(call.id, "backing-off")
    stage.wait_status(direct[0].id, "backing-off")
    attempts = {one.id: stage.attempts(one.id) for one in [*calls, direct[0]]}
    old.close()
    stage.worker(instance="one", session_ms=6000, version="late")
    assert stage.answers(calls, 60) == ['"hello called"', '"added called"', "sent"]
    assert stage.answers(direct, 60) == ["added directly", "hello early"]
    stage.wait_for(lambda: list(stage.counted().values()).count(1) == 6, "the raw record and the send are done too", 40)
    stage.wait_quiet()
    stage.no_dead_letters()
    # 50 ms, doubled: within ten seconds that is eight attempts.
    assert all(1 <= count <= 9 for count in attempts.values()), attempts


@pytest.mark.scenario("F26")
@pytest.mark.parametrize("handler", ["failing", "crashing"])
def test_back_off_follows_its_policy_across_restarts_and_ends_in_a_pause(stage: Stage, handler: str) -> None:
    """F26: a failing step and a failing body; the key stays with the paused one, other keys go on; kill frees it."""
    worker = stage.worker(instance="one")
    key = stage.key_of("Once", 0)
    failing = stage.outside.call(f"Once/{handler}", key, "x")
    behind = stage.outside.call("Once/add", key, 1)
    other = stage.outside.call("Once/add", stage.key_of("Once", 0, "other"), 1)
    assert stage.answer(other) == 1
    stage.wait_for(lambda: len(stage.times(failing.id)) >= 3, "three attempts")
    worker.close()
    stage.worker(instance="one")
    stage.wait_status(failing.id, "paused", seconds=30)
    times = stage.times(failing.id)
    # A kill may hit an attempt before it was counted, and cut a pause short by nothing.
    assert ATTEMPTS <= len(times) <= ATTEMPTS + 1, times
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if len(times) == ATTEMPTS:
        assert all(gap >= pause * 0.9 for gap, pause in zip(gaps, PAUSES, strict=True)), (gaps, PAUSES)
    assert sum(gaps) >= sum(PAUSES) * 0.9 - LONGEST_PAUSE
    assert stage.outside.outcomes(behind) == []
    stage.outside.kill(failing.id)
    assert stage.answer(failing) == (409, "killed")
    assert stage.answer(behind) == 1
    assert len(stage.times(failing.id)) == len(times)
    stage.wait_quiet()


@pytest.mark.scenario("F26")
def test_a_paused_invocation_is_cancelled_across_a_restart(stage: Stage) -> None:
    """F26: cancel reaches the handler of a paused one, which ends with a terminal error; its key is free then."""
    worker = stage.worker(instance="one")
    key = stage.key_of("Once", 0)
    failing = stage.outside.call("Once/failing", key, "x")
    behind = stage.outside.call("Once/add", key, 1)
    stage.wait_status(failing.id, "paused", seconds=30)
    attempts = len(stage.times(failing.id))
    worker.close()
    stage.outside.cancel(failing.id)
    stage.outside.flush()
    stage.worker(instance="one")
    assert stage.answer(failing) == (409, "cancelled")
    assert stage.answer(behind) == 1
    assert stage.lines(failing.id).count("ended-409") == 1
    assert stage.lines(failing.id).count("attempt") <= attempts + 1
    stage.wait_quiet()


@pytest.mark.scenario("F26")
def test_attempts_that_are_to_end_in_a_kill_end_so(stage: Stage) -> None:
    """F26: after the last attempt a terminal failure with the last message, and the key is free."""
    stage.worker()
    dying = [stage.outside.call("Once/dying", f"key {n}", "x") for n in range(10)]
    behind = [stage.outside.call("Once/add", f"key {n}", 1) for n in range(10)]
    assert set(stage.answers(dying)) == {(500, "RuntimeError: transient, for ever")}
    assert stage.answers(behind) == [1] * 10
    assert {len(stage.times(one.id)) for one in dying} == {ATTEMPTS}
    stage.wait_quiet()


@pytest.mark.scenario("F26")
def test_a_deployment_that_mends_it_ends_the_back_off(stage: Stage) -> None:
    """F26: what fails for ever goes on where it stood, once it does not."""
    worker = stage.worker(instance="one")
    failing = stage.outside.call("Once/failing", "k", "x")
    stage.wait_for(lambda: len(stage.times(failing.id)) >= 2, "two attempts")
    worker.close()
    stage.worker(instance="one", version="mended")
    assert stage.answer(failing) == "mended"
    stage.wait_quiet()
