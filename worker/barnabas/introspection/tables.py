"""The SQL tables: their columns, which parts of a shard they are made of, and their rows. Pure; `sql` fills them.

Names are Restate's where it has the same thing, so that people's queries carry over; what it does not have is added.
What takes its time, the text of ids, is left for those columns that a query reads. Times are TIMESTAMP WITH TIME ZONE.
`modified_at` is the last time that the store knows of an invocation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, Failure, ReplyTo
from barnabas.introspection.copying import Copy
from barnabas.introspection.delayed import invocation_in
from barnabas.introspection.journals import Line, lines_of, output_line, target_text
from barnabas.introspection.statuses import COMPLETED, PENDING, status_of
from barnabas.runtime import journal as j
from barnabas.runtime.live import BACKING_OFF, QUEUED, SCHEDULED, Live
from barnabas.runtime.promises import Promises
from barnabas.runtime.scheduling.waiting import unpack_waiting
from barnabas.store.port import Service

_TEXT, _NUMBER, _TIME, _BYTES, _TRUTH = "VARCHAR", "BIGINT", "TIMESTAMPTZ", "BLOB", "BOOLEAN"
#: SQL's type of service -> by ours.
_TYPES: Final = {"service": "service", "object": "virtual_object", "workflow": "workflow"}
#: The end of the year 9999, ms: what Python's datetime can hold.
_LAST_MS: Final = 253_402_300_799_999

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `rows` is asked once for each shard. Ids are in rows as they are, and text in the table."""

    name: str
    columns: dict[str, str]  # name -> SQL type
    parts: tuple[str, ...]
    rows: Callable[[Copy], Iterator[Row]]
    only_for: dict[str, frozenset[str]] = field(default_factory=dict)  # part -> the columns that alone need it

    def parts_for(self, columns: Collection[str]) -> list[str]:
        """What has to be read of a shard for these columns."""
        return [part for part in self.parts if part not in self.only_for or self.only_for[part].intersection(columns)]


# -- invocations


def _invocations(copy: Copy) -> Iterator[Row]:
    if copy.service is None:
        yield from _delayed(copy)
        return
    for live in copy.lives():
        caller, client = _who_waits(live.waiters)
        yield _invocation(
            copy, live.id, live.handler, live.key,
            idempotency_key=live.idempotency_key,
            status=status_of(live, copy.holder(live.key)),
            created_at=live.accepted_at,
            modified_at=live.accepted_at,
            scheduled_start_at=live.due or None,
            next_retry_at=live.retry_at if live.status == BACKING_OFF else None,
            retry_count=live.attempts,
            last_failure=live.last_failure or None,
            caller=caller, client=client,
            ending=live.ending or None,
        )  # fmt: skip
    for key, id_ in copy.spilled():
        yield _invocation(copy, id_, None, key, status=PENDING)
    for entry, idempotency_key, expires_at in copy.finished():
        yield _invocation(
            copy, entry.id, entry.handler, entry.key,
            idempotency_key=idempotency_key,
            status=COMPLETED,
            created_at=entry.accepted_at,
            modified_at=entry.completed_at,
            completed_at=entry.completed_at,
            completion_expires_at=expires_at,
            completion_result="success" if entry.failure is None else "failure",
            failure=entry.failure,
            retry_count=entry.attempts,
            journal_size=None if entry.journal is None else len(entry.journal) + 2,
        )  # fmt: skip


def _delayed(copy: Copy) -> Iterator[Row]:
    records = copy.parts.get("records", {})
    for id_, header in copy.parts["waiting"].items():
        waiting = unpack_waiting(id_, header)
        wanted = invocation_in(records.get(id_))
        caller, client = _who_waits(waiting.waiters)
        yield _invocation(
            copy, id_, wanted.handler if wanted else None, wanted.key if wanted else None,
            service=waiting.service,
            status=SCHEDULED,
            scheduled_start_at=waiting.due,
            caller=caller, client=client,
        )  # fmt: skip


def _who_waits(waiters: list[Caller | ReplyTo]) -> tuple[Caller | None, ReplyTo | None]:
    caller = next((one for one in waiters if isinstance(one, Caller)), None)
    return caller, next((one for one in waiters if isinstance(one, ReplyTo)), None)


def _invocation(
    copy: Copy,
    id_: bytes,
    handler: str | None,
    key: str | None,
    *,
    status: str,
    service: str | None = None,
    caller: Caller | None = None,
    client: ReplyTo | None = None,
    failure: Failure | None = None,
    **known: Any,
) -> Row:
    name = service or copy.shard.service
    known_service = copy.services.get(name)
    values = known | {
        "id": InvocationId(id_),
        "target": target_text(name, key, handler or "?"),
        "target_service_name": name,
        "target_service_key": key,
        "target_handler_name": handler,
        "target_service_ty": None if known_service is None else _TYPES.get(known_service.kind),
        "status": status,
        "invoked_by": "service" if caller is not None else "ingress" if client is not None else None,
        "invoked_by_id": None if caller is None else InvocationId(caller.id),
        "invoked_by_service_name": None if caller is None else caller.service,
        "completion_failure": None if failure is None else f"[{failure.code}] {failure.message}",
        "partition": copy.shard.partition,
    }
    return tuple(values.get(column) for column in INVOCATIONS.columns)


INVOCATIONS: Final = Table(
    "sys_invocation",
    {
        "id": _TEXT,
        "target": _TEXT,
        "target_service_name": _TEXT,
        "target_service_key": _TEXT,
        "target_handler_name": _TEXT,
        "target_service_ty": _TEXT,
        "idempotency_key": _TEXT,
        "invoked_by": _TEXT,
        "invoked_by_id": _TEXT,
        "invoked_by_service_name": _TEXT,
        "status": _TEXT,
        "completion_result": _TEXT,
        "completion_failure": _TEXT,
        "created_at": _TIME,
        "modified_at": _TIME,
        "scheduled_start_at": _TIME,
        "next_retry_at": _TIME,
        "completed_at": _TIME,
        "completion_expires_at": _TIME,
        "retry_count": _NUMBER,
        "last_failure": _TEXT,
        "journal_size": _NUMBER,
        "ending": _TEXT,
        "partition": _NUMBER,
    },
    ("live", "inputs", "heads", "spilled", "ring", "kept", "waiting", "records"),
    _invocations,
    {
        "inputs": frozenset({"idempotency_key"}),
        "heads": frozenset({"status"}),
        "records": frozenset({"target", "target_service_key", "target_handler_name"}),
    },
)


# -- journals


def _journals(copy: Copy) -> Iterator[Row]:
    for id_, entries in copy.parts["journals"].items():
        for line in lines_of([j.unpack_entry(raw) for raw in entries]):
            yield _journal_row(id_, line)
    for entry, _, _ in copy.finished():
        if entry.journal is not None:
            lines = lines_of(entry.journal, input_size=len(entry.payload))
            size = None if entry.result is None else len(entry.result)
            for line in (*lines, output_line(len(lines), size, entry.failure)):
                yield _journal_row(entry.id, line)


def _journal_row(id_: bytes, line: Line) -> Row:
    return (
        InvocationId(id_),
        line.index,
        line.entry_type,
        line.name,
        line.completed,
        line.invocation,
        line.target,
        line.wakeup_at,
        line.position,
        line.size,
        None if line.failure is None else f"[{line.failure.code}] {line.failure.message}",
        line.appended_at,
        line.took,
        line.text,
    )


JOURNALS: Final = Table(
    "sys_journal",
    {
        "id": _TEXT,
        "index": _NUMBER,
        "entry_type": _TEXT,
        "name": _TEXT,
        "completed": _TRUTH,
        "invoked_id": _TEXT,
        "invoked_target": _TEXT,
        "sleep_wakeup_at": _TIME,
        "command_index": _NUMBER,
        "bytes": _NUMBER,
        "failure": _TEXT,
        "appended_at": _TIME,
        "duration_ms": _NUMBER,
        "description": _TEXT,
    },
    ("journals", "ring", "kept"),
    _journals,
)


# -- keys


def _inbox(copy: Copy) -> Iterator[Row]:
    waiting: list[tuple[str, bytes, int | None]] = [
        (live.key or "", live.id, live.accepted_at)
        for live in sorted(copy.lives(), key=lambda one: one.accepted)
        if status_of(live, copy.holder(live.key)) == PENDING
    ]
    waiting += [(key, id_, None) for key, id_ in copy.spilled()]
    places: dict[str, int] = {}
    for key, id_, accepted_at in waiting:
        places[key] = places.get(key, -1) + 1
        yield copy.shard.service, key, InvocationId(id_), places[key], accepted_at


INBOX: Final = Table(
    "sys_inbox",
    {"service_name": _TEXT, "service_key": _TEXT, "id": _TEXT, "sequence_number": _NUMBER, "created_at": _TIME},
    ("live", "heads", "spilled"),
    _inbox,
)


def _held(copy: Copy) -> Iterator[Row]:
    holders = {live.key or "": live.id for live in copy.lives() if live.exclusive and _holds(copy, live)}
    holders |= {key.decode(): id_ for key, id_ in copy.parts["heads"].items()}
    for key, id_ in holders.items():
        yield copy.shard.service, key, InvocationId(id_)


def _holds(copy: Copy, live: Live) -> bool:
    return live.status != SCHEDULED and (live.status != QUEUED or copy.holder(live.key) is None)


KEYED: Final = Table(
    "sys_keyed_service_status",
    {"service_name": _TEXT, "service_key": _TEXT, "invocation_id": _TEXT},
    ("live", "heads"),
    _held,
)


def _idempotency(copy: Copy) -> Iterator[Row]:
    service = copy.shard.service
    for live in copy.lives():
        if live.idempotency_key is not None:
            yield service, live.key, live.handler, live.idempotency_key, InvocationId(live.id), None
    for entry, idempotency_key, expires_at in copy.finished():
        if idempotency_key is not None:
            yield service, entry.key, entry.handler, idempotency_key, InvocationId(entry.id), expires_at


IDEMPOTENCY: Final = Table(
    "sys_idempotency",
    {
        "service_name": _TEXT,
        "service_key": _TEXT,
        "service_handler": _TEXT,
        "idempotency_key": _TEXT,
        "invocation_id": _TEXT,
        "expires_at": _TIME,
    },
    ("live", "inputs", "kept"),
    _idempotency,
)


# -- what lies under a key


def _states(copy: Copy) -> Iterator[Row]:
    for key, values in copy.parts["states"].items():
        for name, value in values.items():
            yield copy.shard.service, key.decode(), name.decode(), text_of(value), value


STATE: Final = Table(
    "state",
    {"service_name": _TEXT, "service_key": _TEXT, "key": _TEXT, "value_utf8": _TEXT, "value": _BYTES},
    ("states",),
    _states,
)


def _promises(copy: Copy) -> Iterator[Row]:
    for key, fields in copy.parts["promises"].items():
        promises = Promises(fields)
        for packed_name in fields:
            promise = promises.get(packed_name.decode())
            failure = promise.failure
            yield (
                copy.shard.service,
                key.decode(),
                packed_name.decode(),
                promise.completed,
                promise.result,
                None if promise.result is None else text_of(promise.result),
                None if failure is None else f"[{failure.code}] {failure.message}",
            )


PROMISES: Final = Table(
    "sys_promise",
    {
        "service_name": _TEXT,
        "service_key": _TEXT,
        "key": _TEXT,
        "completed": _TRUTH,
        "completion_success_value": _BYTES,
        "completion_success_value_utf8": _TEXT,
        "completion_failure": _TEXT,
    },
    ("promises",),
    _promises,
)


# -- services


def service_rows(services: Mapping[str, Service]) -> Iterator[Row]:
    """The rows of `sys_service`, which are no shard's."""
    for one in services.values():
        yield one.name, _TYPES.get(one.kind, one.kind), one.public, one.partitions, one.group, sorted(one.handlers)


def _none(_: Copy) -> Iterator[Row]:
    return iter(())


SERVICES: Final = Table(
    "sys_service",
    {
        "name": _TEXT,
        "ty": _TEXT,
        "public": _TRUTH,
        "partitions": _NUMBER,
        "consumer_group": _TEXT,
        "handlers": "VARCHAR[]",
    },
    (),
    _none,
)

TABLES: Final = {
    table.name: table for table in (INVOCATIONS, JOURNALS, INBOX, KEYED, IDEMPOTENCY, PROMISES, STATE, SERVICES)
}


def text_of(value: bytes) -> str | None:
    """Bytes as text; None where they are none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def in_calendar(ms: int | None) -> int | None:
    """A time, cut to what a calendar has."""
    return None if ms is None else max(0, min(ms, _LAST_MS))
