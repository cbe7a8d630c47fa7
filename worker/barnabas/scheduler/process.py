"""A scheduler process: works the partitions of `delays`. Used by the command line (`barnabas scheduler`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.directory import Directory
from barnabas.runtime.scheduling.intake import DelayIntake
from barnabas.runtime.scheduling.scheduler import Scheduler
from barnabas.runtime.scheduling.storing import QUESTIONS
from barnabas.runtime.tenure import Tenure
from barnabas.scheduler.loading import DelayLoader
from barnabas.scheduler.places import DelayPlaces
from barnabas.store.port import Shard, Store
from barnabas.worker.member import Member, require_topics
from barnabas.worker.settings import Settings

REMEDY = "barnabas topics apply APP, with any app of the namespace"


class SchedulerProcess(Member):
    """A member of the group of a namespace's schedulers. It knows no app; services come from the store's registry."""

    def __init__(self, settings: Settings, on_ready: Callable[[], None] = lambda: None) -> None:
        names = TopicNames(settings.namespace)
        # Not the settings' group: that is the workers', and both may read the same variables.
        super().__init__(settings, names, f"{names.namespace}.schedulers", DelayPlaces(names), on_ready)
        self._partitions = 0

    def _topics(self) -> list[str]:
        return [self._names.delays]

    def _make_loader(self, store: Store, kafka: KafkaSettings, stack: AsyncExitStack) -> DelayLoader:
        return DelayLoader(store)

    def _before_joining(self) -> None:
        """No handlers run here."""

    async def _prepare(self, store: Store, admin: KafkaAdmin) -> None:
        names = self._names
        counts = await require_topics(admin, [names.delays, names.replies, names.dead_letters], REMEDY)
        self._partitions = counts[names.delays]
        self._directory = Directory(
            names, await store.services(), counts[names.replies], counts[names.dead_letters], self._partitions
        )

    def _make_tenure(self, shard: Shard) -> Tenure:
        def make_engine() -> tuple[Scheduler, DelayIntake]:
            engine = Scheduler(shard, self._directory, self._partitions)
            engine.draining = self.driver.stopping
            return engine, DelayIntake(engine)

        return Tenure(shard, make_engine, self._random, self.clock(), QUESTIONS)
