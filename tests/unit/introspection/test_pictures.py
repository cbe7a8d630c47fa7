"""Invocations as people see them, from a store that was filled with the engine's own packers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, cast

import msgpack
import pytest

from barnabas.contract.codec import encode_invocation
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Failure, Invocation, ReplyTo
from barnabas.introspection import delayed
from barnabas.introspection.invocations import describe_invocation
from barnabas.introspection.listing import MalformedCursor, Wanted, list_page
from barnabas.introspection.pictures import Picture
from barnabas.runtime import journal as j
from barnabas.runtime.kept import Kept
from barnabas.runtime.live import BACKING_OFF, Live
from barnabas.runtime.ring import Ring
from barnabas.runtime.scheduling.waiting import accepted
from barnabas.store import keys
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Query, Shard, Store
from tests.unit.introspection.filling import NOW, Filled, service


@pytest.fixture
def filled() -> Filled:
    return Filled(service("Account"), service("Teller", "service"))


def finished(filled: Filled, key: str, result: bytes | None, failure: Failure | None) -> bytes:
    """A plain invocation that is over."""
    id_ = random_id("Account", key)
    live = Live(id_, "Account", "transfer", key, True, 1, NOW)
    live.payload = b"12345"
    live.journal = [[j.SLEEP, "", 5], [j.RESULT, 1, None, b""]]
    ring = Ring(10, 1000)
    ring.append(live, result, failure, NOW + 7)
    filled.commit(filled.shard("Account", id_), ("RPUSH", keys.RING, *ring.seal()[0]))
    return id_


def kept(filled: Filled, key: str, failure: Failure | None = None) -> bytes:
    """One with an idempotency key that is over."""
    id_ = random_id("Account", key)
    outcomes = Kept()
    outcomes.put(Live(id_, "Account", "transfer", key, True, 1, NOW), b"12", failure, NOW + 7, 1000, 1)
    filled.commit(filled.shard("Account", id_), *outcomes.seal())
    return id_


async def listed(filled: Filled, wanted: Wanted, limit: int = 100) -> tuple[list[bytes], bool]:
    page = await list_page(filled.store, filled.services, wanted, limit)
    return [one.id for one in page.pictures], page.after is not None


async def described(filled: Filled, id_: bytes) -> Picture | None:
    return await describe_invocation(filled.store, filled.services, InvocationId(id_))


def texts(picture: Picture) -> list[str]:
    """The lines of its journal."""
    assert picture.journal is not None
    return [line.text for line in picture.journal]


async def test_a_list_has_what_fits_the_oldest_first(filled: Filled) -> None:
    a = filled.root("Account", "a")
    teller = filled.call(a, "Teller")
    queued = filled.call(teller, "Account", "a")
    b = filled.root("Account", "b")
    over = finished(filled, "a", b"1", None)
    over_b = kept(filled, "b")
    assert await listed(filled, Wanted()) == ([a, teller, queued, b], False)
    assert await listed(filled, Wanted(service="Account")) == ([a, queued, b], False)
    assert await listed(filled, Wanted(key="a")) == ([a, queued], False)
    assert await listed(filled, Wanted(service="Teller", key="a")) == ([], False)
    assert await listed(filled, Wanted(service="Account", status="pending")) == ([queued], False)
    assert await listed(filled, Wanted(handler="look")) == ([], False)
    found, more = await listed(filled, Wanted(status="completed"))
    assert (set(found), more) == ({over, over_b}, False)
    assert await listed(filled, Wanted(status="completed", key="b")) == ([over_b], False)


async def test_a_list_says_when_there_are_more(filled: Filled) -> None:
    for n in range(5):
        filled.root("Account", str(n))
    found, more = await listed(filled, Wanted(), 4)
    assert (len(found), more) == (4, True)
    assert (await listed(filled, Wanted(), 5))[1] is False


async def test_a_queued_invocation_says_who_holds_its_key_and_who_wants_it(filled: Filled) -> None:
    a = filled.root("Account", "a")
    teller = filled.call(a, "Teller")
    queued = filled.call(teller, "Account", "a")
    picture = await described(filled, queued)
    assert picture is not None
    assert (picture.service, picture.handler, picture.key, picture.status) == ("Account", "transfer", "a", "pending")
    assert picture.waits_for == [f"its key, which {InvocationId(a)} holds"]
    assert picture.wanted_by == [f"Teller {InvocationId(teller)} (position 1)"]
    assert texts(picture) == ["input"]
    above = await described(filled, a)
    assert above is not None
    assert above.wanted_by == ["client client"]
    assert above.waits_for == [f"call Teller/transfer {InvocationId(teller)} (position 1)"]


async def test_a_journal_is_a_timeline_without_values(filled: Filled) -> None:
    a = filled.root("Account", "a")
    filled.journal(a, [j.SET, "balance"], [j.RUN, "pay"], [j.RESULT, 2, None, b"secret"], [j.SLEEP, "", 5])
    filled.journal(a, [j.CANCELLED, 0, None], [j.FAILURE, 3, None, 409, "cancelled", {}])
    callee = filled.call(a, "Teller")
    picture = await described(filled, a)
    assert picture is not None
    assert texts(picture) == [
        "input",
        "set state 'balance'",
        "run 'pay'",
        "result for position 2",
        "sleep",
        "cancelled",
        "failure for position 3: [409] cancelled",
        f"call Teller/transfer {InvocationId(callee)}",
    ]
    assert "secret" not in repr(picture)


async def test_one_that_backs_off_says_why_and_until_when(filled: Filled) -> None:
    id_ = random_id("Account", "a")
    live = Live(id_, "Account", "transfer", "a", True, 1, NOW)
    live.status, live.attempts, live.retry_at, live.last_failure = BACKING_OFF, 3, NOW + 50, "it was closed"
    filled.commit(filled.shard("Account", id_), ("HSET", keys.LIVE, id_, live.header()))
    picture = await described(filled, id_)
    assert picture is not None
    assert (picture.status, picture.failed_attempts, picture.retry_at) == ("backing-off", 3, NOW + 50)
    assert picture.last_failure == "it was closed"


async def test_finished_ones_are_found_while_they_are_kept(filled: Filled) -> None:
    plain = await described(filled, finished(filled, "a", b"123", None))
    assert plain is not None
    assert (plain.status, plain.result_bytes, plain.input_bytes, plain.failure) == ("completed", 3, 5, None)
    assert (plain.accepted_at, plain.completed_at) == (NOW, NOW + 7)
    assert texts(plain) == ["input", "sleep", "result for position 1", "output"]
    failed = await described(filled, kept(filled, "a", Failure(404, "no")))
    assert failed is not None
    assert (failed.failure, failed.expires_at) == (Failure(404, "no"), NOW + 1007)
    assert texts(failed) == ["input", "failed: [404] no"]


async def test_one_whose_input_is_in_kafka_is_queued(filled: Filled) -> None:
    a = filled.root("Account", "a")
    picture = await described(filled, filled.spill(a, "Account", "a"))
    assert picture is not None
    assert (picture.status, picture.waits_for) == ("pending", ["its key, with its input in Kafka at offset 7"])


async def test_a_delayed_one_is_found_in_the_scheduler(filled: Filled) -> None:
    id_ = random_id("Account", "a", delayed=True)
    record = Invocation(id_, "Account", "transfer", "a", b"", reply_to=ReplyTo("client", b"1"))
    waiting = accepted(record, NOW + 9, 3, b"record")
    shard = Shard("@delays", 5)
    filled.commit(shard, ("HSET", keys.WAITING, id_, waiting.header()))
    picture = await described(filled, id_)
    assert picture is not None
    assert (picture.status, picture.due, picture.wanted_by) == ("scheduled", NOW + 9, ["client client"])
    assert picture.handler == "?"  # its record cannot be read
    filled.commit(shard, ("HSET", keys.WAITING_INPUTS, id_, encode_invocation(record)))
    picture = await described(filled, id_)
    assert picture is not None
    assert (picture.handler, picture.key, picture.input_bytes) == ("transfer", "a", 0)


async def test_delayed_ones_are_listed_like_others_and_last(filled: Filled) -> None:
    late = filled.delay("Account", "a", NOW + 2**40).id
    soon = filled.delay("Account", "b", NOW + 9).id
    look = filled.delay("Teller", None, NOW + 10, partition=0).id
    lost = filled.delay("Gone", "b", NOW - 9, partition=200, stranded=True).id
    running = filled.root("Account", "a")
    assert await listed(filled, Wanted()) == ([lost, running, soon, look, late], False)  # a page is in order of age
    assert await listed(filled, Wanted(), 2) == ([running, look], True)  # and pages are not
    assert await listed(filled, Wanted(begun=True)) == ([running], False)
    assert await listed(filled, Wanted(status="scheduled")) == ([lost, soon, look, late], False)
    assert await listed(filled, Wanted(status="running")) == ([running], False)
    assert await listed(filled, Wanted(service="Account")) == ([running, soon, late], False)
    assert await listed(filled, Wanted(key="b")) == ([lost, soon], False)
    assert await listed(filled, Wanted(service="Gone", key="b", handler="transfer")) == ([lost], False)
    assert await listed(filled, Wanted(service="Account", key="c", status="scheduled")) == ([], False)
    assert await listed(filled, Wanted(handler="look", status="scheduled")) == ([], False)
    picture = await described(filled, lost)
    assert picture is not None
    assert (picture.status, picture.waits_for) == ("scheduled", ["a worker of Gone, which nobody has registered"])


async def test_pages_of_delayed_ones_show_each_once_whatever_is_released_or_comes_meanwhile(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delayed, "MEMBERS_A_TIME", 3)
    monkeypatch.setattr(delayed, "RECORD_BYTES_A_TIME", 200)
    random = Random(7)
    there = [filled.delay("Account", str(n), NOW + n // 7, partition=n % 2) for n in range(60)]  # many at the same time
    there += [filled.delay("Gone", str(n), NOW + n, partition=n % 2, stranded=True) for n in range(10)]
    soon = [filled.delay("Account", "x", NOW - 1 - n // 5, partition=0) for n in range(40)]
    random.shuffle(soon)
    seen: list[bytes] = []
    after = None
    while True:
        page = await list_page(filled.store, filled.services, Wanted(status="scheduled"), random.randint(1, 9), after)
        seen += [one.id for one in page.pictures]
        for _ in range(min(4, len(soon))):
            filled.release(soon.pop(), 0)
        filled.delay("Account", "late", NOW + random.randint(-5, 9), partition=random.randint(0, 1))
        after = page.after
        if after is None:
            break
    assert len(seen) == len(set(seen))
    assert {one.id for one in there} <= set(seen)


class Counted:
    """Counts what is asked of a store."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.asked: list[tuple[Shard, Query]] = []

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        self.asked += questions
        return await self.store.read(questions)


async def test_a_page_of_many_delayed_ones_reads_few_of_them(filled: Filled) -> None:
    for n in range(10_000):
        filled.delay("Account", str(n % 1_000), NOW + n)
    store = Counted(filled.store)
    first = await list_page(cast(Store, store), filled.services, Wanted(), 1)
    page = await list_page(cast(Store, store), filled.services, Wanted(), 5, first.after)
    assert [one.due for one in page.pictures] == [NOW + n for n in range(1, 6)]
    assert sum(len(query) - 2 for _, query in store.asked if query[0] == "HMGET") <= 4 * (delayed.MEMBERS_A_TIME + 1)
    store.asked.clear()
    found = await list_page(cast(Store, store), filled.services, Wanted(service="Account", key="7"), 100)
    assert [one.due for one in found.pictures] == [NOW + n for n in range(7, 10_000, 1_000)]
    assert sum(len(query) - 2 for _, query in store.asked if query[0] == "HMGET") == 20  # headers and records of ten


async def test_a_delayed_callee_is_scheduled(filled: Filled) -> None:
    a = filled.root("Account", "a")
    sent = filled.delay("Teller", None, NOW + 9)
    filled.journal(a, [j.SEND, "Teller/transfer", None, sent.id])
    picture = await described(filled, a)
    assert picture is not None
    assert [(one.id, one.how, one.status) for one in picture.callees] == [(sent.id, "sent", "scheduled")]


async def test_what_the_store_does_not_know_is_not_there(filled: Filled) -> None:
    assert await described(filled, random_id("Account", "a")) is None
    assert await described(filled, random_id("Account", "a", delayed=True)) is None
    assert await described(filled, random_id("Unheard", "a")) is None


async def test_pages_show_each_once_whatever_ends_or_comes_meanwhile(filled: Filled) -> None:
    there = [filled.root("Account", str(n)) for n in range(20)] + [filled.root("Teller") for _ in range(5)]
    gone = [filled.root("Account", f"gone {n}") for n in range(5)]
    seen: list[bytes] = []
    after = None
    while True:
        page = await list_page(filled.store, filled.services, Wanted(), 4, after)
        assert len(page.pictures) <= 4
        seen += [one.id for one in page.pictures]
        if gone:
            filled.end(gone.pop())
        filled.root("Account", "late")
        after = page.after
        if after is None:
            break
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


@pytest.mark.parametrize(
    "text", ["", "x", "W10", "eyJhIjoxfQ", "WzEsMiwzXQ", "W1sxXSwyLDMsImEiXQ", "WyJhIiwiYiIsMywiYSJd", "é"]
)
async def test_a_place_that_is_none_is_refused(filled: Filled, text: str) -> None:
    with pytest.raises(MalformedCursor):
        await list_page(filled.store, filled.services, Wanted(), 4, text)


async def test_spilled_ones_are_listed_by_id_and_key(filled: Filled) -> None:
    a = filled.root("Account", "a")
    id_ = filled.call(a, "Account", "a", accept=False)
    shard = filled.shard("Account", id_)
    entry = msgpack.packb((id_, 7, None))
    filled.commit(shard, ("RPUSH", keys.spilled("a"), entry), ("HSET", keys.SPILL_COUNTS, "a", b"1"))
    page = await list_page(filled.store, filled.services, Wanted(status="pending"), 10)
    assert [(one.id, one.key, one.handler) for one in page.pictures] == [(id_, "a", "?")]
    assert await listed(filled, Wanted(key="b")) == ([], False)


async def test_callers_and_callees_are_a_tree(filled: Filled) -> None:
    top = filled.root("Account", "top")
    middle = filled.call(top, "Teller")
    below = filled.call(middle, "Account", "below")
    stuck = filled.call(below, "Account", "top")  # waits for its key
    lost = filled.call(middle, "Teller", accept=False)
    done = filled.call(middle, "Account", "done")
    filled.answer(middle, done)
    picture = await described(filled, middle)
    assert picture is not None
    assert [(one.id, one.target, one.status) for one in picture.callers] == [(top, "Account/top/transfer", "running")]
    assert [(one.id, one.how, one.position, one.status, one.answered) for one in picture.callees] == [
        (below, "called", 1, "running", False),
        (lost, "called", 2, None, False),
        (done, "called", 3, "completed", True),
    ]
    assert [(one.id, one.status) for one in picture.callees[0].below] == [(stuck, "pending")]
    lowest = await described(filled, stuck)
    assert lowest is not None
    assert [one.id for one in lowest.callers] == [top, middle, below]


async def test_a_circle_of_callers_ends(filled: Filled) -> None:
    a = filled.root("Account", "a")
    b = filled.call(a, "Account", "b")
    filled.attach(b, a)  # so b is among those that wait for a
    picture = await described(filled, b)
    assert picture is not None
    assert [one.id for one in picture.callers] == [b, a]
