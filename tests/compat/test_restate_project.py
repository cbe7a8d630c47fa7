"""A project written for Restate's SDK runs on Barnabas after one changed line in each file; on real servers.

The copy that runs has `import barnabas as restate` where the project has `import restate`, and is the same otherwise.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import barnabas
from tests.scenario.installation import Installation, Servers, installation

PROJECT = Path(__file__).parent / "restate_project"
SECONDS = 30.0


class Project:
    """The copied project's modules. Attributes are its handlers."""

    def __init__(self) -> None:
        self.modules = [importlib.import_module(f"restate_project.{name}") for name in ("messages", "tools", "keyed")]

    def __getattr__(self, name: str) -> Any:
        return next(getattr(module, name) for module in self.modules if hasattr(module, name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the copy is; importable from here while the module's tests run."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "restate_project").mkdir()
    for file in PROJECT.glob("*.py"):
        text = file.read_text()
        moved = text.replace("\nimport restate\n", "\nimport barnabas as restate\n")
        assert text == "" or moved != text
        (folder / "restate_project" / file.name).write_text(moved)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "restate_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def project(folder: Path) -> Project:
    return Project()


@pytest.fixture(scope="module")
def place(folder: Path, barnabas_stack: Servers) -> Iterator[Installation]:
    with installation(barnabas_stack, "restate_project.app:app", folder) as place:
        yield place


class Caller:
    """A client that knows by a handler's kind how to call it."""

    def __init__(self, client: barnabas.Client, project: Project) -> None:
        self.client = client
        self.project = project

    async def service(self, handler: str, arg: Any = None, **options: Any) -> Any:
        return await self.client.service_call(getattr(self.project, handler), arg, timeout=SECONDS, **options)

    async def object(self, handler: str, key: str, arg: Any = None, **options: Any) -> Any:
        return await self.client.object_call(getattr(self.project, handler), key, arg, timeout=SECONDS, **options)

    async def workflow(self, handler: str, key: str, arg: Any = None, **options: Any) -> Any:
        return await self.client.workflow_call(getattr(self.project, handler), key, arg, timeout=SECONDS, **options)

    async def noted(self, key: str, count: int) -> list[str]:
        """The ledger of a key, once it has that many entries."""
        deadline = time.monotonic() + SECONDS
        while len(found := await self.object("entries", key)) < count:
            assert time.monotonic() < deadline, f"{key} has {found}"
            await asyncio.sleep(0.05)
        return list(found)


@pytest.fixture
async def caller(place: Installation, project: Project) -> AsyncIterator[Caller]:
    async with place.client() as client:
        yield Caller(client, project)


# Messages


async def test_calls_between_services_and_objects(caller: Caller) -> None:
    assert await caller.service("visit", "ada") == {
        "hello": "Hello ada",
        "counts": [2, 5, 5, 15],
        "moods": ["sunny", "none"],
    }


async def test_a_terminal_error_arrives_with_code_message_and_metadata(caller: Caller) -> None:
    expected = [403, "bob may not come in", {"guest": "bob"}]
    assert await caller.service("be_refused", "bob") == expected
    with pytest.raises(barnabas.TerminalError) as caught:
        await caller.service("turn_away", "bob")
    assert [caught.value.status_code, caught.value.message, caught.value.metadata] == expected


async def test_two_equal_calls_are_two_invocations(caller: Caller) -> None:
    assert await caller.service("twice", "twice") == [False, True]
    assert await caller.noted("twice", 2) == ["same", "same"]


async def test_state_is_set_read_cleared_and_kept_after_a_failure(caller: Caller) -> None:
    assert await caller.object("add", "state", 3) == 3
    with pytest.raises(barnabas.TerminalError, match="after the write"):
        await caller.object("add_and_fail", "state", 8)
    assert await caller.object("value", "state") == 8
    assert await caller.object("names", "state") == ["state", "last", "total"]
    assert await caller.object("forget", "state", "last") == ["total"]
    assert await caller.object("wipe", "state") == 0
    assert await caller.object("names", "state") == ["state"]


async def test_one_way_messages_arrive_in_order_under_ids_of_their_own(caller: Caller) -> None:
    ids = await caller.service("post", "post")
    assert len(set(ids)) == 5
    assert all(id_.startswith("inv_") for id_ in ids)
    assert await caller.noted("post", 6) == [*(f"letter {i}" for i in range(5)), "postcard"]


async def test_delayed_messages_arrive_when_they_are_due(caller: Caller) -> None:
    await caller.service("post_later", "later")
    assert await caller.noted("later", 4) == ["at once", "first", "second", "third"]


async def test_a_delayed_message_can_be_called_back(caller: Caller) -> None:
    await caller.service("call_back", "back")
    assert await caller.noted("back", 1) == ["instead"]


async def test_one_idempotency_key_has_one_result(caller: Caller) -> None:
    assert await caller.service("issue_once", "eve") is True
    first = await caller.service("issue", "eve", idempotency_key="february")
    assert await caller.service("issue", "eve", idempotency_key="february") == first
    assert await caller.service("issue", "eve", idempotency_key="march") != first
    assert await caller.noted("eve", 3) == ["issued"] * 3


async def test_cancel_goes_down_to_the_leaf_and_errors_travel_up(caller: Caller) -> None:
    assert await caller.service("cancel_call", "nap") == [409, "cancelled"]
    assert sorted(await caller.noted("nap", 2)) == ["told: 409", "woken: cancelled"]


async def test_a_cancelled_handler_may_go_on(caller: Caller) -> None:
    assert await caller.service("cancel_by_id") == "Hello anyway"


async def test_attach_to_a_malformed_id_is_the_callers_error(caller: Caller) -> None:
    assert await caller.service("attach_to_nobody", "no id at all") == 400


# Tools


async def test_steps_take_arguments_and_give_their_results(caller: Caller) -> None:
    assert await caller.service("several", "ada") == [42, "ADA?", "ADA!", 2, [0, 1, 4, 9]]


async def test_a_step_is_tried_again_by_its_options(caller: Caller) -> None:
    assert await caller.service("third_time_lucky", "lucky") == 3


async def test_a_step_gives_up_after_its_attempts(caller: Caller) -> None:
    assert await caller.service("give_up", "hopeless") == [3, True]


async def test_a_terminal_error_in_a_step_is_not_tried_again(caller: Caller) -> None:
    assert await caller.service("refuse_at_once", "refused") == [1, 402, "card refused"]


async def test_an_error_may_say_when_to_try_again(caller: Caller) -> None:
    assert await caller.service("wait_as_told", "busy") == 2


async def test_random_uuid_and_time_are_the_same_in_every_attempt(caller: Caller) -> None:
    same, has_id, drawn = await caller.service("roll")
    assert (same, has_id) == (True, True)
    assert (await caller.service("roll"))[2] != drawn


async def test_attempts_are_used_up_and_the_caller_is_told(caller: Caller) -> None:
    with pytest.raises(barnabas.TerminalError, match="never works") as caught:
        await caller.service("fail", "stubborn")
    assert caught.value.status_code == 500
    assert await caller.service("attempts", "stubborn") == 3


async def test_context_managers_surround_an_attempt(caller: Caller) -> None:
    assert await caller.service("managed") == [1, 1]


async def test_models_structs_bytes_and_serdes_of_ones_own(caller: Caller) -> None:
    assert await caller.service("all_of_them", "Ada") == [42, "EUR", 2.5, "Ada", 2, 1, 32, "ada"]


async def test_gather(caller: Caller) -> None:
    assert await caller.service("together", "gather") == ["Hello gather", 5, "done", None]


async def test_select(caller: Caller) -> None:
    assert await caller.service("first_of", "select") == ["fast", "Hello select"]
    assert await caller.service("in_time", "select") == "late, then too late"


async def test_as_completed_and_wait_completed(caller: Caller) -> None:
    assert await caller.service("as_they_come", [700, 100, 400]) == [100, 400, 700]
    assert await caller.service("some_of") == [1, 1, 1, 1]


async def test_fan_out_and_fan_in(caller: Caller) -> None:
    assert await caller.service("count_all", ["a b c", "", "d e"] * 10) == 50


async def test_an_awakeable_is_resolved_by_whoever_has_its_id(caller: Caller) -> None:
    waiting = asyncio.create_task(caller.object("wait_for_mail", "box", "told"))
    (id_,) = await caller.noted("told", 1)
    assert id_.startswith("sign_1")
    await caller.object("deliver", "box", [id_, "a parcel"])
    assert await waiting == "got a parcel"


async def test_an_awakeable_is_rejected(caller: Caller) -> None:
    waiting = asyncio.create_task(caller.object("wait_for_mail", "other", "told too"))
    (id_,) = await caller.noted("told too", 1)
    await caller.object("send_back", "other", id_)
    assert await waiting == "410 address unknown"


async def test_signals_reach_their_invocation_in_order(caller: Caller) -> None:
    assert await caller.service("connect") == ["one", "two", "418 hung up"]


async def test_a_saga_undoes_what_was_done(caller: Caller) -> None:
    assert await caller.service("book", {"key": "all"}) == "booked"
    assert await caller.noted("all", 3) == ["book flight", "book car", "book hotel"]
    with pytest.raises(barnabas.TerminalError, match="no car left"):
        await caller.service("book", {"key": "some", "fails": "car"})
    assert await caller.noted("some", 4) == ["book flight", "book car", "cancel car", "cancel flight"]


async def test_a_saga_undoes_everything_when_it_is_cancelled(caller: Caller) -> None:
    sent = await caller.client.service_send(caller.project.book, {"key": "halfway", "fails": "never ends"})
    await caller.noted("halfway", 3)
    await caller.client.cancel(sent.invocation_id)
    assert (await caller.noted("halfway", 6))[3:] == ["cancel hotel", "cancel car", "cancel flight"]


# Objects and workflows


async def test_a_rate_limiter_counts_its_tokens(caller: Caller) -> None:
    assert [await caller.object("take", "bucket", n) for n in (1, 3, 2, 1)] == [True, False, True, False]


async def test_an_object_that_sends_to_itself(caller: Caller) -> None:
    await caller.object("start", "cron", 3)
    with pytest.raises(barnabas.TerminalError, match="runs already"):
        await caller.object("start", "cron", 3)
    assert await caller.noted("cron", 3) == ["tick 3", "tick 2", "tick 1"]


async def test_a_state_machine_refuses_what_does_not_follow(caller: Caller) -> None:
    assert await caller.object("advance", "order", "paid") == ["new", "paid"]
    with pytest.raises(barnabas.TerminalError, match="paid cannot become delivered"):
        await caller.object("advance", "order", "delivered")
    assert await caller.object("status", "order") == "paid"


async def test_a_person_approves(caller: Caller) -> None:
    running = asyncio.create_task(caller.workflow("run", "a1", 60_000))
    assert await caller.workflow("decide", "a1", "fine") == "thanks"
    assert await running == ["decided", "fine"]
    assert await caller.workflow("look", "a1") == ["over", "fine"]
    assert await caller.workflow("decide", "a1", "no") == "409"


async def test_nobody_approves(caller: Caller) -> None:
    assert await caller.workflow("run", "a2", 50) == ["timed out"]
    assert await caller.workflow("look", "a2") == ["over", None]


async def test_a_workflow_from_a_handler_and_a_second_submission(caller: Caller) -> None:
    assert await caller.service("sign_up", "s1") == [True, "s1@example.com is in", 409, True]


async def test_a_promise_that_is_rejected(caller: Caller) -> None:
    running = asyncio.create_task(caller.workflow("register", "s2", "s2@example.com"))
    await caller.workflow("abandon", "s2")
    assert await running == "s2@example.com gave up: 499 no interest"


async def test_a_delayed_workflow_finds_what_was_decided_before(caller: Caller) -> None:
    assert await caller.service("approve_later", "a3") == [
        [None, None],
        ["thanks", "409"],
        ["decided", "yes"],
        ["over", "yes"],
    ]
