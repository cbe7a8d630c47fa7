"""Probes of worker and scheduler, and how processes that cannot start say so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from barnabas.cli.health import Health, HealthAddress, answering
from barnabas.devstack.stack import Addresses
from tests.scenario.installation import ROOT, Installation, installation

APP = "tests.integration.waiting_app:app"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def place(barnabas_stack: Addresses) -> Iterator[Installation]:
    with installation(barnabas_stack, APP) as found:
        yield found


@pytest.mark.parametrize("command", [("worker", APP), ("scheduler",)], ids=["worker", "scheduler"])
def test_a_member_answers_probes_once_it_is_ready(place: Installation, command: tuple[str, ...]) -> None:
    port = free_port()
    with place.process(*command, "--health-port", str(port)):
        answers = [httpx.get(f"http://127.0.0.1:{port}{path}") for path in ("/live", "/ready", "/")]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert answers[1].json() == {"status": "ready"}
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/live")


async def test_what_starts_or_ends_lives_and_is_not_ready() -> None:
    health, port = Health(), free_port()
    async with answering(health, HealthAddress("127.0.0.1", port)), httpx.AsyncClient() as http:
        for state, ready in (("starting", 503), ("ready", 200), ("ending", 503)):
            health.state = state
            answers = await asyncio.gather(
                *(http.get(f"http://127.0.0.1:{port}{path}") for path in ("/live", "/ready"))
            )
            assert [answer.status_code for answer in answers] == [200, ready]


@pytest.mark.parametrize(
    "command",
    [("worker", APP), ("scheduler",), ("ingress", "--port", "0"), ("admin", "--port", "0")],
    ids=["worker", "scheduler", "ingress", "admin"],
)
def test_a_process_that_cannot_start_ends_with_2_and_one_sentence(
    barnabas_stack: Addresses, command: tuple[str, ...]
) -> None:
    """There are no topics in this namespace."""
    ended = Installation(barnabas_stack, ROOT).run(*command)
    assert ended.returncode == 2
    assert "topics apply" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_health_port_keeps_a_member_from_starting(place: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = place.run("scheduler", "--health-port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "cannot listen" in ended.stderr
