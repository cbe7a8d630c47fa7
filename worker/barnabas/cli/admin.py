"""`barnabas admin`: the admin API of a namespace, one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import KafkaOption, LogLevelOption, NamespaceOption, RedisOption, SupervisedOption
from barnabas.cli.doors import AnonymousOption, DrainOption, host_option, port_option, settings_of
from barnabas.ingress.admin.settings import AdminSettings

if TYPE_CHECKING:
    from barnabas.ingress.admin.process import AdminProcess


def admin(
    port: Annotated[int | None, port_option("admin", 9070)] = None,
    host: Annotated[str | None, host_option("admin")] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    drain_seconds: DrainOption = None,
    allow_anonymous: AnonymousOption = False,
    log_level: LogLevelOption = "info",
    supervised: SupervisedOption = False,
) -> None:
    """Serve the admin API over HTTP, until SIGTERM or Ctrl-C; any number may run.

    Prints "ready" and where it listens; GET /health answers from then on, GET /openapi describes it. Needs the extra
    barnabas[admin]. Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    settings = settings_of(
        AdminSettings,
        "admin",
        host=host,
        port=port,
        namespace=namespace,
        allow_anonymous=allow_anonymous,
        kafka=kafka,
        redis=redis,
        drain_seconds=drain_seconds,
    )
    raise typer.Exit(members.run(serve(settings, supervised=supervised)))


async def serve(settings: AdminSettings, *, supervised: bool) -> int:
    """Run one; returns the exit code."""
    try:
        from barnabas.ingress.admin.process import AdminProcess  # FastAPI is an extra, and takes its time to import
    except ModuleNotFoundError as error:
        if error.name != "fastapi":
            raise
        configuring.refuse("the admin API needs FastAPI, which is not installed: pip install 'barnabas[admin]'")
    process: AdminProcess

    def make(on_ready: Callable[[], None]) -> AdminProcess:
        nonlocal process
        process = AdminProcess(settings, on_ready)
        return process

    return await members.serve(make, lambda: f"{process.url} for namespace {settings.namespace}", supervised=supervised)


def admin_command(port: int, log_level: str) -> list[str]:
    """The command line of an admin process that ends when whoever started it ends."""
    return members.command("admin", "--port", str(port), log_level=log_level)
