"""`barnabas topics plan|apply|list|shards`: the topics that an app needs, and how far they are read."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from barnabas.cli import configuring
from barnabas.cli.asking import JsonOption, RedisOption, ask_gateway, print_json
from barnabas.cli.configuring import AppArgument, KafkaOption, NamespaceOption
from barnabas.cli.topic_setup import Comparison, WrongPartitions, apply, compare
from barnabas.contract.topics import ConfigDiffers, Create, PartitionsDiffer, Step
from barnabas.ingress.admin.views import shard
from barnabas.ingress.gateway import Gateway
from barnabas.introspection.shards import ShardState, read_shards
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.port import LogUnavailableError

app = typer.Typer(
    help="Compare and create the topics that an app needs; see how far they are read.", no_args_is_help=True
)

_REQUEST_SECONDS = 10.0
PartitionsOption = Annotated[
    int | None,
    typer.Option("--partitions", min=1, help="Partitions of every service; as they are, or 8, unless given."),
]


@app.command("plan")
def plan_(
    target: AppArgument,
    partitions: PartitionsOption = None,
    kafka: KafkaOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Say what `apply` would do. Ends with 1 if it would refuse."""
    _, found = _compared(target, kafka, namespace, partitions)
    _print_steps(found)
    if any(isinstance(step, PartitionsDiffer) for step in found.steps):
        raise typer.Exit(configuring.FAILED)


@app.command("apply")
def apply_(
    target: AppArgument,
    partitions: PartitionsOption = None,
    kafka: KafkaOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Create what is missing and set what differs. Refuses, with 1, where partition counts differ."""
    admin, found = _compared(target, kafka, namespace, partitions)
    _print_steps(found)
    try:
        with configuring.explained(LogUnavailableError, ValueError):
            asyncio.run(apply(admin, found))
    except WrongPartitions as error:
        configuring.refuse(str(error), configuring.FAILED)


@app.command("list")
def list_(target: AppArgument, kafka: KafkaOption = None, namespace: NamespaceOption = None) -> None:
    """Show the app's topics as they are."""
    _, found = _compared(target, kafka, namespace, None)
    table = _table("topic", "partitions", "retention", "max. record")
    for topic in found.topics:
        if topic not in found.existing:
            table.add_row(topic, "[red]missing[/]", "", "")
            continue
        count, config = found.existing[topic]
        table.add_row(topic, str(count), _days(config["retention.ms"]), f"{int(config['max.message.bytes']) >> 10} KiB")
    Console().print(table)


@app.command()
def shards(
    service: Annotated[str | None, typer.Option("--service", help="Only this one's; @delays: the scheduler's.")] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who owns which shard, and how many records of its topics are not read yet.

    Ends with 0, with 1 if a shard is closed because its store is damaged, 2 without an answer.
    """

    async def ask(gateway: Gateway) -> list[ShardState]:
        return await read_shards(gateway.store, gateway.admin, gateway.names, gateway.services(), service)

    found = ask_gateway(kafka, redis, namespace, ask)
    if as_json:
        print_json({"shards": [shard(one).model_dump() for one in found]})
    else:
        _print_shards(found)
    if any(one.broken for one in found):
        raise typer.Exit(configuring.FAILED)


def _print_shards(found: list[ShardState]) -> None:
    table = _table("shard", "owner", "commits", "invocations", "outbox", "lag", "")
    for one in found:
        lags = ", ".join(f"{each.topic.rpartition('.')[2]} {each.lag}" for each in one.readings)
        owner = escape(one.owner) if one.owner is not None else "[yellow]nobody yet[/]"
        numbers = (str(one.commits), str(one.invocations), str(one.outbox))
        table.add_row(f"{one.service}/{one.partition}", owner, *numbers, lags, f"[red]{escape(one.broken or '')}[/]")
    Console(highlight=False).print(table)


def _compared(
    target: str, kafka: str | None, namespace: str | None, partitions: int | None
) -> tuple[KafkaAdmin, Comparison]:
    served = configuring.app_named(target)
    bootstrap = configuring.bootstrap_of(kafka)
    with configuring.explained(LogUnavailableError, ValueError):
        admin = KafkaAdmin(configuring.kafka_of(bootstrap, request_seconds=_REQUEST_SECONDS))
        return admin, asyncio.run(compare(admin, configuring.namespace_of(namespace, served), served, partitions))
    raise AssertionError("explained() ends the command")


def _print_steps(found: Comparison) -> None:
    steps = {step.topic: step for step in found.steps if not isinstance(step, ConfigDiffers)}
    changes = {step.topic: step for step in found.steps if isinstance(step, ConfigDiffers)}
    table = _table("", "topic", "partitions", "settings")
    for topic in found.topics:
        step: Step | None = steps.get(topic) or changes.get(topic)
        count = str(found.existing[topic][0]) if topic in found.existing else ""
        table.add_row(*_row(step, topic, count))
    Console().print(table)


def _row(step: Step | None, topic: str, count: str) -> tuple[str, str, str, str]:
    match step:
        case Create():
            return (
                "[green]create[/]",
                topic,
                str(step.partitions),
                "\n".join(f"{k}={v}" for k, v in step.config.items()),
            )
        case ConfigDiffers():
            changes = [f"{name}: {found} -> {wanted}" for name, (found, wanted) in step.differences.items()]
            return "[yellow]change[/]", topic, count, "\n".join(changes)
        case PartitionsDiffer():
            return "[red]refuse[/]", topic, f"{step.found}, declared {step.declared}", ""
        case None:
            return "as declared", topic, count, ""


def _days(milliseconds: str) -> str:
    value = int(milliseconds)
    days = value / 86_400_000
    return "for ever" if value < 0 else f"{days:g} day{'' if days == 1 else 's'}"


def _table(*columns: str) -> Table:
    """A table whose cells are folded where the terminal is narrow, never cut."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
