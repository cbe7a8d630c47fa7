"""`barnabas invocations ...`: invocations as the store has them, and what is done to them by hand.

What is shown is read from the store, without the workers; what is done goes to them through Kafka, and they answer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from barnabas.cli import configuring, invocation_views
from barnabas.cli.asking import (
    NOT_DONE,
    NOT_FOUND,
    IdArgument,
    JsonOption,
    RedisOption,
    ask_gateway,
    ask_store,
    parsed,
    print_json,
)
from barnabas.cli.configuring import KafkaOption, NamespaceOption
from barnabas.ingress.admin.operations import Batch, Outcome, operate, operate_on_all, operate_on_fitting
from barnabas.ingress.gateway import Gateway
from barnabas.introspection.deadlocks import find_deadlocks
from barnabas.introspection.graph import Deadlock
from barnabas.introspection.invocations import describe_invocation
from barnabas.introspection.listing import Page, Wanted, list_page
from barnabas.introspection.pictures import Picture
from barnabas.introspection.statuses import STATUSES
from barnabas.store.port import Service, Store

app = typer.Typer(help="Look at invocations, and operate them.", no_args_is_help=True)

_FOUND = 1

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of invocations, inv_...")]
ServiceOption = Annotated[str | None, typer.Option("--service", help="Only those of this service.")]
HandlerOption = Annotated[str | None, typer.Option("--handler", help="Only those of this handler.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only those of this object or workflow key.")]
StatusOption = Annotated[
    str | None, typer.Option("--status", help=f"{', '.join(STATUSES)}; all but completed unless given.")
]
ManyStatusOption = Annotated[str | None, typer.Option("--status", help="Only those with this status.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]
SecondsOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the workers' answer.")]


@app.command()
def deadlocks(redis: RedisOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False) -> None:
    """List invocations that wait for each other, so that none of them goes on.

    Ends with 0 if there are none, 1 if there are some, 2 without an answer. To end one, cancel any invocation in it.
    """

    async def ask(store: Store) -> tuple[list[Deadlock], int]:
        return await find_deadlocks(store, await store.services()), await store.time_ms()

    found, now = ask_store(redis, namespace, ask)
    if as_json:
        print_json({"deadlocks": [invocation_views.plain_deadlock(one) for one in found]})
    else:
        invocation_views.print_deadlocks(found, now)
    if found:
        raise typer.Exit(_FOUND)


@app.command("list")
def list_(
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    status: StatusOption = None,
    limit: LimitOption = 100,
    after: Annotated[str | None, typer.Option("--after", help="Go on where a former list ended, as it says.")] = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List invocations, shard by shard, those that were accepted first at the top of each.

    Those that the scheduler holds back until they are due come last. Finished ones are listed with
    `--status completed`, as long as they are kept. Ends with 0, or with 2 without an answer.
    """
    wanted = Wanted(service, handler, key, _status(status))

    async def ask(store: Store) -> tuple[Page, int]:
        services = await store.services()
        _check(service, services)
        return await list_page(store, services, wanted, limit, after), await store.time_ms()

    page, now = ask_store(redis, namespace, ask)
    if as_json:
        plain = [invocation_views.plain_picture(one) for one in page.pictures]
        print_json({"invocations": plain, "after": page.after})
    else:
        invocation_views.print_list(page, now)


@app.command()
def describe(
    invocation_id: IdArgument,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one invocation: status, callers and callees, what it waits for, its last failure, its journal.

    Ends with 0, with 1 if the store does not have it, 2 without an answer.
    """
    id_ = parsed(invocation_id)

    async def ask(store: Store) -> tuple[Picture | None, int]:
        return await describe_invocation(store, await store.services(), id_), await store.time_ms()

    picture, now = ask_store(redis, namespace, ask)
    if picture is None:
        configuring.refuse(
            f"the store has no invocation {id_}: it is over and not kept, not accepted yet, or of another namespace",
            NOT_FOUND,
        )
    if as_json:
        print_json(invocation_views.plain_picture(picture))
    else:
        invocation_views.print_picture(picture, now)


_ENDS = "Ends with 0 if it was done to all of them, 1 if to some or none, 2 if nobody could be asked."


@app.command(epilog=_ENDS)
def cancel(
    ids: IdsArgument = None,
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    status: ManyStatusOption = None,
    limit: LimitOption = 1_000,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel invocations and what they call: a terminal error (409) is raised at their next awaits.

    Their handlers compensate, and may also go on. Name invocations by id, or all that fit by --service, --handler,
    --key and --status.
    """
    wanted = Wanted(service, handler, key, _status(status))
    _operate("cancel", ids, wanted, limit, seconds, (kafka, redis, namespace), as_json)


@app.command(epilog=_ENDS)
def kill(
    ids: IdsArgument = None,
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    status: ManyStatusOption = None,
    limit: LimitOption = 1_000,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """End invocations and all that they have called, at once and without compensation."""
    wanted = Wanted(service, handler, key, _status(status))
    _operate("kill", ids, wanted, limit, seconds, (kafka, redis, namespace), as_json)


@app.command(epilog=_ENDS)
def pause(
    ids: IdsArgument = None,
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    status: ManyStatusOption = None,
    limit: LimitOption = 1_000,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make no further attempts of invocations until they are resumed; those that are scheduled cannot be paused."""
    wanted = Wanted(service, handler, key, _status(status))
    _operate("pause", ids, wanted, limit, seconds, (kafka, redis, namespace), as_json)


@app.command(epilog=_ENDS)
def resume(
    ids: IdsArgument = None,
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    status: ManyStatusOption = None,
    limit: LimitOption = 1_000,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try paused invocations again, and those that back off at once; failed attempts are forgotten."""
    wanted = Wanted(service, handler, key, _status(status))
    _operate("resume", ids, wanted, limit, seconds, (kafka, redis, namespace), as_json)


@app.command(epilog=_ENDS)
def purge(
    ids: IdsArgument = None,
    journal: Annotated[bool, typer.Option("--journal", help="Input and journal alone; the result is kept.")] = False,
    service: ServiceOption = None,
    handler: HandlerOption = None,
    key: KeyOption = None,
    limit: LimitOption = 1_000,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget invocations that are over; of workflows state and promises too, and their keys are free."""
    operation = "purge-journal" if journal else "purge"
    _operate(operation, ids, Wanted(service, handler, key), limit, seconds, (kafka, redis, namespace), as_json)


@app.command(epilog=_ENDS)
def restart(
    invocation_id: IdArgument,
    keep: Annotated[int, typer.Option("--from", min=0, help="Keep the journal up to this command; 0: begin anew.")] = 0,
    seconds: SecondsOption = 10.0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one that is over again, with the same input and headers, as a new invocation; prints its id."""
    id_ = parsed(invocation_id)

    async def ask(gateway: Gateway) -> Outcome:
        return await operate(gateway, "restart-as-new", id_, keep=keep, seconds=seconds)

    _report(Batch([ask_gateway(kafka, redis, namespace, ask)], more=False), as_json)


def _operate(
    operation: str,
    texts: list[str] | None,
    wanted: Wanted,
    limit: int,
    seconds: float,
    servers: tuple[str | None, str | None, str | None],
    as_json: bool,
) -> None:
    """Do it to those, or to all that fit; nothing is asked if one of the ids is none."""
    ids = [parsed(text) for text in texts or ()]
    if bool(ids) == (wanted != Wanted()):
        configuring.refuse("say which: ids, or one of --service, --handler, --key and --status, not both")

    async def ask(gateway: Gateway) -> Batch:
        if ids:
            return Batch(await operate_on_all(gateway, operation, ids, seconds=seconds), more=False)
        services = dict(gateway.services())
        _check(wanted.service, services)
        return await operate_on_fitting(gateway, services, operation, wanted, limit=limit, seconds=seconds)

    _report(ask_gateway(*servers, ask), as_json)


def _report(batch: Batch, as_json: bool) -> None:
    if as_json:
        print_json(invocation_views.plain_batch(batch))
    else:
        invocation_views.print_batch(batch)
    if not all(one.done for one in batch.outcomes):
        raise typer.Exit(NOT_DONE)


def _status(text: str | None) -> str | None:
    if text is not None and text not in STATUSES:
        configuring.refuse(f"there is no status '{text}': use one of {', '.join(STATUSES)}")
    return text


def _check(service: str | None, services: dict[str, Service]) -> None:
    if service is not None and service not in services:
        known = ", ".join(sorted(services)) or "none"
        configuring.refuse(f"no worker has registered a service '{service}' in this namespace; there are: {known}")
