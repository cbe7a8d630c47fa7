"""F62: a backlog for one slow key whose handler calls another key of the same partition."""

from __future__ import annotations

from pathlib import Path

import pytest

from barnabas.store import keys
from barnabas.store.port import Shard
from tests.chaos.stage import Stage


@pytest.mark.scenario("F62")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
def test_a_slow_key_that_calls_into_its_own_partition_gets_through_its_backlog(stage: Stage) -> None:
    """F62: each call lies behind the whole backlog in the topic, and is taken all the same (R11); memory stays flat."""
    slow, other = stage.key_of("Once", 2, "slow"), stage.key_of("Once", 2, "other")
    count, through = stage.scaled(20_000, 1_000_000), stage.scaled(400, 5_000)
    worker = stage.worker()
    shard = Shard("Once", 2)
    half = 0.0
    asked = []
    for n in range(count):
        one = stage.outside.make("Once/slow_with_call", slow, other)
        if len(asked) < through:
            asked.append(one)
            stage.outside.produce(one)
        else:
            stage.outside.produce_unheard(one)
        if n % 10_000 == 0:
            stage.outside.flush()
        if n == count // 2:
            stage.outside.flush()
            stage.wait_for(lambda: stage.all_taken_in(shard), "half of it is taken in", 300)
            half = worker.megabytes()
    stage.wait_for(lambda: stage.all_taken_in(shard), "all of it is taken in", 300)
    assert stage.answers(asked, 120) == list(range(1, through + 1))
    whole = worker.megabytes()
    spilled = stage.store.length(shard, keys.SPILL)
    live = stage.store.length(shard, keys.LIVE)
    stage.say(f"with half of {count} waiting {half:.0f} MB, with all {whole:.0f} MB; {live} live, {spilled} spilled")
    assert whole < half * 1.1 + 15
    assert live < 4_000, "what waits for a key lies outside of LIVE"
    assert spilled > count - through - 4_000 - count // 10
