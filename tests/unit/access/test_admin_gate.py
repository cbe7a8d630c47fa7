"""What comes before the routes of the admin API: keys, and how many may ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from barnabas.ingress.admin.app import Gate


class Slow:
    """In the place of the application: answers when it is told to."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.both_there = asyncio.Barrier(3)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] != "/health" and not self.let_go.is_set():
            await self.both_there.wait()
            await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def client_of(gate: Gate) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://admin")


async def test_more_requests_than_allowed_are_answered_429_and_probes_are_not() -> None:
    slow = Slow()
    gate = Gate(slow, 1_000, None, 2)  # type: ignore[arg-type]
    async with client_of(gate) as http:
        first = [asyncio.create_task(http.get("/services")) for _ in range(2)]
        await slow.both_there.wait()
        refused = await http.get("/services")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert set(refused.json()) == {"message", "restate_code"}
        assert (await http.get("/health")).status_code == 200
        slow.let_go.set()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [200, 200]
        assert (await http.get("/services")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/services", "read"),
        ("POST", "/query", "read"),
        ("POST", "/query/", "operate"),
        ("POST", "/services/S/state", "operate"),
        ("PATCH", "/invocations/inv_1/kill", "operate"),
        ("DELETE", "/query", "operate"),
    ],
)
async def test_what_changes_something_needs_more_than_to_read(method: str, path: str, need: str) -> None:
    asked: list[str] = []

    def authorize(scope: MutableMapping[str, Any], wanted: str) -> tuple[int, str] | None:
        asked.append(wanted)
        return 401, "no key"

    async with client_of(Gate(Slow(), 1_000, authorize, 2)) as http:  # type: ignore[arg-type]
        answer = await http.request(method, path)
    assert asked == [need]
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
