"""Bodies of the admin API, as pydantic models: what is asked and answered, and so what its OpenAPI document says."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Status = Literal["scheduled", "pending", "ready", "running", "suspended", "backing-off", "paused", "completed"]
Operation = Literal["cancel", "kill", "pause", "resume", "purge", "purge-journal", "restart-as-new"]


def _whole(value: Any) -> Any:
    """1.0 is a whole number to JSON Schema, though not to Python."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Byte = Annotated[int, Field(ge=0, le=255), BeforeValidator(_whole)]


def _encodable(text: str) -> str:
    text.encode()  # raises a ValueError for half of a surrogate pair, which JSON can spell
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answered(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorBody(_Answered):
    """What went wrong, and what to do."""

    message: str
    restate_code: str | None = Field(default=None, description="Always null: these codes are Restate's own.")


# -- services


class HandlerBody(_Answered):
    name: str
    ty: Literal["Exclusive", "Shared", "Workflow"] | None = Field(description="null: a plain service's handler")
    public: bool = Field(description="Whether callers from outside may reach it, if its service is public.")
    documentation: str | None
    metadata: dict[str, Any]
    input_description: str
    output_description: str
    input_json_schema: Any = Field(description="null: no input, or no JSON; {}: any value")
    output_json_schema: Any = Field(description="null: no JSON; {}: any value")
    idempotency_retention: int | None = Field(description="ms; null: the default, 24 hours")
    workflow_completion_retention: int | None = Field(description="ms; null: the default, 24 hours")
    journal_retention: int | None = Field(description="ms; null: the default")


class ServiceBody(_Answered):
    name: str
    ty: Literal["Service", "VirtualObject", "Workflow"]
    public: bool
    documentation: str | None
    metadata: dict[str, Any]
    partitions: int
    consumer_group: str
    handlers: list[HandlerBody]


class ServicesBody(_Answered):
    services: list[ServiceBody]


class HandlersBody(_Answered):
    handlers: list[HandlerBody]


class ServiceChange(_Asked):
    public: bool


# -- state


class StateBody(_Answered):
    object_key: str
    state: dict[str, list[Byte]]
    version: str = Field(description="Names this state: give it to a patch that is to replace no other.")


class StatePatch(_Asked):
    object_key: Text
    new_state: dict[Text, list[Byte]] = Field(description="All values of the key, as bytes; others are cleared.")
    version: Text | None = Field(default=None, description="Patch only if the state is still this one, else 409.")


class PatchedBody(_Answered):
    invocation_id: str = Field(description="The patch waits in its key's queue, as this invocation.")
    applied: bool = Field(description="false: it waits behind a handler that runs")
    message: str


# -- invocations


class LineBody(_Answered):
    index: int
    entry_type: str
    description: str
    name: str | None
    command_index: int | None
    completed: bool | None
    invoked_id: str | None
    invoked_target: str | None
    sleep_wakeup_at: str | None
    appended_at: str | None
    duration_ms: int | None = Field(description="Of a result: since its command.")
    bytes: int | None
    failure: str | None


class RelativeBody(_Answered):
    id: str
    target: str
    relation: Literal["called", "sent"]
    command_index: int | None = Field(description="Where in the journal of the caller it was made.")
    status: str | None = Field(description="null: the store does not have it; over, or not accepted yet")
    answered: bool | None
    callees: list[RelativeBody]


class InvocationBody(_Answered):
    id: str
    target: str
    target_service_name: str
    target_service_key: str | None
    target_handler_name: str
    status: Status
    ending: str | None = Field(description="cancel or kill: asked for, and on its way")
    idempotency_key: str | None
    created_at: str | None
    completed_at: str | None
    completion_expires_at: str | None
    scheduled_start_at: str | None
    next_retry_at: str | None
    retry_count: int
    last_failure: str | None
    completion_result: Literal["success", "failure"] | None
    completion_failure: str | None
    input_bytes: int | None
    result_bytes: int | None
    wanted_by: list[str]


class InvocationsBody(_Answered):
    invocations: list[InvocationBody]
    after: str | None = Field(description="Where the next page begins; null: there is none.")


class DescribedBody(InvocationBody):
    waits_for: list[str]
    journal: list[LineBody] | None = Field(description="null: not kept")
    callers: list[RelativeBody] = Field(description="Each waits for the next; the outermost first.")
    callees: list[RelativeBody]


class DoneBody(_Answered):
    message: str


class RestartedBody(_Answered):
    new_invocation_id: str


class Selection(_Asked):
    """Which invocations; at least one of `service`, `handler`, `key`, `status` and `ids` has to be there."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("service", "handler", "key", "status", "ids")
            ]
        },
    )

    service: Text | None = None
    handler: Text | None = None
    key: Text | None = None
    status: Status | None = Field(
        default=None, description="null: completed for purges and restarts, all others for the rest"
    )
    ids: list[str] | None = Field(default=None, max_length=10_000, description="These instead.")
    limit: Annotated[int, BeforeValidator(_whole)] = Field(default=1_000, ge=1, le=10_000)


class OutcomeBody(_Answered):
    id: str
    status: int
    message: str
    new_invocation_id: str | None


class BatchBody(_Answered):
    done: int
    failed: int
    more: bool = Field(description="Others fit as well, beyond the limit: ask again.")
    outcomes: list[OutcomeBody]


# -- who waits for whom


class EdgeBody(_Answered):
    id: str
    because: Literal["key", "call", "attach"]


class NodeBody(_Answered):
    id: str
    target: str
    status: str
    created_at: str | None
    waits_for: list[EdgeBody]


class DeadlockBody(_Answered):
    cycle: list[NodeBody] = Field(description="Each waits for the next, the last one for the first.")
    others: list[NodeBody]


class WaitsBody(_Answered):
    nodes: list[NodeBody]
    deadlocks: list[DeadlockBody]
    truncated: bool


# -- topics, shards, dead letters


class OffsetsBody(_Answered):
    partition: int
    begin: int
    end: int


class TopicBody(_Answered):
    name: str
    kind: str
    service: str | None
    id: str
    partitions: list[OffsetsBody]
    config: dict[str, str]


class TopicsBody(_Answered):
    topics: list[TopicBody]


class ReadingBody(_Answered):
    topic: str
    next: int | None
    end: int
    lag: int


class ShardBody(_Answered):
    service: str
    partition: int
    owner: str | None
    lease: str | None
    takes: int
    commits: int
    invocations: int
    outbox: int
    parked_signals: int
    broken: str | None
    reads: list[ReadingBody]


class ShardsBody(_Answered):
    shards: list[ShardBody]


class HeaderBody(_Answered):
    name: str
    value: str | None = Field(description="base64")


class DeadLetterBody(_Answered):
    partition: int
    offset: int
    written_at: str
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int = Field(description="-1: it never got there")
    key: str | None = Field(description="base64")
    value_bytes: int | None


class DeadLettersBody(_Answered):
    dead_letters: list[DeadLetterBody]
    before: str | None = Field(description="Where older ones begin; null: there are none.")


class WholeDeadLetterBody(DeadLetterBody):
    value: str | None = Field(description="base64")
    headers: list[HeaderBody]


class RequeuedBody(_Answered):
    topic: str
    partition: int


# -- SQL


class QueryBody(_Asked):
    query: Text = Field(min_length=1)


class RowsBody(_Answered):
    rows: list[dict[str, Any]]
    truncated: bool = Field(default=False, description="There were more rows than the limit.")


def id_pattern(largest: str, digits: str) -> str:
    """A regular expression for ids up to `largest`, numbers of a fixed width in these digits, given in their order."""
    ways = []
    for place, digit in enumerate(largest):
        below = digits[: digits.index(digit)]
        if below:
            rest = len(largest) - place - 1
            ways.append(f"{re.escape(largest[:place])}[{below}][{digits}]{{{rest}}}")
    return f"^inv_(?:{'|'.join([*ways, re.escape(largest)])})$"
