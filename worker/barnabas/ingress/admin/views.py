"""From pictures of invocations, shards and dead letters to the bodies of the admin API. Pure."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Literal, cast

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure
from barnabas.ingress.admin import bodies
from barnabas.introspection.dead_letters import Found
from barnabas.introspection.family import Relative
from barnabas.introspection.graph import Deadlock, Node
from barnabas.introspection.journals import Line, target_text
from barnabas.introspection.pictures import Picture
from barnabas.introspection.shards import ShardState, TopicState
from barnabas.introspection.statuses import COMPLETED
from barnabas.introspection.tables import in_calendar


def moment(ms: int | None) -> str | None:
    """A time in ISO 8601; one beyond the calendar is cut to its end."""
    within = in_calendar(ms)
    if within is None:
        return None
    when = datetime.fromtimestamp(within // 1000, UTC).replace(microsecond=within % 1000 * 1000)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def invocation(picture: Picture) -> bodies.InvocationBody:
    """One of a list."""
    return bodies.InvocationBody(**_fields(picture))


def described(picture: Picture) -> bodies.DescribedBody:
    """One with all that is known of it."""
    return bodies.DescribedBody(
        **_fields(picture),
        waits_for=picture.waits_for,
        journal=None if picture.journal is None else [line(one) for one in picture.journal],
        callers=[relative(one) for one in picture.callers],
        callees=[relative(one) for one in picture.callees],
    )


def _fields(picture: Picture) -> dict[str, Any]:
    result = None
    if picture.status == COMPLETED:
        result = "success" if picture.failure is None else "failure"
    return {
        "id": str(picture.id),
        "target": target_text(picture.service, picture.key, picture.handler),
        "target_service_name": picture.service,
        "target_service_key": picture.key,
        "target_handler_name": picture.handler,
        "status": picture.status,
        "ending": picture.ending or None,
        "idempotency_key": picture.idempotency_key,
        "created_at": moment(picture.accepted_at),
        "completed_at": moment(picture.completed_at),
        "completion_expires_at": moment(picture.expires_at),
        "scheduled_start_at": moment(picture.due),
        "next_retry_at": moment(picture.retry_at),
        "retry_count": picture.failed_attempts,
        "last_failure": picture.last_failure or None,
        "completion_result": result,
        "completion_failure": _failed(picture.failure),
        "input_bytes": picture.input_bytes,
        "result_bytes": picture.result_bytes,
        "wanted_by": picture.wanted_by,
    }


def line(one: Line) -> bodies.LineBody:
    """An entry of a journal."""
    return bodies.LineBody(
        index=one.index,
        entry_type=one.entry_type,
        description=one.text,
        name=one.name,
        command_index=one.position,
        completed=one.completed,
        invoked_id=None if one.invocation is None else str(one.invocation),
        invoked_target=one.target,
        sleep_wakeup_at=moment(one.wakeup_at),
        appended_at=moment(one.appended_at),
        duration_ms=one.took,
        bytes=one.size,
        failure=_failed(one.failure),
    )


def relative(one: Relative) -> bodies.RelativeBody:
    """A caller or a callee."""
    return bodies.RelativeBody(
        id=str(one.id),
        target=one.target,
        relation=cast(Literal["called", "sent"], one.how),
        command_index=one.position,
        status=one.status,
        answered=one.answered,
        callees=[relative(below) for below in one.below],
    )


def _failed(failure: Failure | None) -> str | None:
    return None if failure is None else f"[{failure.code}] {failure.message}"


def node(one: Node) -> bodies.NodeBody:
    """One that waits, or is waited for."""
    return bodies.NodeBody(
        id=str(InvocationId(one.id)),
        target=target_text(one.service, one.key, one.handler),
        status=one.status,
        created_at=moment(one.accepted_at),
        waits_for=[
            bodies.EdgeBody(id=str(InvocationId(wait.target)), because=cast(Any, wait.how)) for wait in one.waits
        ],
    )


def deadlock(one: Deadlock) -> bodies.DeadlockBody:
    """A cycle."""
    return bodies.DeadlockBody(cycle=[node(each) for each in one.cycle], others=[node(each) for each in one.others])


def topic(one: TopicState) -> bodies.TopicBody:
    """A topic."""
    return bodies.TopicBody(
        name=one.name,
        kind=one.what,
        service=one.service,
        id=one.id,
        partitions=[
            bodies.OffsetsBody(partition=n, begin=begin, end=end) for n, (begin, end) in enumerate(one.partitions)
        ],
        config=one.config,
    )


def shard(one: ShardState) -> bodies.ShardBody:
    """A shard."""
    return bodies.ShardBody(
        service=one.service,
        partition=one.partition,
        owner=one.owner,
        lease=one.lease,
        takes=one.takes,
        commits=one.commits,
        invocations=one.invocations,
        outbox=one.outbox,
        parked_signals=one.parked,
        broken=one.broken,
        reads=[
            bodies.ReadingBody(topic=each.topic, next=each.next, end=each.end, lag=each.lag) for each in one.readings
        ],
    )


def dead_letter(found: Found) -> bodies.DeadLetterBody:
    """A dead letter without its content."""
    return bodies.DeadLetterBody(**_letter_fields(found))


def whole_dead_letter(found: Found) -> bodies.WholeDeadLetterBody:
    """A dead letter with its content."""
    return bodies.WholeDeadLetterBody(
        **_letter_fields(found),
        value=_base64(found.letter.value),
        headers=[bodies.HeaderBody(name=name, value=_base64(value)) for name, value in found.letter.headers],
    )


def _letter_fields(found: Found) -> dict[str, Any]:
    letter = found.letter
    return {
        "partition": found.partition,
        "offset": found.offset,
        "written_at": moment(found.written_at),
        "reason": letter.reason,
        "detail": letter.detail,
        "source_topic": letter.topic,
        "source_partition": letter.partition,
        "source_offset": letter.offset,
        "key": _base64(letter.key),
        "value_bytes": None if letter.value is None else len(letter.value),
    }


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()
