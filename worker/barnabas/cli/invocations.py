"""`barnabas invocations deadlocks|list|describe|cancel|kill`: invocations as the store has them, and ending them.

What is shown is read from the store, without the workers; `cancel` and `kill` are records for them on Kafka.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from barnabas.cli import configuring, invocation_views
from barnabas.cli.configuring import KafkaOption, NamespaceOption
from barnabas.client.client import Client
from barnabas.client.errors import KafkaUnreachable
from barnabas.contract.ids import InvocationId, MalformedId
from barnabas.introspection.deadlocks import find_deadlocks
from barnabas.introspection.graph import Deadlock
from barnabas.introspection.invocations import STATUSES, Picture, Wanted, describe_invocation, list_invocations
from barnabas.sdk.errors import TerminalError
from barnabas.store.port import Store, StoreCorrupt, StoreUnavailable
from barnabas.store.redis import RedisStore

app = typer.Typer(help="Look at invocations, and end them.", no_args_is_help=True)

#: The headers of a busy shard are a large answer.
_STORE_SECONDS = 60.0
_FOUND = 1
_NOT_FOUND = 1

T = TypeVar("T")

RedisOption = Annotated[str | None, typer.Option("--redis", envvar="BARNABAS_REDIS", help="URL of the store.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="An invocation's id, inv_...")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of invocations, inv_...")]


@app.command()
def deadlocks(redis: RedisOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False) -> None:
    """List invocations that wait for each other, so that none of them goes on.

    Ends with 0 if there are none, 1 if there are some, 2 without an answer. To end one, cancel any invocation in it.
    """

    async def ask(store: Store) -> tuple[list[Deadlock], int]:
        return await find_deadlocks(store, await store.services()), await store.time_ms()

    found, now = _asked(redis, namespace, ask)
    if as_json:
        _print_json({"deadlocks": [invocation_views.plain_deadlock(one) for one in found]})
    else:
        invocation_views.print_deadlocks(found, now)
    if found:
        raise typer.Exit(_FOUND)


@app.command("list")
def list_(
    service: Annotated[str | None, typer.Option("--service", help="Only those of this service.")] = None,
    handler: Annotated[str | None, typer.Option("--handler", help="Only those of this handler.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only those of this object or workflow key.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help=f"{', '.join(STATUSES)}; all but completed unless given.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List invocations, those that were accepted first at the top.

    Finished ones are listed with `--status completed`, as long as they are kept. Those that the scheduler
    holds back are not among them until they are due.
    """
    if status is not None and status not in STATUSES:
        configuring.refuse(f"there is no status '{status}': use one of {', '.join(STATUSES)}")
    wanted = Wanted(service, handler, key, status)

    async def ask(store: Store) -> tuple[list[Picture], bool, int]:
        services = await store.services()
        if service is not None and service not in services:
            known = ", ".join(sorted(services)) or "none"
            configuring.refuse(f"no worker has registered a service '{service}' in this namespace; there are: {known}")
        return *await list_invocations(store, services, wanted, limit), await store.time_ms()

    found, more, now = _asked(redis, namespace, ask)
    if as_json:
        _print_json({"invocations": [invocation_views.plain_picture(one) for one in found], "more": more})
    else:
        invocation_views.print_list(found, more, now)


@app.command()
def describe(
    invocation_id: IdArgument,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one invocation: its status, who wants its result, what it waits for, its journal.

    Ends with 1 if the store does not have it.
    """
    id_ = _parsed(invocation_id)

    async def ask(store: Store) -> tuple[Picture | None, int]:
        return await describe_invocation(store, await store.services(), id_), await store.time_ms()

    picture, now = _asked(redis, namespace, ask)
    if picture is None:
        configuring.refuse(
            f"the store has no invocation {id_}: it is over and not kept, not accepted yet, or of another namespace",
            _NOT_FOUND,
        )
    if as_json:
        _print_json(invocation_views.plain_picture(picture))
    else:
        invocation_views.print_picture(picture, now)


@app.command()
def cancel(invocation_ids: IdsArgument, kafka: KafkaOption = None, namespace: NamespaceOption = None) -> None:
    """Cancel invocations and what they call: a terminal error (409) is raised at their next awaits.

    Their handlers compensate, and may also go on. Ends with 0 once Kafka has the requests, 2 if it does not get them.
    """
    _each(invocation_ids, kafka, namespace, Client.cancel)


@app.command()
def kill(invocation_ids: IdsArgument, kafka: KafkaOption = None, namespace: NamespaceOption = None) -> None:
    """End invocations and all that they have called, at once and without compensation.

    Ends with 0 once Kafka has the requests, 2 if it does not get them.
    """
    _each(invocation_ids, kafka, namespace, Client.kill)


def _each(
    texts: list[str], kafka: str | None, namespace: str | None, ask: Callable[[Client, str], Awaitable[None]]
) -> None:
    """Ask for the same thing to be done to each; nothing is asked if one of the ids is none."""
    ids = [_parsed(text) for text in texts]
    bootstrap = configuring.bootstrap_of(kafka)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say is in the sentence at the end

    async def ask_all() -> None:
        async with Client(bootstrap, configuring.namespace_of(namespace)) as client:
            for id_ in ids:
                await ask(client, str(id_))
                typer.echo(str(id_))

    with configuring.explained(KafkaUnreachable, TerminalError, ValueError):
        asyncio.run(ask_all())


def _asked(redis: str | None, namespace: str | None, ask: Callable[[Store], Awaitable[T]]) -> T:
    """The answer to a question about the store, or the end of the process with code 2."""
    if not redis:
        configuring.refuse("where is the store? Set BARNABAS_REDIS=redis://..., or start one with: barnabas stack up")

    async def answer() -> T:
        store = RedisStore(redis, configuring.namespace_of(namespace), timeout_seconds=_STORE_SECONDS)
        try:
            return await ask(store)
        finally:
            await store.aclose()

    with configuring.explained(StoreUnavailable, StoreCorrupt, ValueError):
        return asyncio.run(answer())
    raise AssertionError("explained() ends the command")


def _parsed(text: str) -> InvocationId:
    try:
        return InvocationId.parse(text)
    except MalformedId as error:
        configuring.refuse(str(error))


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))
