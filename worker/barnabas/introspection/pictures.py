"""Pictures of invocations, from what the store has of them. Pure.

Of what a handler was given or has returned only the size is shown, of failures the message: pictures end up in
terminals and tickets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, Failure, Invocation, ReplyTo
from barnabas.introspection.family import Relative
from barnabas.introspection.journals import Line, lines_of, output_line, words
from barnabas.introspection.statuses import COMPLETED, status_of
from barnabas.introspection.waits import open_commands
from barnabas.runtime import journal as j
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import BACKING_OFF, SCHEDULED, Live
from barnabas.runtime.ring import RingEntry, unpack_ring_entry
from barnabas.runtime.scheduling.waiting import Waiting

#: What stands for a handler that is named by a record alone which is not at hand, or cannot be read.
UNKNOWN: Final = "?"


@dataclass(slots=True)
class Picture:
    """One invocation. Times are milliseconds since the epoch; None where the store does not say."""

    id: InvocationId
    service: str
    handler: str
    key: str | None
    status: str
    accepted_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None  # append time at which its kept outcome goes
    due: int | None = None
    retry_at: int | None = None
    failed_attempts: int = 0
    last_failure: str = ""  # of the last attempt that failed
    ending: str = ""  # "cancel" or "kill": asked for, and on its way
    failure: Failure | None = None
    result_bytes: int | None = None
    input_bytes: int | None = None
    idempotency_key: str | None = None
    wanted_by: list[str] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    journal: list[Line] | None = None  # None: not kept
    callers: list[Relative] = field(default_factory=list)  # each waits for the next; the outermost first
    callees: list[Relative] = field(default_factory=list)


def picture_of_live(live: Live, holder: bytes | None) -> Picture:
    """One that is not over, by its header. `holder`: whom others of its key wait for."""
    return Picture(
        InvocationId(live.id),
        live.service,
        live.handler,
        live.key,
        status_of(live, holder),
        accepted_at=live.accepted_at,
        due=live.due or None,
        retry_at=live.retry_at if live.status == BACKING_OFF else None,
        failed_attempts=live.attempts,
        last_failure=live.last_failure,
        ending=live.ending,
        wanted_by=[who_wants(waiter) for waiter in live.waiters],
    )


def detailed(live: Live, journal: Sequence[j.Entry], holder: bytes | None) -> Picture:
    """One that is not over, with its input and journal."""
    picture = picture_of_live(live, holder)
    picture.idempotency_key = live.idempotency_key
    picture.input_bytes = len(live.payload)
    picture.journal = lines_of(journal, input_size=len(live.payload))
    if live.status == SCHEDULED:
        picture.waits_for.append("its due time")
    if holder is not None and holder != live.id:
        picture.waits_for.append(f"its key, which {InvocationId(holder)} holds")
    picture.waits_for += [f"{words(one.entry)} (position {one.position})" for one in open_commands(journal)]
    return picture


def picture_of_ring(entry: RingEntry, service: str) -> Picture:
    """One that is over."""
    size = None if entry.result is None else len(entry.result)
    lines = None
    if entry.journal is not None:
        lines = lines_of(entry.journal, input_size=len(entry.payload))
        lines.append(output_line(len(lines), size, entry.failure))
    return Picture(
        InvocationId(entry.id),
        service,
        entry.handler,
        entry.key,
        COMPLETED,
        accepted_at=entry.accepted_at,
        completed_at=entry.completed_at,
        failed_attempts=entry.attempts,
        failure=entry.failure,
        result_bytes=size,
        input_bytes=len(entry.payload) if entry.journal is not None else None,
        journal=lines,
    )


def picture_of_kept(id_: InvocationId, service: str, packed: bytes) -> Picture:
    """One that is over and has an idempotency key, or is a workflow's run."""
    kept = unpack_kept(packed)
    picture = picture_of_ring(unpack_ring_entry(kept.entry), service)
    picture.id = id_
    picture.expires_at = kept.expires_at
    picture.idempotency_key = kept.idempotency_key
    picture.wanted_by = [who_wants(waiter) for waiter in kept.waiters]
    return picture


def picture_of_waiting(waiting: Waiting, asks_for: Invocation | None) -> Picture:
    """One that waits in the scheduler. `asks_for` None: its record cannot be read, and it is shown without."""
    picture = Picture(
        InvocationId(waiting.id),
        waiting.service,
        UNKNOWN,
        None,
        SCHEDULED,
        due=waiting.due,
        wanted_by=[who_wants(waiter) for waiter in waiting.waiters],
        waits_for=["its due time, in the scheduler"],
    )
    if waiting.stranded:
        picture.waits_for = [f"a worker of {waiting.service}, which nobody has registered"]
    if asks_for is not None:
        picture.handler, picture.key, picture.input_bytes = asks_for.handler, asks_for.key, len(asks_for.payload)
    return picture


def who_wants(waiter: Caller | ReplyTo) -> str:
    """Someone who waits for a result, for people."""
    if isinstance(waiter, ReplyTo):
        return f"client {waiter.client}"
    return f"{waiter.service} {InvocationId(waiter.id)} (position {waiter.position})"
