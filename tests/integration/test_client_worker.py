"""`barnabas.Client` against a real worker and a real scheduler: everything that it can ask of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

import barnabas
from barnabas.client.client import Client
from barnabas.contract.ids import random_id
from barnabas.devstack.stack import Addresses
from tests.integration.waiting_app import ask, asked, counted, greet, greeter, pay, run, signalled
from tests.scenario.installation import Installation, installation

SECONDS = 30


@pytest.fixture(scope="module")
def place(barnabas_stack: Addresses) -> Iterator[Installation]:
    with installation(barnabas_stack, "tests.integration.waiting_app:app") as running:
        yield running


@pytest.fixture
async def client(place: Installation) -> AsyncIterator[Client]:
    async with place.client() as client:
        yield client


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def asking(client: Client, key: str) -> str:
    """The id of the awakeable that the box with this key waits for, once it does."""
    async with asyncio.timeout(SECONDS):
        while True:
            name = await client.object_call(asked, key, None)
            if name is not None:
                return name


async def refused(result: object, code: int, text: str) -> None:
    with pytest.raises(barnabas.TerminalError, match=text) as raised:
        await result  # type: ignore[misc]
    assert raised.value.status_code == code


async def test_requests_with_one_idempotency_key_run_once(place: Installation, client: Client, key: str) -> None:
    """F20, from several clients and with other arguments: all get the first one's result."""
    clients = [await place.client().__aenter__() for _ in range(5)]
    try:
        calls = [
            clients[n % 5].service_call(greet, f"Ada {n}", idempotency_key=key, timeout=SECONDS) for n in range(100)
        ]
        results = set(await asyncio.gather(*calls))
    finally:
        for one in clients:
            await one.aclose()
    assert len(results) == 1
    assert await client.service_call(greet, "later", idempotency_key=key, timeout=SECONDS) in results
    assert await client.object_call(counted, f"runs of {key}", None) == 1
    assert await client.service_attach(greet, key, timeout=SECONDS) in results


async def test_a_workflow_runs_once(client: Client, key: str) -> None:
    first = await client.workflow_send(run, key, "a")
    second = await client.workflow_send(run, key, "b")
    assert first.invocation_id == second.invocation_id
    await refused(client.workflow_call(run, key, "c", timeout=SECONDS), 409, "was submitted before")
    waiting = asyncio.create_task(first.attach(timeout=SECONDS))
    await client.workflow_call(pay, key, "card", timeout=SECONDS)
    assert await waiting == "a card"
    assert await client.workflow_attach(run, key, timeout=SECONDS) == "a card"
    await refused(client.workflow_call(run, key, "d", timeout=SECONDS), 409, "was submitted before")


async def test_attach_before_and_after_the_end(client: Client, key: str) -> None:
    sent = await client.object_send(ask, key, None)
    waiting = [asyncio.create_task(sent.attach(timeout=SECONDS)) for _ in range(3)]
    await client.resolve_awakeable(await asking(client, key), "yes")
    assert await asyncio.gather(*waiting) == ["yes"] * 3
    assert await client.attach(sent.invocation_id, type_hint=str, timeout=SECONDS) == "yes"


async def test_attach_to_what_never_was_is_a_404(client: Client) -> None:
    await refused(
        client.attach(str(random_id("Box", "nobody")), timeout=SECONDS), 404, "unknown|no invocation|not known"
    )


async def test_an_awakeable_is_rejected_from_outside(client: Client, key: str) -> None:
    sent = await client.object_send(ask, key, None)
    await client.reject_awakeable(await asking(client, key), "no", 418)
    await refused(sent.attach(timeout=SECONDS), 418, "no")


async def test_signals_from_outside(client: Client) -> None:
    sent = await client.service_send(signalled, None)
    await client.resolve_signal(sent.invocation_id, "second", "b")
    await client.resolve_signal(sent.invocation_id, "first", "a")
    assert await sent.attach(timeout=SECONDS) == "a b"
    sent = await client.service_send(signalled, None)
    await client.reject_signal(sent.invocation_id, "first", "never", 410)
    await refused(sent.attach(timeout=SECONDS), 410, "never")


async def test_cancel_compensates_and_what_is_queued_ends_without_running(client: Client, key: str) -> None:
    running, queued = [await client.object_send(ask, key, None) for _ in range(2)]
    await asking(client, key)
    await queued.cancel()
    await refused(queued.attach(timeout=SECONDS), 409, "cancelled")
    await client.cancel(running.invocation_id)
    await refused(running.attach(timeout=SECONDS), 409, "cancelled")
    assert await client.object_call(counted, f"compensated {key}", None) == 1


async def test_kill_does_not_compensate(client: Client, key: str) -> None:
    running = await client.object_send(ask, key, None)
    await asking(client, key)
    await running.kill()
    await refused(running.attach(timeout=SECONDS), 409, "killed")
    assert await client.object_call(counted, f"compensated {key}", None) == 0


async def test_a_delayed_send_starts_when_it_is_due(client: Client, key: str) -> None:
    began = time.monotonic()
    plain = await client.service_send(greet, "a", timedelta(seconds=1))
    common = await client.service_send(greet, "b", timedelta(seconds=1), idempotency_key=key)
    workflow = await client.workflow_send(run, key, "c", timedelta(seconds=1))
    await client.workflow_call(pay, key, "card", timeout=SECONDS)
    results = await asyncio.gather(*(sent.attach(timeout=SECONDS) for sent in (plain, common, workflow)))
    assert results == ["Hello a", "Hello b", "c card"]
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("common", [False, True])
async def test_a_scheduled_invocation_is_cancelled(client: Client, key: str, common: bool) -> None:
    sent = await client.service_send(greet, "a", timedelta(days=400), idempotency_key=key if common else None)
    with pytest.raises(TimeoutError):
        await sent.attach(timeout=0.2)  # it is not due
    waiting = asyncio.create_task(sent.attach(timeout=SECONDS))  # hands its record over before the cancel's
    cancelling = asyncio.create_task(sent.cancel())
    await refused(waiting, 409, "cancelled")
    await cancelling


async def test_headers_reach_the_handler(client: Client) -> None:
    sent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "a"}
    found = await client.service_client(greeter, headers=sent).headers()
    assert {name: found.get(name) for name in sent} == sent


async def test_the_command_line_has_the_same_options(place: Installation, client: Client, key: str) -> None:
    def invoke(*arguments: str) -> str:
        done = place.run("invoke", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    one, two = [
        await asyncio.to_thread(invoke, "Greeter/greet", '"a"', "--delay", "1s", "--idempotency-key", key)
        for _ in range(2)
    ]
    assert one == two
    assert await client.attach(one, type_hint=str, timeout=SECONDS) == "Hello a"
    same = await asyncio.to_thread(invoke, "Greeter/greet", '"b"', "--idempotency-key", key)
    assert same == '"Hello a"'

    id_ = await asyncio.to_thread(invoke, f"Flow/{key}/run", '"a"', "--workflow", "--send")
    await client.workflow_call(pay, key, "card", timeout=SECONDS)
    assert id_ == (await client.workflow_send(run, key, "a")).invocation_id
    assert await client.workflow_attach(run, key, timeout=SECONDS) == "a card"
