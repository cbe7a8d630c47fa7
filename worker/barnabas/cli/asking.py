"""What the commands that look and operate share: the store or a gateway for one question, JSON, outages as exit codes.

They go to Kafka and the store themselves; no admin process has to run.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from barnabas.cli import configuring
from barnabas.contract.ids import InvocationId, MalformedId
from barnabas.ingress.errors import GatewayError
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.settings import GatewaySettings
from barnabas.log.port import LogUnavailableError
from barnabas.store.looking import Looks, RedisLooks, TooLarge
from barnabas.store.port import Store, StoreCorrupt, StoreUnavailable, UnsafeStore
from barnabas.store.redis import RedisStore
from barnabas.worker.member import NotReady

#: The headers of a busy shard are a large answer.
STORE_SECONDS = 60.0
NOT_FOUND = 1
NOT_DONE = 1

#: What keeps a command from its answer, each with a message for people.
OUTAGES = (
    StoreUnavailable,
    StoreCorrupt,
    LogUnavailableError,
    NotReady,
    UnsafeStore,
    GatewayError,
    TooLarge,
    ValueError,
)

T = TypeVar("T")

RedisOption = Annotated[str | None, typer.Option("--redis", envvar="BARNABAS_REDIS", help="URL of the store.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="An invocation's id, inv_...")]


def ask_store(redis: str | None, namespace: str | None, ask: Callable[[Store], Awaitable[T]]) -> T:
    """The answer to a question about the store, or the end of the process with code 2."""
    url = _redis(redis)

    async def answer() -> T:
        store = RedisStore(url, configuring.namespace_of(namespace), timeout_seconds=STORE_SECONDS)
        try:
            return await ask(store)
        finally:
            await store.aclose()

    return _run(answer)


def ask_looks(redis: str | None, namespace: str | None, ask: Callable[[Store, Looks], Awaitable[T]]) -> T:
    """As `ask_store`, for what also takes whole shards."""

    async def answer(store: Store) -> T:
        looks = RedisLooks(_redis(redis), configuring.namespace_of(namespace), timeout_seconds=STORE_SECONDS)
        try:
            return await ask(store, looks)
        finally:
            await looks.aclose()

    return ask_store(redis, namespace, answer)


def ask_gateway(
    kafka: str | None, redis: str | None, namespace: str | None, ask: Callable[[Gateway], Awaitable[T]]
) -> T:
    """What a gateway answers, or the end of the process with code 2."""
    settings = configuring.settings_as(
        GatewaySettings, configuring.namespace_of(namespace), kafka=configuring.bootstrap_of(kafka), redis=_redis(redis)
    )
    logging.getLogger("barnabas").setLevel(logging.CRITICAL)  # what there is to say is in the sentence at the end

    async def answer() -> T:
        gateway = Gateway(settings)
        await gateway.start()
        try:
            return await ask(gateway)
        finally:
            await gateway.aclose()

    return _run(answer)


def parsed(text: str) -> InvocationId:
    """The id, or the end of the process with code 2."""
    try:
        return InvocationId.parse(text)
    except MalformedId as error:
        configuring.refuse(str(error))


def print_json(value: object) -> None:
    """For programs."""
    typer.echo(json.dumps(value, indent=2))


def _redis(flag: str | None) -> str:
    if not flag:
        configuring.refuse("where is the store? Set BARNABAS_REDIS=redis://..., or start one with: barnabas stack up")
    return flag


def _run(answer: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await answer()

    with configuring.explained(*OUTAGES):
        return asyncio.run(run())
    raise AssertionError("explained() ends the command")
