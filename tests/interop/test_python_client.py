"""`restate.create_client` from PyPI, unchanged, against an app on Barnabas; both packages in one process.

It has no method for attach, output and awakeables: those are asked for by HTTP, with the ids that it has given.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import restate
from restate.client_types import HttpError, RestateClient

import barnabas
from tests.interop import restate_twin as twin
from tests.interop.doors import Doors

SECONDS = 30.0


@pytest.fixture
async def client(open_doors: Doors) -> AsyncIterator[RestateClient]:
    async with restate.create_client(open_doors.ingress) as client:
        yield client


@pytest.fixture
async def http(open_doors: Doors) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=open_doors.ingress, timeout=SECONDS) as http:
        yield http


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def failure(call: Any, status: int) -> dict[str, Any]:
    """The body of the error that a call ends with."""
    with pytest.raises(HttpError) as caught:
        await call
    assert caught.value.status_code == status, caught.value.body
    content: dict[str, Any] = json.loads(caught.value.body or "")
    assert content["code"] == status
    return content


def test_both_packages_side_by_side() -> None:
    assert restate.__name__ == "restate"
    assert barnabas.Service is not restate.Service
    assert not issubclass(barnabas.TerminalError, restate.TerminalError)


async def test_service(client: RestateClient) -> None:
    assert await client.service_call(twin.greet, arg="Ada") == "Hello Ada"
    assert await client.service_call(twin.hello, arg=None) == "Hello"
    assert await client.service_call(twin.nothing, arg="x") is None


async def test_types(client: RestateClient) -> None:
    assert await client.service_call(twin.buy, arg=twin.Order(item="tea", count=3)) == twin.Receipt(
        item="tea", price=7.5
    )
    assert await client.service_call(twin.echo, arg=b"\x00\xff") == b"\x00\xff"


async def test_object(client: RestateClient, key: str) -> None:
    assert [await client.object_call(twin.add, key=key, arg=n) for n in (2, 3)] == [2, 5]
    assert await client.object_call(twin.total, key=key, arg=None) == 5


async def test_generic(client: RestateClient, key: str) -> None:
    json_body = {"Content-Type": "application/json"}
    assert await client.generic_call("Greeter", "greet", b'"Ada"', headers=json_body) == b'"Hello Ada"'
    handle = await client.generic_send("Counter", "add", b"4", key=key, headers=json_body)
    assert handle.invocation_id.startswith("inv_")
    assert await client.object_call(twin.add, key=key, arg=1) == 5


async def test_send(client: RestateClient, key: str) -> None:
    handle = await client.object_send(twin.add, key=key, arg=7)
    assert handle.invocation_id.startswith("inv_")
    assert await client.object_call(twin.add, key=key, arg=1) == 8


async def test_delayed_send(client: RestateClient, http: httpx.AsyncClient) -> None:
    """The client sends `?delay=700`, a bare number: milliseconds."""
    before = time.monotonic()
    handle = await client.service_send(twin.greet, arg="Ada", send_delay=timedelta(milliseconds=700))
    answer = await http.get(f"/restate/attach/{handle.invocation_id}")
    assert answer.json() == "Hello Ada"
    assert time.monotonic() - before >= 0.69


async def test_idempotency(client: RestateClient, key: str) -> None:
    tickets = [await client.service_call(twin.ticket, arg=text, idempotency_key=key) for text in ("a", "b")]
    assert tickets[0] == tickets[1]
    assert tickets[0] != await client.service_call(twin.ticket, arg="a", idempotency_key=f"{key}-2")


async def test_idempotent_send_and_attach(client: RestateClient, http: httpx.AsyncClient, key: str) -> None:
    handles = [await client.service_send(twin.slow, arg=200, idempotency_key=key) for _ in range(2)]
    id_, again = (handle.invocation_id for handle in handles)
    assert id_ == again
    assert (await http.get(f"/restate/invocation/{id_}/attach")).json() == "done"
    assert (await http.get(f"/restate/output/{id_}")).json() == "done"
    assert await client.service_call(twin.slow, arg=200, idempotency_key=key) == "done"


async def test_headers(client: RestateClient, open_doors: Doors) -> None:
    seen = await client.service_call(twin.seen, arg=None, headers={"X-Seat": "12A"})
    assert seen["x-seat"] == "12A"
    async with restate.create_client(open_doors.ingress, headers={"x-every": "1"}) as other:
        assert (await other.service_call(twin.seen, arg=None))["x-every"] == "1"


async def test_workflow(client: RestateClient, http: httpx.AsyncClient, key: str) -> None:
    handle = await client.workflow_send(twin.run, key=key, arg="Oslo")
    assert (await client.workflow_send(twin.run, key=key, arg="Rome")).invocation_id == handle.invocation_id
    await failure(client.workflow_call(twin.run, key=key, arg="Rome"), 409)
    assert (await http.get(f"/restate/workflow/Trip/{key}/output")).status_code == 470
    attached = asyncio.create_task(http.get(f"/restate/workflow/Trip/{key}/attach"))
    await client.workflow_call(twin.choose, key=key, arg="12A")
    assert (await attached).json() == "Oslo 12A"
    assert (await http.get(f"/restate/workflow/Trip/{key}/output")).json() == "Oslo 12A"
    assert await client.workflow_call(twin.chosen, key=key, arg=None) == "12A"


async def test_workflow_called(client: RestateClient, key: str) -> None:
    await client.workflow_call(twin.choose, key=key, arg="1A")
    assert await client.workflow_call(twin.run, key=key, arg="Oslo") == "Oslo 1A"


@pytest.mark.parametrize("operation", ["resolve", "reject"])
async def test_awakeable(client: RestateClient, http: httpx.AsyncClient, key: str, operation: str) -> None:
    called = asyncio.create_task(client.object_call(twin.wait, key=key, arg=None))
    async with asyncio.timeout(SECONDS):
        while (name := await client.object_call(twin.waits_for, key=key, arg=None)) is None:
            pass
    answer = await http.post(f"/restate/awakeables/{name}/{operation}", json="yes")
    assert answer.status_code == 202
    if operation == "resolve":
        assert await called == "yes"
    else:
        assert "yes" in (await failure(called, 500))["message"]


@pytest.mark.parametrize("code", [400, 409, 418, 444, 500, 503])
async def test_terminal_error(client: RestateClient, code: int) -> None:
    content = await failure(client.service_call(twin.fail, arg=code), code)
    assert content == {"code": code, "message": "boo", "source": "invocation", "metadata": {"seat": "12A"}}


async def test_errors(client: RestateClient, key: str) -> None:
    assert "Nobody" in (await failure(client.service_call(twin.greet_nobody, arg="x"), 404))["message"]
    await failure(client.service_call(twin.secret, arg=None), 400)
    json_body = {"Content-Type": "application/json"}
    assert (
        "nonsense"
        in (await failure(client.generic_call("Greeter", "nonsense", b"1", headers=json_body), 404))["message"]
    )
    unreadable = await failure(client.generic_call("Greeter", "greet", b"{", headers=json_body), 400)
    assert unreadable["message"].startswith("Unable to parse an input argument")
    await failure(client.generic_call("Greeter", "greet", b'"x"'), 400)  # no content type
    await failure(client.generic_call("Counter", "add", b"1", headers=json_body), 400)  # an object without key
    await failure(client.workflow_call(twin.run, key=key, arg="Oslo", idempotency_key="k"), 400)


async def test_scopes_are_refused(client: RestateClient) -> None:
    await failure(client.scope("tenant").service_call(twin.greet, arg="Ada"), 501)
    await failure(client.scope("tenant").service_send(twin.greet, arg="Ada"), 501)
