"""Topics, shards, dead letters and SQL: routes of the admin API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from barnabas.ingress.admin import views
from barnabas.ingress.admin.admin import Admin, AdminError, AdminPart, errors
from barnabas.ingress.admin.bodies import (
    DeadLettersBody,
    QueryBody,
    RequeuedBody,
    RowsBody,
    ShardsBody,
    TopicsBody,
    WholeDeadLetterBody,
)
from barnabas.ingress.admin.documents import ingress_document
from barnabas.ingress.admin.requeue import NotRequeued, requeue
from barnabas.introspection.dead_letters import Found, list_dead_letters, read_dead_letter
from barnabas.introspection.listing import MalformedCursor
from barnabas.introspection.shards import read_shards, read_topics
from barnabas.introspection.sql import NoDuckdb, QueryRefused, QueryTooSlow, plain_rows, run_query
from barnabas.store.looking import TooLarge

router = APIRouter()

PartitionPath = Annotated[int, Path(ge=0, le=2**31 - 1)]
OffsetPath = Annotated[int, Path(ge=0, le=2**63 - 1)]


@router.get("/health", tags=["process"])
async def health() -> dict[str, str]:
    """The process works."""
    return {}


@router.get("/openapi-ingress", tags=["process"], responses=errors())
async def ingress_openapi(admin: AdminPart) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the ingress, with all public services."""
    services = admin.gateway.services()
    return ingress_document(services[name] for name in sorted(services))


@router.get("/topics", tags=["shards"], responses=errors())
async def list_topics(admin: AdminPart) -> TopicsBody:
    """The namespace's topics, and which offsets they hold."""
    gateway = admin.gateway
    found = await read_topics(gateway.admin, gateway.names, gateway.services())
    return TopicsBody(topics=[views.topic(one) for one in found])


@router.get("/shards", tags=["shards"], responses=errors())
async def list_shards(
    admin: AdminPart, service: Annotated[str | None, Query(description="@delays: the scheduler's.")] = None
) -> ShardsBody:
    """Who owns which shard, and how far its topics are read."""
    gateway = admin.gateway
    found = await read_shards(gateway.store, gateway.admin, gateway.names, gateway.services(), service)
    return ShardsBody(shards=[views.shard(one) for one in found])


@router.get("/dead-letters", tags=["dead letters"], responses=errors())
async def dead_letters(
    admin: AdminPart,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[str | None, Query(description="As a former page says.")] = None,
) -> DeadLettersBody:
    """Records that nobody could read or deliver, the latest first."""
    gateway = admin.gateway
    try:
        page = await list_dead_letters(gateway.admin, gateway.reader, gateway.names.dead_letters, limit, before)
    except MalformedCursor as error:
        raise AdminError(400, str(error)) from None
    return DeadLettersBody(dead_letters=[views.dead_letter(one) for one in page.letters], before=page.before)


@router.get("/dead-letters/{partition}/{offset}", tags=["dead letters"], responses=errors(404))
async def dead_letter(partition: PartitionPath, offset: OffsetPath, admin: AdminPart) -> WholeDeadLetterBody:
    """One of them, with its content."""
    return views.whole_dead_letter(await _letter(admin, partition, offset))


@router.post("/dead-letters/{partition}/{offset}/requeue", tags=["dead letters"], responses=errors(404, 409, 413))
async def requeue_dead_letter(partition: PartitionPath, offset: OffsetPath, admin: AdminPart) -> RequeuedBody:
    """Put its record back to the topic it came from. Raw records that are put back twice run twice."""
    try:
        record = await requeue(admin.gateway, await _letter(admin, partition, offset))
    except NotRequeued as error:
        raise AdminError(409, str(error)) from None
    return RequeuedBody(topic=record.topic, partition=record.partition)


@router.post("/query", tags=["sql"], responses=errors(501), response_model_exclude_defaults=True)
async def query(body: QueryBody, admin: AdminPart) -> RowsBody:
    """Answer SQL over the store's tables: sys_invocation, sys_journal, sys_inbox, state, ..."""
    settings = admin.settings
    try:
        async with admin.querying:
            answer = await run_query(
                admin.looks,
                admin.gateway.services(),
                body.query,
                most_rows=settings.admin_query_rows,
                seconds=settings.admin_query_seconds,
            )
    except NoDuckdb as error:
        raise AdminError(501, str(error)) from None
    except (QueryRefused, QueryTooSlow, TooLarge) as error:
        raise AdminError(400, str(error)) from None
    return RowsBody(rows=plain_rows(answer), truncated=answer.truncated)


async def _letter(admin: Admin, partition: int, offset: int) -> Found:
    topic = admin.gateway.names.dead_letters
    found = await read_dead_letter(admin.gateway.admin, admin.gateway.reader, topic, partition, offset)
    if found is None:
        raise AdminError(404, f"{topic} has no record {offset} in partition {partition}, or none any more")
    return found
