"""`barnabas ingress`: the HTTP ingress of a namespace, one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

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
from barnabas.ingress.process import IngressProcess
from barnabas.ingress.settings import IngressSettings


def ingress(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65_535, help="Else BARNABAS_INGRESS_PORT, else 8080. 0: any that is free."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Else BARNABAS_INGRESS_HOST, else 127.0.0.1.")
    ] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    drain_seconds: Annotated[
        float | None, typer.Option("--drain-seconds", min=0, help="How long SIGTERM waits for requests under way.")
    ] = None,
    allow_anonymous: AnonymousOption = False,
    cors_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            metavar="ORIGIN",
            help="Let web pages of this origin call: https://shop.example, or * for all. May be repeated. "
            "Else BARNABAS_INGRESS_CORS_ORIGINS, with commas between; else none.",
        ),
    ] = None,
    log_level: LogLevelOption = "info",
    supervised: SupervisedOption = False,
) -> None:
    """Take calls, sends and questions over HTTP, until SIGTERM or Ctrl-C; any number may run.

    Speaks the ingress interface of Restate. Prints "ready" and where it listens; GET /restate/health answers from then
    on. Ends with 0 when drained, 1 when it failed, 2 when it cannot start.
    """
    configuring.log_to_stderr(log_level)
    settings = configuring.settings_as(
        IngressSettings,
        configuring.namespace_of(namespace),
        kafka=kafka,
        redis=redis,
        ingress_host=host,
        ingress_port=port,
        drain_seconds=drain_seconds,
        ingress_cors_origins=cors_origins or None,
        authentication="none" if allow_anonymous else None,
    )
    members.raise_file_limit()
    raise typer.Exit(members.run(serve(settings, supervised=supervised)))


async def serve(settings: IngressSettings, *, supervised: bool) -> int:
    """Run one; returns the exit code."""
    process: IngressProcess

    def make(on_ready: Callable[[], None]) -> IngressProcess:
        nonlocal process
        process = IngressProcess(settings, on_ready)
        return process

    return await members.serve(make, lambda: f"{process.url} for namespace {settings.namespace}", supervised=supervised)


def ingress_command(port: int, log_level: str) -> list[str]:
    """The command line of an ingress that ends when whoever started it ends."""
    return members.command("ingress", "--port", str(port), log_level=log_level)
