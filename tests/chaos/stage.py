"""The stage of a test about messages: a namespace with the topics of `talk.py`, processes, outside clients, checks.

Like `arena.py`, which is about the machinery of delivery and has traffic of its own; here each test says what happens.
Made by the fixture of `conftest.py`, one for each test.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from barnabas.cli.topic_setup import apply, compare
from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import DeadLetter
from barnabas.contract.topics import TopicNames
from barnabas.devstack.process import wait_until
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.live import Live, unpack_live
from barnabas.sdk.app import app as make_app
from barnabas.store import keys
from barnabas.store.port import Shard
from tests.chaos import checks, talk
from tests.chaos.app import LEDGER_VARIABLE
from tests.chaos.arena import FULL
from tests.chaos.outside import Asked, Outside
from tests.chaos.processes import PACKAGE, ROOT, Crew, WorkerProcess

QUIET_LOOKS = 3
#: What a shard with nothing to do has nothing of.
_HASHES = (
    keys.LIVE,
    keys.INPUTS,
    keys.OUTBOX,
    keys.SPILL,
    keys.SPILL_COUNTS,
    keys.SPILL_RECORDS,
    keys.UNCHECKED,
    keys.PARKED,
    keys.DEFERRED,
    keys.HEADS,
    keys.WAITING,
    keys.WAITING_INPUTS,
)


class Stage:
    """Everything that a test about messages needs. `partitions`: of each service."""

    def __init__(self, addresses: Addresses, folder: Path, random: Random, partitions: int) -> None:
        self.began = time.monotonic()
        self.addresses = addresses
        self.random = random
        self.partitions = partitions
        self.names = TopicNames(f"talk-{uuid4().hex[:8]}")
        services = make_app([*talk.SERVICES, talk.late]).services
        self.kinds = {name: one.kind for name, one in services.items()}
        self.counts: dict[str, int] = asyncio.run(self._create_topics())
        self.store = checks.StoreView(addresses.redis, self.names.namespace)
        self.log = checks.LogView(addresses.kafka, self.names)
        self.ledger = checks.Ledger(folder / "ledger")
        self.outside = Outside(addresses.kafka, self.names, self.kinds, self.counts)
        self._environment = {
            "BARNABAS_KAFKA": addresses.kafka,
            "BARNABAS_REDIS": addresses.redis,
            "BARNABAS_NAMESPACE": self.names.namespace,
            LEDGER_VARIABLE: str(self.ledger.path),
        }
        self.crew = Crew(self._environment, folder)

    def say(self, what: str) -> None:
        """A line in the report of a failed test, and with `-s`."""
        print(f"{time.monotonic() - self.began:6.1f} s  {what}")  # noqa: T201

    def scaled(self, short: int, full: int) -> int:
        """A number for the short form of `make test`, another for the long form."""
        return full if FULL else short

    # -- processes

    def worker(self, failpoints: str = "", **more: Any) -> WorkerProcess:
        """A worker that serves `talk.py`. `more` as for `Crew.start`.

        `version` picks a deployment; `app`: another of its apps.
        """
        version, target = more.pop("version", ""), f"tests.chaos.talk:{more.pop('app', 'app')}"
        return self.crew.start(failpoints, target=target, TALK_VERSION=version, **more)

    def scheduler(self, failpoints: str = "", **more: Any) -> WorkerProcess:
        """A scheduler."""
        return self.crew.start(failpoints, target=None, **more)

    def command(self, *arguments: str) -> str:
        """What a `barnabas` command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "barnabas.cli.main", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{ROOT}", **self._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def warm_up(self) -> None:
        """Until somebody reads both topics of all shards of the service that has no keys: what follows is timed."""
        partitions = {
            asked.partition: asked
            for asked in (self.outside.make("Talk/echo", None, 1) for _ in range(20 * self.partitions))
        }
        self.answers([self.outside.produce(asked) for asked in partitions.values()])
        self.answers([self.outside.attach(asked.id) for asked in partitions.values()])

    # -- looking

    def timers(self, service: str) -> int:
        """How many timers are armed, as the store has it."""
        return sum(self.store.timers(shard) for shard in self.shards(service))

    def shards(self, service: str) -> list[Shard]:
        """All shards of a service."""
        return [Shard(service, partition) for partition in range(self.partitions)]

    def all_shards(self) -> list[Shard]:
        """All shards of the services that are deployed from the start, and of the scheduler."""
        own = [shard for service in self.kinds if service != talk.late.name for shard in self.shards(service)]
        return [*own, *(Shard("@delays", partition) for partition in range(self.counts[self.names.delays]))]

    def live(self, id_: InvocationId) -> Live | None:
        """An invocation's header as the store has it."""
        service = next(name for name in self.kinds if id_.of_service(name))
        shard = Shard(service, id_.partition(self.partitions))
        packed = self.store.field(shard, keys.LIVE, bytes(id_))
        return None if packed is None else unpack_live(bytes(id_), service, packed)

    def status(self, id_: InvocationId) -> str:
        """Its status in the store, "" if it is not live there."""
        live = self.live(id_)
        return "" if live is None else live.status

    def count_live(self, service: str, status: str | None = None) -> int:
        """How many invocations of a service are not over, as the store has it; of this status alone, if it is given."""
        if status is None:
            return sum(self.store.length(shard, keys.LIVE) for shard in self.shards(service))
        headers = [self.store.headers(shard) for shard in self.shards(service)]
        return sum(unpack_live(id_, service, raw).status == status for some in headers for id_, raw in some.items())

    def waiters(self, id_: InvocationId) -> int:
        """How many want its outcome, as the store has it."""
        live = self.live(id_)
        return 0 if live is None else len(live.waiters)

    def journaled(self, id_: InvocationId, name: str) -> bool:
        """Whether its journal in the store has a command of that name."""
        service = next(one for one in self.kinds if id_.of_service(one))
        return any(
            entry[1] == name for entry in self.store.journal(Shard(service, id_.partition(self.partitions)), id_)
        )

    def all_taken_in(self, shard: Shard) -> bool:
        """Whether the shard has read its topics to their ends."""
        return not self.log.unread(shard, self.store.meta(shard))

    def owned_by(self, pid: int, service: str) -> list[int]:
        """The partitions of a service that this process took last."""
        owners = {shard.partition: self.store.meta(shard).get(b"owner", b"/") for shard in self.shards(service)}
        return [partition for partition, owner in owners.items() if owner.decode().endswith(f"/{pid}")]

    def wait_owners(self, *pids: int, seconds: float = 20.0) -> None:
        """Until each of these has shards of the service `Talk`, and together they have all."""

        def split() -> bool:
            owned = [self.owned_by(pid, "Talk") for pid in pids]
            return all(owned) and sum(map(len, owned)) == self.partitions

        self.wait_for(split, f"the shards are those of {pids}", seconds)

    def attempts(self, id_: InvocationId) -> int:
        """How many attempts have failed, as the store has it."""
        live = self.live(id_)
        return 0 if live is None else live.attempts

    def key_of(self, service: str, partition: int, prefix: str = "key") -> str:
        """A key that lies in this partition."""
        names = (f"{prefix} {number}" for number in range(10_000))
        return next(name for name in names if random_id(service, name).partition(self.partitions) == partition)

    def lines(self, id_: InvocationId) -> list[str]:
        """What the ledger has of an invocation, without times."""
        return [name.partition("@")[0] for name, whose in self.ledger.lines() if whose == str(id_)]

    def times(self, id_: InvocationId) -> list[float]:
        """The times in the ledger of an invocation, seconds."""
        lines = self.ledger.lines()
        return [float(name.partition("@")[2]) for name, whose in lines if whose == str(id_) and "@" in name]

    def counted(self) -> Counter[tuple[str, str]]:
        """How often each line of the ledger is there."""
        return Counter(self.ledger.lines())

    def total(self, key: str) -> int:
        """The state of `Once/add` of a key, as the store has it."""
        shard = Shard("Once", random_id("Once", key).partition(self.partitions))
        return int(self.store.field(shard, keys.state(key), b"total") or 0)

    def first_record(self, asked: Asked) -> bytes:
        """The first record of the invocations topic with this id."""
        end = self.log.end(asked.topic, asked.partition)
        values = self.log.values(asked.topic, asked.partition, end)
        return next(value for value in values if codec.decode_invocation(value).id == asked.id)

    # -- waiting and checking

    def answers(self, asked: Iterable[Asked], seconds: float = 30.0) -> list[Any]:
        """The one outcome of each of these."""
        asked = list(asked)
        left = self.outside.collect(asked, seconds)
        if left:
            pytest.fail(f"{len(left)} of {len(asked)} have no answer, {left[0].id} first\n{self.crew.words()}")
        return [self.outside.outcome(one) for one in asked]

    def answer(self, asked: Asked, seconds: float = 30.0) -> Any:
        """Its one outcome."""
        return self.answers([asked], seconds)[0]

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Until the condition holds."""
        self.outside.flush()
        assert wait_until(condition, seconds), f"not after {seconds} s: {what}\n{self.crew.words()}"

    def wait_status(self, id_: InvocationId, *statuses: str, seconds: float = 20.0) -> None:
        """Until the store has it with one of these statuses."""
        self.wait_for(lambda: self.status(id_) in statuses, f"{id_} is {' or '.join(statuses)}", seconds)

    def wait_line(self, line: str, id_: InvocationId, seconds: float = 20.0) -> None:
        """Until the ledger has this line of an invocation."""
        self.wait_for(lambda: line in self.lines(id_), f"'{line}' of {id_} is in the ledger", seconds)

    def wait_quiet(self, seconds: float = 20.0) -> None:
        """K5: nothing is left to do anywhere, for several looks; and every answer that came stays the only one."""
        deadline = time.monotonic() + seconds
        quiet = 0
        self.outside.flush()
        while quiet < QUIET_LOOKS:
            wrong = self.left_over()
            quiet = 0 if wrong else quiet + 1
            if wrong and time.monotonic() > deadline:
                pytest.fail("\n".join([*wrong[:20], self.crew.words()]), pytrace=False)
            time.sleep(0.02)
        self.outside.poll(0)
        for asked in self.outside.asked.values():
            if asked.request in self.outside.replies:
                self.outside.outcome(asked)

    def left_over(self) -> list[str]:
        """What is not as it should be when there is nothing to do."""
        wrong = []
        for shard in self.all_shards():
            wrong += self.store.left_over(shard, _HASHES)
            if not shard.service.startswith("@"):
                wrong += self.log.unread(shard, self.store.meta(shard))
        return wrong or self.store.loose_keys()

    def no_dead_letters(self) -> None:
        """Nothing was refused."""
        letters = [f"{one.reason}: {one.detail}" for one in self.dead_letters()]
        assert letters == []

    def dead_letters(self) -> list[DeadLetter]:
        """What nobody could read or deliver."""
        return [
            letter
            for partition in range(self.counts[self.names.dead_letters])
            for letter in self.log.dead_letters(partition)
        ]

    async def _create_topics(self) -> dict[str, int]:
        admin = KafkaAdmin(KafkaSettings(bootstrap=self.addresses.kafka))
        whole = make_app([*talk.SERVICES, talk.late])
        found = await compare(admin, self.names.namespace, whole, self.partitions)
        await apply(admin, found)
        return await admin.partitions(found.topics)

    def close(self) -> None:
        """End everything that this test started.

        Its topics go too: a small broker becomes slow with the partitions of dozens of namespaces.
        """
        self.crew.close()
        admin = AdminClient({"bootstrap.servers": self.addresses.kafka})
        for future in admin.delete_topics(list(self.counts)).values():
            future.result(30)
        self.outside.close()
        self.log.close()
        self.store.close()
