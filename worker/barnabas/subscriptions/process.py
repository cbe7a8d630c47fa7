"""Reads the topic of one subscription: a member of that subscription's consumer group.

Runs beside a worker, in its process (`beside.py`). It checks that nothing would be lost before it joins, and whenever a
partition comes to it: offsets that were read of one topic say nothing about another one of the same name (F41).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.port import LogUnavailableError
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.directory import Directory
from barnabas.runtime.subscribing.formats import format_of
from barnabas.runtime.subscribing.intake import SubscriptionIntake, private
from barnabas.runtime.subscribing.schemas import Schemas
from barnabas.runtime.subscribing.source import Source
from barnabas.runtime.subscribing.standing import Standing, remedy
from barnabas.runtime.subscribing.subscriber import QUESTIONS, Subscriber
from barnabas.runtime.tenure import Tenure
from barnabas.sdk.subscription import Subscription
from barnabas.store.port import Service, Shard, Store
from barnabas.subscriptions.loading import SubscriptionLoader
from barnabas.subscriptions.places import SubscribedPlaces
from barnabas.subscriptions.reading import offsets_of, standings
from barnabas.subscriptions.registry import SchemaRegistry
from barnabas.worker.member import Member, NotReady, require_topics
from barnabas.worker.settings import Settings

log = logging.getLogger("barnabas.subscriptions")

REMEDY: Final = "barnabas topics apply APP"
#: Records in memory before intake pauses.
MOST_BYTES: Final = 16 << 20
AGAIN_SECONDS: Final = 0.5


class SubscriptionProcess(Member):
    """A member of the group of one subscription."""

    _has_gaps = True

    def __init__(
        self,
        subscription: Subscription,
        settings: Settings,
        registry: SchemaRegistry | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        names = TopicNames(settings.namespace)
        group = subscription.group or f"{names.namespace}.subscriptions.{subscription.name}"
        bounded = settings.model_copy(update={"max_bytes": min(MOST_BYTES, settings.max_bytes)})
        super().__init__(bounded, names, group, SubscribedPlaces(subscription), on_ready)
        self._subscription = subscription
        self._registry = registry
        self._schemas = Schemas()
        self._source: Source
        self._admin: KafkaAdmin
        self._assigned: set[int] = set()

    def _topics(self) -> list[str]:
        return [self._subscription.topic]

    def _make_loader(self, store: Store, kafka: KafkaSettings, stack: AsyncExitStack) -> SubscriptionLoader:
        return SubscriptionLoader(self._schemas, self._registry)

    def _before_joining(self) -> None:
        """No handlers run here."""

    def _make_tenure(self, shard: Shard) -> Tenure:
        def make_engine() -> tuple[Subscriber, SubscriptionIntake]:
            engine = Subscriber(shard, self._directory, self._source)
            engine.draining = self.driver.stopping
            return engine, SubscriptionIntake(engine)

        return Tenure(shard, make_engine, self._random, self.clock(), QUESTIONS)

    # -- before it starts

    async def _prepare(self, store: Store, admin: KafkaAdmin) -> None:
        subscription, names = self._subscription, self._names
        self._refuse_hopeless()
        counts = await require_topics(admin, [names.replies, names.dead_letters], REMEDY)
        sizes = await admin.partitions([subscription.topic])
        if subscription.topic not in sizes:
            raise self._not_ready(f"there is no topic {subscription.topic}; create it, or correct its name")
        partitions = sizes[subscription.topic]
        topic_id = (await admin.topic_ids([subscription.topic]))[subscription.topic]
        known = await standings(store, subscription, partitions)
        self._refuse_other_topic(known, topic_id)
        starts = await self._starts(admin, partitions, known)
        services = await store.services()
        self._check_target(services.get(subscription.service))
        self._admin = admin
        self._source = Source(subscription, topic_id, partitions, format_of(subscription, self._schemas), starts)
        self._directory = Directory(names, services, counts[names.replies], counts[names.dead_letters])

    def _refuse_hopeless(self) -> None:
        topic, names = self._subscription.topic, self._names
        own = (names.delays, names.changelog, names.replies, names.dead_letters)
        if topic in own or names.service_of(topic) is not None:
            raise self._not_ready(f"{topic} is a topic of Barnabas itself: subscribe to one of your own")
        if self._subscription.needs_registry and self._registry is None:
            raise self._not_ready(
                "its values name their Avro schemas by id: say where the registry is (BARNABAS_REGISTRY=http://...), "
                "or give the subscription a schema"
            )

    def _refuse_other_topic(self, known: dict[int, Standing], topic_id: bytes) -> None:
        for partition, standing in known.items():
            mismatch = standing.mismatch(self._subscription.topic, topic_id)
            if mismatch is not None:
                raise self._not_ready(f"in partition {partition} {mismatch}. {remedy(self._subscription.name)}")

    async def _starts(self, admin: KafkaAdmin, partitions: int, known: dict[int, Standing]) -> dict[int, int]:
        """Where to begin in partitions that were there when the subscription first began, and were not read yet.

        One that the topic got since has nothing that is older than the subscription: it is read from its first record.
        """
        began_with = min((standing.partitions for standing in known.values()), default=partitions)
        new = [partition for partition in range(min(began_with, partitions)) if partition not in known]
        start = self._subscription.start
        if start == "earliest" or not new:
            return {}  # what retention takes before it is read must not stop anything
        return await offsets_of(admin, self._subscription.topic, new, start)

    def _check_target(self, service: Service | None) -> None:
        subscription = self._subscription
        if service is None or subscription.handler not in service.handlers:
            log.warning(
                "subscription %s: nobody serves %s/%s yet, its records will wait",
                subscription.name,
                subscription.service,
                subscription.handler,
            )
        elif not service.public or not service.is_public(subscription.handler):
            raise self._not_ready(private(subscription.service, subscription.handler))

    def _not_ready(self, why: str) -> NotReady:
        return NotReady(f"subscription {self._subscription.name}: {why}")

    # -- what the consumer tells

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        """Take them once it is sure that the topic is still the one whose offsets we know."""
        self._assigned.update(partition for _, partition in partitions)
        self.driver.spawn(self._assign(partitions))

    async def _assign(self, partitions: list[tuple[str, int]]) -> None:
        recreated = await self._ask_whether_recreated()
        still = [place for place in partitions if place[1] in self._assigned]
        super().on_assigned(still)
        if recreated:
            self._halt_all()

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        self._assigned.difference_update(partition for _, partition in partitions)
        super().on_revoked(partitions, lost=lost)

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        """A jump would hide a loss: the shard stops here until a person decides (R17)."""
        lost = (
            f"{offset} to {low - 1} were removed before they were read"
            if offset < low
            else f"the log ends at {high}, so the topic was deleted and made again, or its end was lost"
        )
        why = f"subscription {self._subscription.name}: offset {offset} is not in {topic}[{partition}]; {lost}"
        tenure = self.driver.tenures.get(self._shard(topic, partition))
        if tenure is not None:
            self.driver.halt(tenure, f"{why}. {remedy(self._subscription.name)}")

    # -- whether the topic is still the same

    async def _refresh(self, store: Store) -> None:
        await super()._refresh(store)
        if await self._was_recreated():
            self._halt_all()

    async def _was_recreated(self) -> bool:
        topic = self._subscription.topic
        found = (await self._admin.topic_ids([topic])).get(topic)
        if found is None:
            log.warning("subscription %s: the topic %s is not there now", self._subscription.name, topic)
        return found is not None and found != self._source.topic_id

    async def _ask_whether_recreated(self) -> bool:
        while True:
            try:
                return await self._was_recreated()
            except LogUnavailableError as error:
                log.warning("%s", error)
                await asyncio.sleep(AGAIN_SECONDS)

    def _halt_all(self) -> None:
        name, topic = self._subscription.name, self._subscription.topic
        for tenure in list(self.driver.tenures.values()):
            self.driver.halt(
                tenure, f"subscription {name}: the topic {topic} was deleted and made again meanwhile. {remedy(name)}"
            )
