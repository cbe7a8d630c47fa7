"""`barnabas scheduler`: one member of the group that releases delayed messages when they are due, or several."""

from __future__ import annotations

from functools import partial

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import (
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
from barnabas.scheduler.process import SchedulerProcess


def scheduler(
    processes: ProcessesOption = 1,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    instance_id: InstanceOption = None,
    drain_seconds: DrainOption = None,
    health_port: HealthPortOption = None,
    log_level: LogLevelOption = "info",
    supervised: SupervisedOption = False,
) -> None:
    """Release the delayed messages of a namespace when they are due, until SIGTERM or Ctrl-C.

    One has to run wherever messages are delayed; more share the work, and take over from one that ends. Its group is
    {namespace}.schedulers. Prints "ready". Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    settings = configuring.settings_of(
        None,
        namespace,
        kafka=kafka,
        redis=redis,
        instance_id=instance_id,
        drain_seconds=drain_seconds,
        health_port=health_port,
    )
    if processes > 1:
        raise typer.Exit(members.supervise(scheduler_command(log_level), settings, processes))
    what = f"delayed messages of namespace {settings.namespace}"
    serving = members.serve(
        partial(SchedulerProcess, settings), what, supervised=supervised, probes=members.health_of(settings)
    )
    raise typer.Exit(members.run(serving))


def scheduler_command(log_level: str) -> list[str]:
    """The command line of a scheduler that ends when whoever started it ends."""
    return members.command("scheduler", log_level=log_level)
