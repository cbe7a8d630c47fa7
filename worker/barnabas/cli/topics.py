"""`barnabas topics plan|apply|list|shards`: the topics that an app needs, and how far they are read."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from barnabas.cli import configuring
from barnabas.cli.asking import JsonOption, RedisOption, ask_gateway, print_json
from barnabas.cli.configuring import AppArgument, KafkaOption, NamespaceOption
from barnabas.cli.printing import console, one_line, table
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
    as_json: JsonOption = False,
) -> None:
    """Say what `apply` would do. Ends with 1 if it would refuse."""
    _, found = _compared(target, kafka, namespace, partitions)
    _print_steps(found, as_json)
    if any(isinstance(step, PartitionsDiffer) for step in found.steps):
        raise typer.Exit(configuring.FAILED)


@app.command("apply")
def apply_(
    target: AppArgument,
    partitions: PartitionsOption = None,
    kafka: KafkaOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create what is missing and set what differs. Refuses, with 1, where partition counts differ."""
    admin, found = _compared(target, kafka, namespace, partitions)
    _print_steps(found, as_json)
    try:
        with configuring.explained(LogUnavailableError, ValueError):
            asyncio.run(apply(admin, found))
    except WrongPartitions as error:
        configuring.refuse(str(error), configuring.FAILED)


@app.command("list")
def list_(
    target: AppArgument, kafka: KafkaOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False
) -> None:
    """Show the app's topics as they are."""
    _, found = _compared(target, kafka, namespace, None)
    if as_json:
        print_json({"topics": [_plain_topic(found, topic) for topic in found.topics]})
        return
    rows = table("topic", "partitions", "retention", "max. record")
    for topic in found.topics:
        if topic not in found.existing:
            rows.add_row(topic, "[red]missing[/]", "", "")
            continue
        count, config = found.existing[topic]
        rows.add_row(topic, str(count), _days(config["retention.ms"]), f"{int(config['max.message.bytes']) >> 10} KiB")
    console().print(rows)


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
    rows = table("shard", "owner", "commits", "invocations", "outbox", "lag", "")
    for one in found:
        lags = ", ".join(f"{each.topic.rpartition('.')[2]} {each.lag}" for each in one.readings)
        owner = one_line(one.owner) if one.owner is not None else "[yellow]nobody yet[/]"
        numbers = (str(one.commits), str(one.invocations), str(one.outbox))
        rows.add_row(f"{one.service}/{one.partition}", owner, *numbers, lags, f"[red]{one_line(one.broken or '')}[/]")
    console().print(rows)


def _compared(
    target: str, kafka: str | None, namespace: str | None, partitions: int | None
) -> tuple[KafkaAdmin, Comparison]:
    served = configuring.app_named(target)
    bootstrap = configuring.bootstrap_of(kafka)
    with configuring.explained(LogUnavailableError, ValueError):
        admin = KafkaAdmin(configuring.kafka_of(bootstrap, request_seconds=_REQUEST_SECONDS))
        return admin, asyncio.run(compare(admin, configuring.namespace_of(namespace, served), served, partitions))
    raise AssertionError("explained() ends the command")


def _plain_topic(found: Comparison, topic: str) -> dict[str, Any]:
    count, config = found.existing.get(topic, (None, None))
    return {"name": topic, "exists": topic in found.existing, "partitions": count, "config": config}


def _plain_step(step: Step) -> dict[str, Any]:
    match step:
        case Create():
            return {"topic": step.topic, "action": "create", "partitions": step.partitions, "config": step.config}
        case ConfigDiffers():
            changes = {name: {"found": found, "declared": wanted} for name, (found, wanted) in step.differences.items()}
            return {"topic": step.topic, "action": "change", "config": changes}
        case PartitionsDiffer():
            counts = {"found": step.found, "declared": step.declared}
            return {"topic": step.topic, "action": "refuse", "partitions": counts}


def _print_steps(found: Comparison, as_json: bool) -> None:
    if as_json:
        print_json({"steps": [_plain_step(step) for step in found.steps]})
        return
    steps = {step.topic: step for step in found.steps if not isinstance(step, ConfigDiffers)}
    changes = {step.topic: step for step in found.steps if isinstance(step, ConfigDiffers)}
    rows = table("", "topic", "partitions", "settings")
    for topic in found.topics:
        step: Step | None = steps.get(topic) or changes.get(topic)
        count = str(found.existing[topic][0]) if topic in found.existing else ""
        rows.add_row(*_row(step, topic, count))
    console().print(rows)


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
