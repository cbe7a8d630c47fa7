"""A worker process: checks that nothing would be lost, registers its services, and works their shards.

Used by the command line (`barnabas worker`, `barnabas dev`) and by tests that run a worker inside their own process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_reader import KafkaReader
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.limits import Limits
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import Tenure
from barnabas.sdk.app import App
from barnabas.sdk.describing import about_service
from barnabas.store.port import Service, Shard, Store
from barnabas.worker.loading import Loader
from barnabas.worker.member import Member, NotReady, require_topics
from barnabas.worker.places import ServicePlaces
from barnabas.worker.settings import Settings

REMEDY = "barnabas topics apply APP"


class Worker(Member):
    """A member of the group that serves an app."""

    def __init__(self, app: App, settings: Settings, on_ready: Callable[[], None] = lambda: None) -> None:
        names = TopicNames(app.namespace or settings.namespace)
        group = app.group or settings.group or f"{names.namespace}.workers"
        super().__init__(settings, names, group, ServicePlaces(names), on_ready)
        self._app = app
        self._topic_ids: dict[str, bytes] = {}
        self._limits: dict[str, Limits] = {}

    def _topics(self) -> list[str]:
        return [self._names.invocations(name) for name in self._app.services]

    def _make_loader(self, store: Store, kafka: KafkaSettings, stack: AsyncExitStack) -> Loader:
        reader = KafkaReader(kafka)
        stack.push_async_callback(reader.aclose)
        return Loader(store, reader, self._names, lambda: self._directory.services)

    def _before_joining(self) -> None:
        if not self.driver.current_task.replaceable:
            for definition in self._app.services.values():
                for handler in definition.handlers.values():
                    handler.needs_task = True

    # -- before it starts

    async def _prepare(self, store: Store, admin: KafkaAdmin) -> None:
        names, services = self._names, self._app.services
        own = [topic for name in services for topic in (names.invocations(name), names.signals(name))]
        counts = await require_topics(admin, [*own, names.replies, names.dead_letters, names.delays], REMEDY)
        for name in services:
            invocations, signals = counts[names.invocations(name)], counts[names.signals(name)]
            if invocations != signals:
                raise NotReady(
                    f"{names.invocations(name)} has {invocations} partitions and {names.signals(name)} has {signals}; "
                    f"they must be the same. Make them anew with: {REMEDY}"
                )
        self._topic_ids = await admin.topic_ids(own)
        await self._set_limits(admin)
        await self._register(store, counts)
        self._directory = Directory(
            names, await store.services(), counts[names.replies], counts[names.dead_letters], counts[names.delays]
        )

    async def _set_limits(self, admin: KafkaAdmin) -> None:
        topics = {name: self._names.invocations(name) for name in self._app.services}
        configs = await admin.configs(list(topics.values()))
        for name, topic in topics.items():
            retention = int(configs[topic].get("retention.ms", -1))
            self._limits[name] = replace(
                self._settings.limits(), keep_after_ms=retention // 2 if retention > 0 else None
            )

    async def _register(self, store: Store, counts: dict[str, int]) -> None:
        registered = [
            Service(
                definition.name,
                definition.kind,
                counts[self._names.invocations(definition.name)],
                self._group,
                {handler.name: handler.kind or "service" for handler in definition.handlers.values()},
                about_service(definition),
            )
            for definition in self._app.services.values()
        ]
        await store.register(registered)

    def _make_tenure(self, shard: Shard) -> Tenure:
        definition = self._app.services[shard.service]

        woken = partial(self._woken, shard)

        def make_engine() -> tuple[ShardEngine, Intake]:
            engine = ShardEngine(shard, definition.handlers, self._directory, self._limits[shard.service], woken)
            engine.draining = self.driver.stopping
            topic_id = self._topic_ids[self._names.invocations(shard.service)]
            return engine, Intake(engine, topic_id, self._directory.services[shard.service].partitions)

        return Tenure(shard, make_engine, self._random, self.clock())

    def _woken(self, shard: Shard) -> None:
        self.driver.woken_by_task(shard)
