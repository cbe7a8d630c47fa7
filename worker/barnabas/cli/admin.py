"""`barnabas admin`: the admin API of a namespace, one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import (
    AnonymousOption,
    KafkaOption,
    LogLevelOption,
    NamespaceOption,
    RedisOption,
    SupervisedOption,
)
from barnabas.ingress.admin.settings import AdminSettings

if TYPE_CHECKING:
    from barnabas.ingress.admin.process import AdminProcess


def admin(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65_535, help="Else BARNABAS_ADMIN_PORT, else 9070. 0: any that is free."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Else BARNABAS_ADMIN_HOST, else 127.0.0.1.")
    ] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    drain_seconds: Annotated[
        float | None, typer.Option("--drain-seconds", min=0, help="How long SIGTERM waits for requests under way.")
    ] = None,
    allow_anonymous: AnonymousOption = False,
    log_level: LogLevelOption = "info",
    supervised: SupervisedOption = False,
) -> None:
    """Serve the admin API over HTTP, until SIGTERM or Ctrl-C; any number may run.

    Prints "ready" and where it listens; GET /health answers from then on, GET /openapi describes it. Needs the extra
    barnabas[admin]. Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    settings = configuring.settings_as(
        AdminSettings,
        configuring.namespace_of(namespace),
        kafka=kafka,
        redis=redis,
        admin_host=host,
        admin_port=port,
        drain_seconds=drain_seconds,
        authentication="none" if allow_anonymous else None,
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
