"""SQL over a store that was filled with the engine's own packers: rows, limits, and what a query may not do."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import pytest

from barnabas.contract.codec import encode_invocation
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Failure, Invocation, ReplyTo
from barnabas.introspection import sql
from barnabas.introspection.sql import NoDuckdb, QueryRefused, QueryTooSlow, plain, plain_rows, run_query
from barnabas.introspection.tables import TABLES
from barnabas.runtime import journal as j
from barnabas.runtime.kept import Kept
from barnabas.runtime.live import BACKING_OFF, Live
from barnabas.runtime.promises import Promises
from barnabas.runtime.ring import Ring
from barnabas.runtime.scheduling.waiting import accepted
from barnabas.store import keys
from barnabas.store.looking import MemoryLooks, TooLarge
from barnabas.store.port import Query, Shard
from tests.unit.introspection.filling import NOW, Filled, service


class Asked(MemoryLooks):
    """Writes down which questions were asked."""

    def __init__(self, filled: Filled) -> None:
        super().__init__(filled.store.core)
        self.questions: list[tuple[Shard, Query]] = []

    async def look(self, shard: Shard, questions: Any) -> list[Any]:
        self.questions += [(shard, one) for one in questions]
        return await super().look(shard, questions)


@pytest.fixture
def filled() -> Filled:
    return Filled(service("Account"), service("Teller", "service"))


async def rows(filled: Filled, query: str, **limits: Any) -> list[dict[str, Any]]:
    found = plain_rows(await run_query(MemoryLooks(filled.store.core), filled.services, query, **limits))
    json.dumps(found)  # is what JSON can say
    return found


def text(id_: bytes) -> str:
    return str(InvocationId(id_))


def retried(filled: Filled) -> bytes:
    """One that backs off, has an idempotency key and is about to be cancelled."""
    id_ = random_id("Account", "r")
    live = Live(id_, "Account", "transfer", "r", True, 1, NOW)
    live.status, live.attempts, live.retry_at, live.last_failure = BACKING_OFF, 3, NOW + 50, "it was closed"
    live.idempotency_key, live.ending, live.payload = "key", "cancel", b"secret"
    filled.commit(
        filled.shard("Account", id_), ("HSET", keys.LIVE, id_, live.header()), ("HSET", keys.INPUTS, id_, live.input())
    )
    return id_


def finished(filled: Filled, failure: Failure | None = None) -> bytes:
    id_ = random_id("Account", "a")
    live = Live(id_, "Account", "transfer", "a", True, 1, NOW)
    live.payload = b"12345"
    live.journal = [[j.SLEEP, "nap", 5], [j.RESULT, 1, None, b""]]
    ring = Ring(10, 1000)
    ring.append(live, None if failure else b"123", failure, NOW + 7)
    filled.commit(filled.shard("Account", id_), ("RPUSH", keys.RING, *ring.seal()[0]))
    return id_


def kept(filled: Filled) -> bytes:
    id_ = random_id("Account", "a")
    live = Live(id_, "Account", "look", "a", False, 1, NOW)
    live.idempotency_key = "once"
    outcomes = Kept()
    outcomes.put(live, b"12", None, NOW + 7, 1000, 1)
    filled.commit(filled.shard("Account", id_), *outcomes.seal())
    return id_


async def test_invocations_in_every_state(filled: Filled) -> None:
    a = filled.root("Account", "a")
    teller = filled.call(a, "Teller")
    queued = filled.call(teller, "Account", "a")
    backing, over, once = retried(filled), finished(filled, Failure(418, "no tea")), kept(filled)
    delayed = random_id("Account", "d", delayed=True)
    record = Invocation(delayed, "Account", "transfer", "d", b"", reply_to=ReplyTo("client", b"1"))
    waiting = accepted(record, 2**60, 3, b"record")  # in a year that no calendar has
    filled.commit(
        Shard("@delays", 2),
        ("HSET", keys.WAITING, delayed, waiting.header()),
        ("HSET", keys.WAITING_INPUTS, delayed, encode_invocation(record)),
    )
    found = {row["id"]: row for row in await rows(filled, "SELECT * FROM sys_invocation")}
    assert {id_: row["status"] for id_, row in found.items()} == {
        text(a): "running",
        text(teller): "running",
        text(queued): "pending",
        text(backing): "backing-off",
        text(over): "completed",
        text(once): "completed",
        text(delayed): "scheduled",
    }
    assert found[text(queued)] | {"created_at": ""} == dict.fromkeys(TABLES["sys_invocation"].columns) | {
        "id": text(queued),
        "target": "Account/a/transfer",
        "target_service_name": "Account",
        "target_service_key": "a",
        "target_handler_name": "transfer",
        "target_service_ty": "virtual_object",
        "invoked_by": "service",
        "invoked_by_id": text(teller),
        "invoked_by_service_name": "Teller",
        "status": "pending",
        "created_at": "",
        "modified_at": found[text(queued)]["created_at"],
        "retry_count": 0,
        "partition": filled.shard("Account", queued).partition,
    }
    wanted = ("retry_count", "last_failure", "idempotency_key", "next_retry_at", "ending")
    assert [found[text(backing)][name] for name in wanted] == [
        3,
        "it was closed",
        "key",
        "2026-09-21T14:13:20.050Z",
        "cancel",
    ]
    ended = found[text(over)]
    assert (ended["completion_result"], ended["completion_failure"]) == ("failure", "[418] no tea")
    assert (ended["completed_at"], ended["journal_size"]) == ("2026-09-21T14:13:20.007Z", 4)
    assert found[text(once)]["completion_expires_at"] == "2026-09-21T14:13:21.007Z"
    assert (found[text(delayed)]["target"], found[text(delayed)]["invoked_by"]) == ("Account/d/transfer", "ingress")
    assert found[text(delayed)]["target_service_ty"] == "virtual_object"
    assert found[text(delayed)]["scheduled_start_at"].startswith("9999-12-31")


async def test_journals_have_restates_names(filled: Filled) -> None:
    a = filled.root("Account", "a")
    callee = filled.call(a, "Teller")
    filled.journal(
        a, [j.RUN, "pay", NOW], [j.FAILURE, 2, None, 500, "no", {}, NOW + 20], [j.SIGNAL, "go"], [j.CANCELLED, 0, None]
    )
    filled.journal(a, [j.RESULT, "go", j.OF_SIGNAL, b"12"])
    over = finished(filled)
    found = await rows(filled, f"SELECT * FROM sys_journal WHERE id = '{text(a)}' ORDER BY index")
    columns = ("index", "entry_type", "name", "completed", "invoked_id", "invoked_target", "command_index", "bytes")
    assert [tuple(row[name] for name in columns) for row in found] == [
        (0, "Command: Input", None, None, None, None, None, None),
        (1, "Command: Call", None, False, text(callee), "Teller/transfer", 1, None),
        (2, "Command: Run", "pay", True, None, None, 2, None),
        (3, "Notification: Run", None, None, None, None, 2, None),
        (4, "Command: Signal", "go", True, None, None, 3, None),
        (5, "Notification: Signal", "CANCEL", None, None, None, None, None),
        (6, "Notification: Signal", "go", None, None, None, None, 2),
    ]
    assert found[3]["failure"] == "[500] no"
    assert (found[3]["appended_at"], found[3]["duration_ms"]) == ("2026-09-21T14:13:20.020Z", 20)
    types = await rows(filled, f"SELECT entry_type, bytes FROM sys_journal WHERE id = '{text(over)}' ORDER BY index")
    assert [tuple(row.values()) for row in types] == [
        ("Command: Input", 5),
        ("Command: Sleep", None),
        ("Notification: Sleep", 0),
        ("Command: Output", 3),
    ]


async def test_queues_and_holders(filled: Filled) -> None:
    a = filled.root("Account", "a")
    free = filled.root("Account", "free")
    first, second = filled.call(a, "Account", "a"), filled.call(free, "Account", "a")
    spilled = filled.call(free, "Account", "a", accept=False)
    filled.commit(
        filled.shard("Account", spilled),
        ("RPUSH", keys.spilled("a"), msgpack.packb((spilled, 7, None))),
        ("HSET", keys.SPILL_COUNTS, "a", b"1"),
    )
    inbox = await rows(filled, "SELECT id, sequence_number FROM sys_inbox WHERE service_key = 'a' ORDER BY 2")
    assert {row["id"] for row in inbox[:2]} == {text(first), text(second)}
    assert inbox[2] == {"id": text(spilled), "sequence_number": 2}
    held = await rows(filled, "SELECT service_key, invocation_id FROM sys_keyed_service_status ORDER BY 1")
    assert held == [
        {"service_key": "a", "invocation_id": text(a)},
        {"service_key": "free", "invocation_id": text(free)},
    ]


async def test_idempotency_keys_promises_state_and_services(filled: Filled) -> None:
    live, over = retried(filled), kept(filled)
    found = await rows(filled, "SELECT idempotency_key, invocation_id, service_handler FROM sys_idempotency ORDER BY 1")
    assert found == [
        {"idempotency_key": "key", "invocation_id": text(live), "service_handler": "transfer"},
        {"idempotency_key": "once", "invocation_id": text(over), "service_handler": "look"},
    ]
    shard = Shard("Account", 1)
    promises = Promises({})
    promises.get("won").result = b'"yes"'
    promises.get("lost").failure = Failure(410, "gone")
    promises.get("open")
    for name in ("won", "lost", "open"):
        promises.changed(name)
    filled.commit(shard, *promises.seal("key}:st:"), ("HSET", keys.state("k/1"), "n", b"1", "bin", b"\xff\x00"))
    assert await rows(filled, "SELECT * FROM state ORDER BY key") == [
        {"service_name": "Account", "service_key": "k/1", "key": "bin", "value_utf8": None, "value": "ff00"},
        {"service_name": "Account", "service_key": "k/1", "key": "n", "value_utf8": "1", "value": "31"},
    ]
    listed = await rows(filled, "SELECT * EXCLUDE service_name FROM sys_promise ORDER BY key")
    assert [(row["key"], row["completed"], row["completion_failure"]) for row in listed] == [
        ("lost", True, "[410] gone"),
        ("open", False, None),
        ("won", True, None),
    ]
    assert listed[2]["completion_success_value_utf8"] == '"yes"'
    assert await rows(filled, "SELECT name, ty, public, handlers FROM sys_service ORDER BY 1") == [
        {"name": "Account", "ty": "virtual_object", "public": True, "handlers": ["look", "transfer"]},
        {"name": "Teller", "ty": "service", "public": True, "handlers": ["transfer"]},
    ]


async def test_only_what_a_query_mentions_is_read(filled: Filled) -> None:
    filled.root("Account", "a")
    looks = Asked(filled)
    await run_query(looks, filled.services, "SELECT 1")
    await run_query(looks, filled.services, "SELECT * FROM sys_service")
    assert looks.questions == []
    await run_query(looks, filled.services, 'WITH x AS (SELECT * FROM "SYS_INBOX") SELECT * FROM x')
    assert {question[1] for _, question in looks.questions} == {keys.LIVE, keys.HEADS, keys.SPILL_COUNTS}
    assert {shard.service for shard, _ in looks.questions} == {"Account", "Teller"}


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("SELECT count(*) FROM sys_invocation", set()),
        ("SELECT 1 WHERE EXISTS (FROM sys_invocation WHERE retry_count > 3)", set()),
        ("SELECT id FROM sys_invocation ORDER BY created_at DESC LIMIT 1", set()),
        ("SELECT id FROM sys_invocation WHERE status = 'running'", {keys.HEADS}),
        ("SELECT status, count(*) FROM sys_invocation GROUP BY 1", {keys.HEADS}),
        ("SELECT id FROM sys_invocation WHERE idempotency_key = 'x' OR retry_count > 3", {keys.INPUTS}),
        ("SELECT id FROM sys_invocation WHERE idempotency_key IS NULL", {keys.INPUTS}),
        ("SELECT max(target) FROM sys_invocation", {keys.WAITING_INPUTS}),
        ("SELECT id FROM sys_invocation WHERE target LIKE 'A%'", {keys.WAITING_INPUTS}),
        ("SELECT id FROM sys_invocation WHERE target_service_key IN ('a', 'b')", {keys.WAITING_INPUTS}),
        ("SELECT COLUMNS('.*_key') FROM sys_invocation", {keys.INPUTS, keys.WAITING_INPUTS}),
        ("SELECT i FROM sys_invocation i", {keys.HEADS, keys.INPUTS, keys.WAITING_INPUTS}),
        ("FROM sys_invocation", {keys.HEADS, keys.INPUTS, keys.WAITING_INPUTS}),
        ("SUMMARIZE sys_invocation", {keys.HEADS, keys.INPUTS, keys.WAITING_INPUTS}),
        ("EXPLAIN ANALYZE SELECT id FROM sys_invocation", {keys.HEADS, keys.INPUTS, keys.WAITING_INPUTS}),
        ("SELECT a.id FROM sys_invocation a JOIN sys_invocation b USING (id) WHERE b.status = 'x'", {keys.HEADS}),
        ("WITH x AS MATERIALIZED (SELECT id, status FROM sys_invocation) SELECT a.id FROM x a, x b", set()),
        ("SELECT * FROM query('SELECT id FROM sys_' || 'invocation')", set()),
    ],
)
async def test_only_the_columns_that_a_query_reads_are_made(filled: Filled, query: str, read: set[bytes]) -> None:
    filled.root("Account", "a")
    looks = Asked(filled)
    await run_query(looks, filled.services, query)
    optional = {keys.HEADS, keys.INPUTS, keys.WAITING_INPUTS}
    asked = {question[1] for _, question in looks.questions}
    assert asked & optional == read
    assert {keys.LIVE, keys.RING, keys.KEPT, keys.WAITING} <= asked


async def test_every_column_has_the_same_values_when_it_is_asked_for_alone(filled: Filled) -> None:
    a = filled.root("Account", "a")
    filled.journal(a, [j.RUN, "pay", NOW], [j.RESULT, 1, None, b"1", NOW + 20])
    filled.call(filled.call(a, "Teller"), "Account", "a")
    retried(filled), finished(filled, Failure(418, "no tea")), kept(filled)
    filled.delay("Account", "d", NOW + 9)
    filled.commit(Shard("Account", 1), ("HSET", keys.state("k/1"), "n", b"1"))
    for table in TABLES.values():
        whole = await rows(filled, f'SELECT * FROM "{table.name}"')
        for column in table.columns:
            alone = await rows(filled, f'SELECT "{column}" FROM "{table.name}"')
            assert [row[column] for row in alone] == [row[column] for row in whole], (table.name, column)
        assert await rows(filled, f'SELECT count(*) AS n FROM "{table.name}"') == [{"n": len(whole)}]


async def test_many_rows_go_in_some_at_a_time(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "_ROWS_IN", 3)
    for n in range(20):
        filled.root("Account", str(n))
    found = await rows(filled, "SELECT target_service_key AS key FROM sys_invocation ORDER BY created_at")
    assert [row["key"] for row in found] == [str(n) for n in range(20)]


async def test_what_does_not_fit_into_memory_is_refused(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sql._CONFIG, "memory_limit", "4MB")
    filled.commit(Shard("Account", 1), *(("HSET", keys.state(str(n)), "n", bytes(1_000_000)) for n in range(8)))
    with pytest.raises(QueryRefused, match="state does not fit into 4MB"):
        await rows(filled, "SELECT * FROM state")
    assert await rows(filled, "SELECT count(*) AS n FROM state") == [{"n": 8}]


@pytest.mark.parametrize("value", ["repeat('x', 1000000)", "[repeat('x', 1000000)]", "{'a': repeat('x', 1000000)}"])
async def test_a_large_answer_is_refused_before_it_is_whole(filled: Filled, value: str) -> None:
    with pytest.raises(QueryRefused, match="more than 64 MiB"):
        await rows(filled, f"SELECT {value} FROM range(3000)")


async def test_columns_of_one_name_are_all_there(filled: Filled) -> None:
    assert await rows(filled, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a") == [{"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}]


async def test_tables_of_a_join_come_from_the_same_look(filled: Filled) -> None:
    filled.root("Account", "a")
    looks = Asked(filled)
    query = "SELECT count(*) AS n FROM sys_invocation i JOIN sys_journal j USING (id) WHERE i.status = 'running'"
    assert plain_rows(await run_query(looks, filled.services, query)) == [{"n": 1}]
    shards = [shard for shard, question in looks.questions if question[1] == keys.LIVE and question[0] == "HGETALL"]
    assert len(shards) == len(set(shards)) == 6


@pytest.mark.parametrize(
    "query",
    [
        "",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM nothing_of_this_name",
        "DELETE FROM state",
        "INSERT INTO state VALUES (1)",
        "WITH x AS (INSERT INTO sys_service (name) VALUES ('x') RETURNING *) SELECT * FROM x",
        "EXPLAIN ANALYZE INSERT INTO sys_service (name) VALUES ('x')",
        "PIVOT sys_invocation ON status USING count(*)",
        "DROP TABLE state",
        "CREATE TABLE x (y INT)",
        "ATTACH '/tmp/barnabas-x.db'",
        "COPY (SELECT 1) TO '/tmp/barnabas-x.csv'",
        "EXPORT DATABASE '/tmp/barnabas-x'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "PRAGMA enable_profiling",
        "CALL pragma_version()",
        "SELECT * FROM looks",  # a variable of ours
        "SELECT 1 / (SELECT 'x'::INT)",
    ],
)
async def test_what_does_not_read_our_tables_is_refused(filled: Filled, query: str) -> None:
    with pytest.raises(QueryRefused):
        await rows(filled, query)


async def test_a_query_can_describe_tables(filled: Filled) -> None:
    described = await rows(filled, "DESCRIBE state")
    assert [row["column_name"] for row in described] == list(TABLES["state"].columns)
    assert {row["name"] for row in await rows(filled, "SHOW TABLES")} == set(TABLES)


async def test_rows_beyond_the_limit_are_cut_off_and_said_to_be(filled: Filled) -> None:
    looks = MemoryLooks(filled.store.core)
    few = await run_query(looks, filled.services, "SELECT * FROM range(10000000000)", most_rows=3)
    assert ([row[0] for row in few.rows], few.truncated, few.columns) == ([0, 1, 2], True, ["range"])
    assert (await run_query(looks, filled.services, "SELECT * FROM range(3)", most_rows=3)).truncated is False


async def test_a_query_that_takes_too_long_is_broken_off(filled: Filled) -> None:
    begun = time.monotonic()
    with pytest.raises(QueryTooSlow, match=r"0\.3 s"):
        await rows(filled, "SELECT count(*) FROM range(100000000000) a, range(1000) b", seconds=0.3)
    assert time.monotonic() - begun < 5


async def test_reads_count_towards_the_time(filled: Filled) -> None:
    class Slow(MemoryLooks):
        async def look(self, shard: Shard, questions: Any) -> list[Any]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(QueryTooSlow):
        await run_query(Slow(filled.store.core), filled.services, "SELECT * FROM sys_inbox", seconds=0.2)


async def test_too_many_keys_are_not_read(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barnabas.introspection.copying.MOST_KEYS", 1)
    filled.commit(Shard("Account", 1), ("HSET", keys.state("a"), "n", b"1"), ("HSET", keys.state("b"), "n", b"1"))
    with pytest.raises(TooLarge):
        await rows(filled, "SELECT * FROM state")


async def test_without_duckdb_the_error_names_the_extra(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(NoDuckdb, match=r"pip install 'barnabas\[admin\]'"):
        await rows(filled, "SELECT 1")


async def test_every_kind_of_value_is_json(filled: Filled) -> None:
    query = """SELECT 1::HUGEINT * 10::HUGEINT ** 30 AS huge, 9007199254740993 AS big, 1.5::DECIMAL(4, 2) AS d,
        DATE '2020-01-01' AS day, INTERVAL 3 DAY AS span, [1, 2] AS list, {'a': NULL} AS struct,
        'x'::BLOB AS blob, 'nan'::DOUBLE AS nan, TIME '10:00' AS t, MAP {1: 2} AS map, TRUE AS yes"""
    [row] = await rows(filled, query)
    assert row["big"] == "9007199254740993"
    assert (row["d"], row["day"], row["list"], row["struct"], row["blob"]) == (
        "1.50",
        "2020-01-01",
        [1, 2],
        {"a": None},
        "78",
    )
    assert (row["nan"], row["t"], row["map"], row["yes"]) == ("nan", "10:00:00", {"1": 2}, True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(seconds=1), "0:00:01"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (2**53, 2**53),
        (2**53 + 1, str(2**53 + 1)),
        (float("inf"), "inf"),
        ((1, b"\x00"), [1, "00"]),
    ],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected
