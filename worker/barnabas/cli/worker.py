"""`barnabas worker`: one member of the consumer group that serves an app, or several under a supervisor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import (
    AppArgument,
    DrainOption,
    HealthPortOption,
    InstanceOption,
    KafkaOption,
    LogLevelOption,
    NamespaceOption,
    ProcessesOption,
    RedisOption,
    SupervisedOption,
)
from barnabas.cli.subscriptions import SubscriptionsOption, registry_of_settings, subscriptions_of
from barnabas.cli.topic_setup import apply, compare
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.sdk.app import App
from barnabas.subscriptions.beside import WorkerWithSubscriptions
from barnabas.worker.settings import Settings


def worker(
    target: AppArgument,
    processes: ProcessesOption = 1,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Consumer group; {namespace}.workers unless set.")
    ] = None,
    instance_id: InstanceOption = None,
    drain_seconds: DrainOption = None,
    health_port: HealthPortOption = None,
    log_level: LogLevelOption = "info",
    file: SubscriptionsOption = None,
    apply_topics: Annotated[bool, typer.Option("--apply-topics", hidden=True)] = False,
    supervised: SupervisedOption = False,
) -> None:
    """Serve an app until SIGTERM or Ctrl-C, then drain; a second signal ends it at once.

    Reads the topics of its subscriptions as well.

    Prints "ready". Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    app = configuring.app_named(target)
    settings = configuring.settings_of(
        app,
        namespace,
        kafka=kafka,
        redis=redis,
        group=group,
        instance_id=instance_id,
        drain_seconds=drain_seconds,
        health_port=health_port,
    )
    subscriptions, registry = subscriptions_of(app, file), registry_of_settings()
    if processes > 1:
        raise typer.Exit(members.supervise(worker_command(target, log_level, file), settings, processes))
    serving = members.serve(
        partial(WorkerWithSubscriptions, app, subscriptions, settings, registry),
        f"{', '.join(app.services)} in namespace {settings.namespace}",
        supervised=supervised,
        before=partial(apply_topics_of, app, settings) if apply_topics else None,
        probes=members.health_of(settings),
    )
    raise typer.Exit(members.run(serving))


def worker_command(target: str, log_level: str, subscriptions: Path | None = None) -> list[str]:
    """The command line of a worker that ends when whoever started it ends. `subscriptions`: a file of them."""
    more = [] if subscriptions is None else ["--subscriptions", str(subscriptions)]
    return members.command("worker", target, *more, log_level=log_level)


async def apply_topics_of(app: App, settings: Settings) -> None:
    """Create or change what the app needs. Raises WrongPartitions or LogUnavailableError."""
    admin = KafkaAdmin(KafkaSettings(bootstrap=settings.kafka, options=settings.kafka_options))
    await apply(admin, await compare(admin, settings.namespace, app))
