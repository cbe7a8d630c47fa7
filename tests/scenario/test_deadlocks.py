"""F37: calls that wait for themselves, on real servers: listed, cancelled, killed, or failed at once where wanted."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

import barnabas
from tests.scenario.deadlock_app import app, meet, visit, visit_strict
from tests.scenario.live_worker import ROOT, Servers, worker

PARTITIONS = 4
SECONDS = 30


class Town:
    """One namespace with a worker in it, a client, and the command line."""

    def __init__(self, servers: Servers, namespace: str, client: barnabas.Client) -> None:
        self.client = client
        self.environment = os.environ | {
            "BARNABAS_KAFKA": servers.kafka,
            "BARNABAS_REDIS": servers.redis,
            "BARNABAS_NAMESPACE": namespace,
        }

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`barnabas invocations ...`"""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "barnabas.cli.main", "invocations", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    async def deadlocks(self, count: int) -> list[dict[str, Any]]:
        """The deadlocks, as soon as there are so many."""
        deadline = time.monotonic() + SECONDS
        while True:
            listed = await self.run("deadlocks", "--json")
            assert listed.returncode in (0, 1), listed.stderr
            found: list[dict[str, Any]] = json.loads(listed.stdout)["deadlocks"]
            if len(found) == count:
                assert listed.returncode == (1 if count else 0)
                return found
            assert time.monotonic() < deadline, f"{count} deadlocks did not come, there are {found}"


@pytest.fixture
async def town(barnabas_stack: Servers) -> AsyncIterator[Town]:
    namespace = f"dead-{uuid4().hex[:8]}"
    async with (
        worker(barnabas_stack, namespace, "tests.scenario.deadlock_app:app", app, PARTITIONS),
        barnabas.Client(barnabas_stack.kafka, namespace) as client,
    ):
        yield Town(barnabas_stack, namespace, client)


def keys_of(deadlock: dict[str, Any]) -> list[str | None]:
    return [one["key"] for one in deadlock["cycle"]]


async def test_a_cycle_is_listed_with_ids_and_keys_and_a_cancel_ends_it(town: Town) -> None:
    sent = await town.client.object_send(visit, key="a", arg=["b", "a"])
    [found] = await town.deadlocks(1)
    assert keys_of(found) == ["a", "b", "a"]
    ids = [one["id"] for one in found["cycle"]]
    assert ids[0] == sent.invocation_id
    assert len(set(ids)) == 3
    assert [one["waits_for"][0] for one in found["cycle"]] == [
        {"id": ids[1], "because": "call"},
        {"id": ids[2], "because": "call"},
        {"id": ids[0], "because": "key"},
    ]
    people = await town.run("deadlocks")
    assert people.returncode == 1
    assert all(id_ in people.stdout for id_ in ids)
    described = await town.run("describe", ids[2])
    assert f"its key, which {ids[0]} holds" in " ".join(described.stdout.split()), described
    listed = json.loads((await town.run("list", "--json", "--status", "pending")).stdout)
    assert [one["id"] for one in listed["invocations"]] == [ids[2]]

    cancelled = await town.run("cancel", sent.invocation_id)
    assert (cancelled.returncode, cancelled.stdout.split()) == (0, [sent.invocation_id, "202", "accepted"])
    with pytest.raises(barnabas.TerminalError, match="cancelled") as caught:
        await sent.attach(timeout=SECONDS)
    assert caught.value.status_code == 409
    await town.deadlocks(0)
    assert await town.client.object_call(visit, key="a", arg=["b"], timeout=SECONDS) == ["a", "b"]  # the keys are free


@pytest.mark.parametrize("how", ["cancel", "kill"])
async def test_ending_any_of_them_ends_the_deadlock(town: Town, how: str) -> None:
    for place in range(3):
        first = f"{how}-{place}"
        sent = await town.client.object_send(visit, key=first, arg=["~other", first])
        [found] = await town.deadlocks(1)
        assert keys_of(found) == [first, None, "other", first]
        assert (await town.run(how, found["cycle"][place + 1]["id"])).returncode == 0
        with pytest.raises(barnabas.TerminalError) as caught:
            await sent.attach(timeout=SECONDS)
        assert caught.value.status_code == 409
        await town.deadlocks(0)


async def test_a_self_call_and_a_cross_deadlock_are_listed_apart(town: Town) -> None:
    alone = await town.client.object_send(visit, key="alone", arg=["alone"])
    routes = [("x", ["~y", "x"]), ("p", ["q", "~p"])]
    others = [await town.client.object_send(visit, key=key, arg=route) for key, route in routes]
    behind = await town.client.object_send(visit, key="x", arg=[])  # waits behind one of them, and is in none
    found = await town.deadlocks(3)
    caught = sorted(sorted(set(keys_of(one)) - {None}) for one in found)  # type: ignore[type-var]
    assert caught == [["alone"], ["p", "q"], ["x", "y"]]
    assert behind.invocation_id not in json.dumps(found)
    for sent in (alone, *others):
        await town.client.cancel(sent.invocation_id)
    await town.deadlocks(0)
    assert await behind.attach(timeout=SECONDS) == ["x"]


async def test_where_deadlocks_fail_the_call_that_closes_the_cycle_fails_at_once(town: Town) -> None:
    begun = time.monotonic()
    *way, failed = await town.client.object_call(visit_strict, key="a", arg=["b", "c", "a"], timeout=SECONDS)
    assert time.monotonic() - begun < 10
    assert way == ["a", "b", "c"]
    assert failed.startswith("409: this call would wait for itself: Strict/a/visit (inv_")
    assert [failed.count(f"Strict/{key}/visit (inv_") for key in "abc"] == [3, 1, 1]
    own = await town.client.object_call(visit_strict, key="a", arg=["a"], timeout=SECONDS)
    assert own[1].startswith("409: this call would wait for itself")
    assert await town.client.object_call(visit_strict, key="a", arg=["b"], timeout=SECONDS) == ["a", "b"]


async def test_a_cross_deadlock_from_two_roots_fails_one_or_both(town: Town) -> None:
    """The seed's: neither call chain comes back to a key of its own."""
    for n in range(3):
        left, right = f"l{n}", f"r{n}"
        results = await asyncio.gather(
            town.client.object_call(meet, key=left, arg=right, timeout=SECONDS),
            town.client.object_call(meet, key=right, arg=left, timeout=SECONDS),
        )
        failed = [one for [one] in results if one.startswith("409: this call would wait for itself")]
        assert failed, results
        assert {one for [one] in results} - set(failed) <= {left, right}
