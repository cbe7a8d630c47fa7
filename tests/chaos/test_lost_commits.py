"""F57: commits whose fate the worker does not know."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena
from tests.chaos.proxy import Fault, Proxy


@pytest.mark.scenario("F57")
@pytest.mark.parametrize("fault", Fault)
def test_a_commit_of_unknown_fate_is_applied_once(arena: Arena, fault: Fault) -> None:
    """F57: cut before or after the script ran, or silent; a late copy is refused (R3). K1-K5, K8, no step twice."""
    proxy = Proxy(arena.addresses.redis)
    try:
        worker = arena.crew.start(BARNABAS_REDIS=proxy.url)
        arena.wait_owner(worker.pid)
        rounds = arena.scaled(1 if fault is Fault.HANGS else 5, 30)
        for number in range(1, rounds + 1):
            proxy.strike({arena.random.randint(1, 5): fault})
            arena.traffic.mixed(arena.scaled(60, 200))
            arena.wait_for(lambda number=number: len(proxy.struck) == number, f"{fault.value} came about")  # type: ignore[misc]
        arena.answer_all()
        if fault is Fault.REQUEST_LATE:
            arena.wait_for(lambda: all(struck.late_reply for struck in proxy.struck), "the late copies were sent")
            replies = [struck.late_reply for struck in proxy.struck]
            assert all(b"lease" in reply and b"applied" not in reply for reply in replies), replies
        assert worker.is_running()
    finally:
        arena.crew.close()
        proxy.close()
