"""Invocations: lists, descriptions, what is done to them, and who waits for whom. Routes of the admin API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from barnabas.ingress.admin import views
from barnabas.ingress.admin.admin import Admin, AdminError, AdminPart, IdPath, errors, parsed_id
from barnabas.ingress.admin.bodies import (
    BatchBody,
    DescribedBody,
    DoneBody,
    InvocationsBody,
    Operation,
    OutcomeBody,
    RestartedBody,
    Selection,
    Status,
    WaitsBody,
)
from barnabas.ingress.admin.operations import Batch, Outcome, operate, operate_on_all, operate_on_fitting
from barnabas.introspection.deadlocks import find_deadlocks
from barnabas.introspection.invocations import describe_invocation
from barnabas.introspection.listing import MalformedCursor, Wanted, list_page
from barnabas.introspection.reading import Places, read_namespace

router = APIRouter(tags=["invocations"])

#: Nodes of the wait-for graph that are shown.
_MOST_NODES = 10_000
_DONE_BEFORE: dict[int | str, dict[str, Any]] = {200: {"model": DoneBody, "description": "Done."}}


@router.get("/invocations", responses=errors())
async def list_invocations(
    admin: AdminPart,
    service: Annotated[str | None, Query()] = None,
    handler: Annotated[str | None, Query()] = None,
    key: Annotated[str | None, Query(description="Of the object or workflow.")] = None,
    status: Annotated[Status | None, Query(description="All that are not completed unless given.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    after: Annotated[str | None, Query(description="As a former page says.")] = None,
) -> InvocationsBody:
    """Invocations that fit, page by page."""
    wanted = Wanted(service, handler, key, status)
    try:
        page = await list_page(admin.gateway.store, admin.gateway.services(), wanted, limit, after)
    except MalformedCursor as error:
        raise AdminError(400, str(error)) from None
    return InvocationsBody(invocations=[views.invocation(one) for one in page.pictures], after=page.after)


@router.get("/invocations/{invocation_id}", responses=errors(404))
async def describe(invocation_id: IdPath, admin: AdminPart) -> DescribedBody:
    """One invocation with its journal, without values; who has called it, and what it has called."""
    id_ = parsed_id(invocation_id)
    picture = await describe_invocation(admin.gateway.store, admin.gateway.services(), id_)
    if picture is None:
        raise AdminError(404, f"the store has no invocation {id_}: it is over and not kept, or never was")
    return views.described(picture)


@router.patch("/invocations/{invocation_id}/cancel", status_code=202, responses=_DONE_BEFORE | errors(404, 409, 504))
async def cancel(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """Cancel it and what it has called: a terminal error 409 at their next awaits. 200: it is over, and never began."""
    return await _done(admin, "cancel", invocation_id, response)


@router.patch("/invocations/{invocation_id}/kill", responses=errors(404, 409, 504))
async def kill(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """End it and what it has called, at once and without compensation."""
    return await _done(admin, "kill", invocation_id, response)


@router.patch("/invocations/{invocation_id}/pause", status_code=202, responses=_DONE_BEFORE | errors(404, 409, 504))
async def pause(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """Make no further attempts until it is resumed. 200: it was paused before."""
    return await _done(admin, "pause", invocation_id, response)


@router.patch("/invocations/{invocation_id}/resume", responses=errors(404, 409, 425, 504))
async def resume(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """Try a paused one again, or one that backs off at once; its failed attempts are forgotten."""
    return await _done(admin, "resume", invocation_id, response)


@router.patch("/invocations/{invocation_id}/purge", responses=errors(404, 409, 504))
async def purge(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """Forget one that is over; a workflow's state and promises too, its key is free then."""
    return await _done(admin, "purge", invocation_id, response)


@router.patch("/invocations/{invocation_id}/purge-journal", responses=errors(404, 409, 504))
async def purge_journal(invocation_id: IdPath, admin: AdminPart, response: Response) -> DoneBody:
    """Forget input and journal of one that is over; its result is kept."""
    return await _done(admin, "purge-journal", invocation_id, response)


@router.patch("/invocations/{invocation_id}/restart-as-new", responses=errors(404, 409, 410, 422, 504))
async def restart(
    invocation_id: IdPath,
    admin: AdminPart,
    keep: Annotated[
        int, Query(alias="from", ge=0, le=2**31 - 1, description="Keep the journal up to this command.")
    ] = 0,
) -> RestartedBody:
    """Run one that is over again, with the same input and headers, as another invocation."""
    outcome = await _operated(admin, "restart-as-new", invocation_id, keep)
    if outcome.new_invocation_id is None:
        raise AdminError(504, outcome.message)
    return RestartedBody(new_invocation_id=outcome.new_invocation_id)


@router.post("/batch/invocations/{operation}", responses=errors(413))
async def operate_on_many(operation: Annotated[Operation, Path()], selection: Selection, admin: AdminPart) -> BatchBody:
    """Do it to all that fit. What came of each is in the answer, which is 200 also where some of them failed."""
    seconds = admin.settings.admin_answer_seconds
    if selection.ids is not None:
        ids = [parsed_id(one) for one in selection.ids]
        batch = Batch(await operate_on_all(admin.gateway, operation, ids, seconds=seconds), more=False)
    else:
        wanted = Wanted(selection.service, selection.handler, selection.key, selection.status)
        if wanted == Wanted():
            raise AdminError(400, "say which: one of service, handler, key, status and ids at least")
        services = dict(admin.gateway.services())
        batch = await operate_on_fitting(
            admin.gateway, services, operation, wanted, limit=selection.limit, seconds=seconds
        )
    done = sum(one.done for one in batch.outcomes)
    return BatchBody(
        done=done,
        failed=len(batch.outcomes) - done,
        more=batch.more,
        outcomes=[
            OutcomeBody(id=str(one.id), status=one.status, message=one.message, new_invocation_id=one.new_invocation_id)
            for one in batch.outcomes
        ],
    )


@router.get("/wait-for-graph", responses=errors())
async def wait_for_graph(admin: AdminPart) -> WaitsBody:
    """Who waits for whom, and the deadlocks among them."""
    services = admin.gateway.services()
    nodes = await read_namespace(admin.gateway.store, Places(services))
    found = await find_deadlocks(admin.gateway.store, services)
    shown = list(nodes.values())[:_MOST_NODES]
    return WaitsBody(
        nodes=[views.node(one) for one in shown],
        deadlocks=[views.deadlock(one) for one in found],
        truncated=len(shown) < len(nodes),
    )


async def _done(admin: Admin, operation: str, invocation_id: str, response: Response) -> DoneBody:
    outcome = await _operated(admin, operation, invocation_id)
    response.status_code = outcome.status
    return DoneBody(message=outcome.message)


async def _operated(admin: Admin, operation: str, invocation_id: str, keep: int = 0) -> Outcome:
    id_ = parsed_id(invocation_id)
    seconds = admin.settings.admin_answer_seconds
    outcome = await operate(admin.gateway, operation, id_, keep=keep, seconds=seconds)
    if not outcome.done:
        raise AdminError(outcome.status, outcome.message)
    return outcome
