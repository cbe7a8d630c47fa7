"""`barnabas subscriptions list|reset`: how far subscriptions are, and setting one to another place.

Also finds the subscriptions of a worker: those of its app, and those of a file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from barnabas.cli import configuring
from barnabas.cli.configuring import AppArgument, KafkaOption, NamespaceOption, RedisOption
from barnabas.cli.printing import console, table
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.port import LogUnavailableError
from barnabas.log.settings import KafkaSettings
from barnabas.sdk.app import App, checked_subscriptions
from barnabas.sdk.subscription import Start, Subscription
from barnabas.store.port import StoreUnavailable
from barnabas.store.redis import RedisStore
from barnabas.subscriptions.declared import NotDeclared, read_subscriptions
from barnabas.subscriptions.reading import Lag, NotReset, lag_of, reset
from barnabas.subscriptions.registry import SchemaRegistry
from barnabas.subscriptions.settings import RegistrySettings
from barnabas.worker.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="Topics whose records become invocations: how far they are read.", no_args_is_help=True)

SubscriptionsOption = Annotated[
    Path | None,
    typer.Option(
        "--subscriptions",
        metavar="FILE",
        envvar="BARNABAS_SUBSCRIPTIONS",
        help="YAML file with subscriptions besides those of the app.",
        show_envvar=True,
    ),
]


def subscriptions_of(app: App, file: Path | None) -> tuple[Subscription, ...]:
    """Those of the app and of the file; ends the process where they make no sense."""
    try:
        more = [] if file is None else read_subscriptions(file)
        return checked_subscriptions([*app.subscriptions, *more])
    except (NotDeclared, ValueError) as error:
        configuring.refuse(str(error))


def registry_of_settings() -> SchemaRegistry | None:
    """The registry that `BARNABAS_REGISTRY` names; ends the process where it names none."""
    settings = RegistrySettings()
    if settings.registry is None:
        return None
    try:
        return SchemaRegistry(settings.registry.get_secret_value(), settings.registry_timeout_seconds)
    except ValueError as error:
        configuring.refuse(str(error))


@app.command("list")
def list_(
    target: AppArgument,
    file: SubscriptionsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show every subscription of an app, partition by partition: what is read next, and how much lies behind it."""
    served = configuring.app_named(target)
    found = subscriptions_of(served, file)
    settings = configuring.settings_of(served, namespace, kafka=kafka, redis=redis)

    async def look(store: RedisStore, admin: KafkaAdmin) -> list[tuple[Subscription, list[Lag]]]:
        sizes = await admin.partitions([one.topic for one in found])
        return [(one, await lag_of(store, admin, one, sizes.get(one.topic, 0))) for one in found]

    seen = _with_servers(settings, look)
    if as_json:
        typer.echo(json.dumps([_as_json(one, lags) for one, lags in seen], indent=2))
    else:
        _print(seen)


@app.command("reset")
def reset_(
    target: AppArgument,
    name: Annotated[str, typer.Argument(help="The subscription's name, as `list` shows it.")],
    to: Annotated[str, typer.Option("--to", help="earliest, latest, or a time with its timezone (ISO 8601).")],
    file: SubscriptionsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Set a subscription to another place: what lies from there on is invoked, also what was before.

    Start workers again whose subscription has stopped. Ends with 2 where that cannot be.
    """
    served = configuring.app_named(target)
    found = subscriptions_of(served, file)
    chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        configuring.refuse(f"there is no subscription '{name}'; there are: {', '.join(one.name for one in found)}")
    start = _start(to)
    settings = configuring.settings_of(served, namespace, kafka=kafka, redis=redis)

    async def do(store: RedisStore, admin: KafkaAdmin) -> dict[int, int]:
        sizes = await admin.partitions([chosen.topic])
        if chosen.topic not in sizes:
            configuring.refuse(f"there is no topic {chosen.topic}")
        return await reset(store, admin, chosen, sizes[chosen.topic], start)

    offsets = _with_servers(settings, do)
    typer.echo(f"{name} goes on from {', '.join(f'[{number}] {offset}' for number, offset in offsets.items())}")


def _start(text: str) -> Start | datetime:
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        configuring.refuse(f"--to {text}: it is neither earliest nor latest nor a time, as in 2026-01-31T12:00:00Z")
    if time.tzinfo is None:
        configuring.refuse(f"--to {text} could be anywhere: give it a timezone, as in {text}Z")
    return time


def _with_servers(settings: Settings, work: Callable[[RedisStore, KafkaAdmin], Awaitable[T]]) -> T:
    async def run() -> T:
        store = RedisStore(settings.redis.get_secret_value(), settings.namespace)
        admin = KafkaAdmin(KafkaSettings(bootstrap=settings.kafka, options=settings.kafka_options))
        try:
            return await work(store, admin)
        finally:
            await store.aclose()

    with configuring.explained(StoreUnavailable, LogUnavailableError, NotReset):
        return asyncio.run(run())
    raise AssertionError("explained() ends the command")


def _print(seen: list[tuple[Subscription, list[Lag]]]) -> None:
    rows = table("subscription", "topic", "handler", "partition", "next", "end", "behind", "outbox")
    for one, lags in seen:
        target = f"{one.service}/{one.handler}"
        if not lags:
            rows.add_row(one.name, one.topic, target, "[red]no such topic[/]", "", "", "", "")
        for lag in lags:
            next_ = "" if lag.next is None else str(lag.next)
            numbers = (str(lag.partition), next_, str(lag.end), str(lag.behind), str(lag.outbox))
            rows.add_row(one.name, one.topic, target, *numbers)
    console().print(rows)


def _as_json(one: Subscription, lags: list[Lag]) -> dict[str, object]:
    partitions = [
        {
            "partition": lag.partition,
            "next": lag.next,
            "first": lag.first,
            "end": lag.end,
            "behind": lag.behind,
            "outbox": lag.outbox,
            "owner": lag.owner,
        }
        for lag in lags
    ]
    return {"name": one.name, "topic": one.topic, "handler": f"{one.service}/{one.handler}", "partitions": partitions}
