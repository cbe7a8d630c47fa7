"""`barnabas ingress`: the HTTP ingress of a namespace, one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from barnabas.cli import configuring, members
from barnabas.cli.configuring import KafkaOption, LogLevelOption, NamespaceOption, RedisOption, SupervisedOption
from barnabas.cli.doors import AnonymousOption, DrainOption, host_option, port_option, settings_of
from barnabas.ingress.process import IngressProcess
from barnabas.ingress.settings import IngressSettings


def ingress(
    port: Annotated[int | None, port_option("ingress", 8080)] = None,
    host: Annotated[str | None, host_option("ingress")] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    drain_seconds: DrainOption = None,
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
    settings = settings_of(
        IngressSettings,
        "ingress",
        host=host,
        port=port,
        namespace=namespace,
        allow_anonymous=allow_anonymous,
        kafka=kafka,
        redis=redis,
        drain_seconds=drain_seconds,
        ingress_cors_origins=cors_origins or None,
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
