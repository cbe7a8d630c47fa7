"""`barnabas invoke`: one call or send over Kafka, from a shell."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer

from barnabas.cli import configuring
from barnabas.cli.client_options import client_options
from barnabas.cli.configuring import KafkaOption, NamespaceOption
from barnabas.cli.targets import Target, Wish, parse_delay, parse_headers, parse_target
from barnabas.client.client import Client
from barnabas.client.errors import KafkaUnreachable
from barnabas.sdk.errors import TerminalError


def invoke(
    target: Annotated[str, typer.Argument(help="Service/handler, or Object/key/handler with the key percent-encoded.")],
    argument: Annotated[
        str | None, typer.Argument(metavar="[JSON|-]", help="The input; - reads it from stdin. None: no input.")
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Do not wait for the result; print the id.")] = False,
    delay: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Send, and start so much later: 10s, 1h30m, 2 days or PT10S."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Requests with the same key are one.")
    ] = None,
    workflow: Annotated[
        bool, typer.Option("--workflow", help="The handler is a workflow's main one, which runs once a key.")
    ] = False,
    header: Annotated[list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="May be repeated.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait for the result.")] = None,
    kafka: KafkaOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Run a handler and print its result. Ends with 1 if the handler failed or took too long, 2 if it was not asked."""
    with configuring.explained(ValueError):
        place, headers = parse_target(target, workflow), parse_headers(header or ())
        wish = Wish(headers, idempotency_key, None if delay is None else parse_delay(delay))
    payload = sys.stdin.buffer.read() if argument == "-" else (argument or "").encode()
    bootstrap = configuring.bootstrap_of(kafka)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say is in the sentence at the end
    try:
        with configuring.explained(KafkaUnreachable, ValueError):
            answer = asyncio.run(
                _invoke(
                    bootstrap,
                    configuring.namespace_of(namespace),
                    place,
                    payload,
                    wish,
                    send or wish.delay is not None,
                    timeout,
                )
            )
    except TerminalError as error:
        metadata = "".join(f"\n  {name}: {value}" for name, value in (error.metadata or {}).items())
        configuring.refuse(f"[{error.status_code}] {error.message}{metadata}", configuring.FAILED)
    except TimeoutError:
        configuring.refuse(f"no result of {target} after {timeout:g} s; the invocation goes on", configuring.FAILED)
    _print(answer)


async def _invoke(
    bootstrap: str,
    namespace: str,
    place: Target,
    payload: bytes,
    wish: Wish,
    send: bool,
    seconds: float | None,
) -> bytes:
    async with Client(bootstrap, namespace, **client_options(configuring.kafka_of(bootstrap).options)) as client:
        if send:
            sent = await client.generic_send(
                place.service,
                place.handler,
                payload,
                place.key,
                wish.delay,
                wish.idempotency_key,
                wish.headers,
                workflow_run=place.workflow,
            )
            return sent.invocation_id.encode()
        return await client.generic_call(
            place.service,
            place.handler,
            payload,
            place.key,
            wish.idempotency_key,
            wish.headers,
            workflow_run=place.workflow,
            timeout=seconds,
        )


def _print(answer: bytes) -> None:
    """As it came; a terminal gets the line's end that results do not have."""
    sys.stdout.buffer.write(answer)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
