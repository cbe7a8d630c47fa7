"""A worker as people run it, in a process of its own, for the scenario tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from barnabas.cli.topic_setup import apply, compare
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.sdk.app import App

ROOT = Path(__file__).parents[2]


class Servers(Protocol):
    """Where the servers of the test session are."""

    kafka: str
    redis: str


@asynccontextmanager
async def worker(
    servers: Servers, namespace: str, target: str, app: App, partitions: int
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker process that serves `target` in this namespace, ready; its topics are made first."""
    admin = KafkaAdmin(KafkaSettings(bootstrap=servers.kafka))
    await apply(admin, await compare(admin, namespace, app, partitions))
    environment = {
        **os.environ,
        "BARNABAS_KAFKA": servers.kafka,
        "BARNABAS_REDIS": servers.redis,
        "BARNABAS_NAMESPACE": namespace,
    }
    command = [sys.executable, "-m", "barnabas.cli.main", "worker", target, "--log-level", "warning"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline), "the worker did not become ready"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 40)
        process.stdout.close()
