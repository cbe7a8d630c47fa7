"""Promises of a workflow: its handlers wait for them, look at them, and fulfil them once."""

from __future__ import annotations

from barnabas import Client, TerminalError, Workflow, WorkflowContext, WorkflowSharedContext
from examples.communication.seen import failure_of

# snippet
approval = Workflow("Approval")


@approval.main()
async def decide(ctx: WorkflowContext) -> str:
    try:
        return await ctx.promise("decision", type_hint=str)  # the same as `.value()`
    except TerminalError as error:
        return f"{error.status_code}: {error.message}"


@approval.handler()
async def look(ctx: WorkflowSharedContext) -> str | None:
    return await ctx.promise("decision", type_hint=str).peek()


@approval.handler()
async def approve(ctx: WorkflowSharedContext) -> None:
    await ctx.promise("decision", type_hint=str).resolve("approved")


@approval.handler()
async def object_to(ctx: WorkflowSharedContext, why: str) -> None:
    await ctx.promise("decision", type_hint=str).reject(why, code=403)


async def main(client: Client, name: str) -> None:
    assert await client.workflow_call(look, name, None) is None
    await client.workflow_call(approve, name, None)  # in advance
    assert await client.workflow_call(decide, name, None) == "approved"
    assert await client.workflow_call(look, name, None) == "approved"
    assert (await failure_of(client.workflow_call(object_to, name, "too late")))[0] == 409  # once and for all

    await client.workflow_call(object_to, f"{name} too", "too dear")
    assert await client.workflow_call(decide, f"{name} too", None) == "403: too dear"


# end
