"""The arena of a crash test: a namespace of its own on the session's servers, with topics, workers, traffic and checks.

Made by the fixture of `conftest.py`, one for each test. Touches its namespace and the processes that it starts.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]

from barnabas.contract.ids import random_id
from barnabas.contract.topics import TopicNames
from barnabas.devstack.process import wait_until
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.store.port import Shard
from tests.chaos import checks
from tests.chaos.app import LEDGER_VARIABLE
from tests.chaos.monitor import CommitWatch
from tests.chaos.processes import Crew
from tests.chaos.traffic import PARTITIONS, Traffic

#: `make chaos` runs the long form.
FULL = os.environ.get("BARNABAS_CHAOS") == "full"
#: A message crosses at most two shards before it is at rest.
QUIET_LOOKS = 3


class Arena:
    """Everything that a test of this folder needs."""

    def __init__(self, addresses: Addresses, folder: Path, random: Random) -> None:
        self.began = time.monotonic()
        self.addresses = addresses
        self.folder = folder
        self.random = random
        self.names = TopicNames(f"chaos-{uuid4().hex[:8]}")
        asyncio.run(self._create_topics())
        self.store = checks.StoreView(addresses.redis, self.names.namespace)
        self.log = checks.LogView(addresses.kafka, self.names)
        self.ledger = checks.Ledger(folder / "ledger")
        self.traffic = Traffic(addresses.kafka, self.names, random)
        self.watch = CommitWatch(addresses.redis, self.names.namespace)
        environment = {
            "BARNABAS_KAFKA": addresses.kafka,
            "BARNABAS_REDIS": addresses.redis,
            "BARNABAS_NAMESPACE": self.names.namespace,
            LEDGER_VARIABLE: str(self.ledger.path),
        }
        self.crew = Crew(environment, folder)
        self.allowed_repeats = 0.0
        self.allowed_late = 0.0
        self.wanted_dead_letters = 0
        self.fell_back = False

    def say(self, what: str) -> None:
        """A line in the report of a failed test, and with `-s`."""
        print(f"{time.monotonic() - self.began:6.1f} s  {what}")  # noqa: T201

    def scaled(self, short: int, full: int) -> int:
        """A number for the short form of `make test`, another for the long form."""
        return full if FULL else short

    def answer_all(self, seconds: float = 30.0) -> None:
        """Wait for all replies, then for nothing to be left to do; check everything (K1 to K5, K8)."""
        self.traffic.flush()
        self.traffic.collect(seconds)
        self.expect_none(checks.k1_outcomes(self.traffic))
        self.wait_quiet()
        self.traffic.poll(0)
        wrong = checks.k1_outcomes(self.traffic)
        wrong += checks.k2_order(self.traffic, self.store)
        wrong += checks.k3_sum(self.store)
        wrong += checks.k4_ledger(self.traffic, self.ledger, self.allowed_repeats, self.allowed_late)
        if not self.fell_back:
            wrong += self.watch.k8_single_writer()
        if len(letters := self.log.dead_letters()) != self.wanted_dead_letters:
            wrong += [
                f"dead letter: {letter.reason}, {letter.detail}, {letter.topic} {letter.key!r}" for letter in letters
            ]
        self.expect_none(wrong)

    def wait_quiet(self, seconds: float = 15.0) -> None:
        """K5, as soon as it holds: for several looks, since messages travel between shards meanwhile."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while quiet < QUIET_LOOKS:
            wrong = checks.k5_quiet(self.store, self.log)
            quiet = 0 if wrong else quiet + 1
            if wrong and time.monotonic() > deadline:
                self.expect_none(wrong)
            time.sleep(0.02)

    def expect_none(self, wrong: list[str]) -> None:
        """Fail with everything that is wrong and what the workers said."""
        if wrong:
            more = [f"... and {len(wrong) - 20} more"] if len(wrong) > 20 else []
            pytest.fail("\n".join([*wrong[:20], *more, self.crew.words()]), pytrace=False)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Until the condition holds."""
        assert wait_until(condition, seconds), f"not after {seconds} s: {what}\n{self.crew.words()}"

    def owners(self) -> dict[str, str]:
        """Who took each shard last, by process id."""
        metas = {str(shard): self.store.meta(shard) for shard in checks.SHARDS}
        return {shard: meta.get(b"owner", b"/").decode().rsplit("/", 1)[1] for shard, meta in metas.items()}

    def wait_owner(self, *pids: int, seconds: float = 20.0) -> None:
        """Until the store says that all shards belong to these processes, each having some."""
        wanted = {str(pid) for pid in pids}
        self.wait_for(lambda: set(self.owners().values()) == wanted, f"all shards at {wanted}", seconds)

    def probe(self, shard: Shard) -> None:
        """A request that this shard alone can answer."""
        if shard.service == "Desk":
            while self.traffic.stumble().id.partition(PARTITIONS) != shard.partition:
                pass
            return
        keys = (f"probe {number}" for number in itertools.count())
        key = next(key for key in keys if random_id(shard.service, key).partition(PARTITIONS) == shard.partition)
        if shard.service == "Log":
            self.traffic.append(key)
        else:
            self.traffic.send("Account", "add", key, 0, 0)

    def alter_topic(self, topic: str, config: dict[str, str]) -> None:
        """Change settings of a topic."""
        admin = AdminClient({"bootstrap.servers": self.addresses.kafka})
        changes = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=changes)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)

    async def _create_topics(self) -> None:
        admin = KafkaAdmin(KafkaSettings(bootstrap=self.addresses.kafka))
        names = self.names
        per_service = [topic for name in checks.SERVICES for topic in (names.invocations(name), names.signals(name))]
        counts = dict.fromkeys(per_service, PARTITIONS) | {
            names.replies: 1,
            names.dead_letters: 1,
            names.delays: PARTITIONS,
        }
        await asyncio.gather(*(admin.create(topic, count, {}) for topic, count in counts.items()))

    def close(self) -> None:
        """End everything that this test started."""
        self.crew.close()
        self.watch.close()
        self.traffic.close()
        self.log.close()
        self.store.close()
