"""The travel saga of `examples/saga`: on a terminal error and on cancel everything is undone, once, last first."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

import barnabas
from examples.saga.app import agree, book, lines, offer
from examples.saga.book import finds_no_room, is_cancelled, works_out
from tests.scenario.installation import Installation, Servers, installation

RESERVED = ["airline reserved", "hotel reserved", "car rental reserved"]
RELEASED = ["car rental released", "hotel released", "airline released"]


@pytest.fixture(scope="module")
def place(barnabas_stack: Servers) -> Iterator[Installation]:
    with installation(barnabas_stack, "examples.saga.app:app") as place:
        yield place


@pytest.fixture
async def client(place: Installation) -> AsyncIterator[barnabas.Client]:
    async with place.client() as client:
        yield client


async def test_a_trip_that_works_out_is_not_undone(client: barnabas.Client) -> None:
    assert await works_out(client, "rome") == RESERVED


async def test_a_terminal_error_undoes_what_was_done(client: barnabas.Client) -> None:
    assert await finds_no_room(client, "paris") == ["airline reserved", "airline released"]


async def test_a_cancel_undoes_everything_last_first(client: barnabas.Client) -> None:
    assert await is_cancelled(client, "oslo") == [*RESERVED, *RELEASED]


async def test_cancels_at_any_moment_leave_all_or_nothing(client: barnabas.Client) -> None:
    """Trips that are cancelled a little later each: whatever was reserved is released, once each, in reverse order."""

    async def cancelled(name: str, seconds: float) -> tuple[int, list[str]]:
        sent = await client.workflow_send(book, name, 2)
        await asyncio.sleep(seconds)  # the moment is the subject
        await sent.cancel()
        with pytest.raises(barnabas.TerminalError) as caught:
            await sent.attach(timeout=30)
        return caught.value.status_code, await client.object_call(lines, name, None, timeout=30)

    ends = await asyncio.gather(*(cancelled(f"moment {i}", i * 0.03) for i in range(30)))
    assert any(len(diary) > 1 for _, diary in ends)  # some had done something when they were cancelled
    for code, diary in ends:
        assert code == 409 or (code == 404 and not diary), "what never began is gone, everything else was cancelled"
        reserved = [line.removesuffix(" reserved") for line in diary if line.endswith(" reserved")]
        released = [line.removesuffix(" released") for line in diary if line.endswith(" released")]
        assert len(set(released)) == len(released), diary
        # A reservation that was cut off before its line was written is released too: then a release is one more.
        assert released[::-1][: len(reserved)] == reserved, diary


async def test_two_cancels_undo_once(client: barnabas.Client) -> None:
    sent = await client.workflow_send(book, "twice", 2)
    assert await client.workflow_call(offer, "twice", None, timeout=30) == 2
    await client.cancel(sent.invocation_id)
    with pytest.raises(barnabas.TerminalError, match="cancelled"):
        await client.attach(sent.invocation_id, timeout=30)
    await client.cancel(sent.invocation_id)  # after the end: nothing
    await client.workflow_call(agree, "twice", None, timeout=30)
    assert await client.object_call(lines, "twice", None, timeout=30) == [*RESERVED, *RELEASED]


async def test_the_script_tells_all_three_stories(place: Installation) -> None:
    def script() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "examples.saga.book"]
        environment = place.environment
        return subprocess.run(
            command, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    done = await asyncio.to_thread(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("released") == 1 + 3
    assert "the hotel has no room for 5" in done.stdout
