"""Due invocations whose service nobody has registered (yet): they wait apart, so that they hold nothing up.

A message may be for a service that is deployed later, or for one that will never be. When the service appears they go
before everything that is due later, in order. They lie in a sorted set for each service, in the store alone. Called by
the scheduler's engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from barnabas.runtime.scheduling.effects import ReadStranded
from barnabas.runtime.scheduling.waiting import Waiting

if TYPE_CHECKING:
    from barnabas.runtime.scheduling.scheduler import Scheduler

#: Taken back at a time.
PAGE: Final = 500


class Stranded:
    """Those of one shard, by service."""

    def __init__(self, engine: Scheduler) -> None:
        self._engine = engine
        self.services: dict[str, int] = {}  # with the commit that holds the latest one that was stranded, or taken back
        self._changed: dict[str, bool] = {}
        self._reading: set[str] = set()

    def must_hold(self, waiting: Waiting) -> bool:
        """Whether it cannot go now: nobody knows its service, or others of the service must go before."""
        return not waiting.freed and (
            waiting.service in self.services or waiting.service not in self._engine.directory.services
        )

    def hold(self, waiting: Waiting) -> None:
        """Let it wait for its service."""
        engine = self._engine
        if waiting.service not in self.services:
            self._changed[waiting.service] = True
        self.services[waiting.service] = engine.next_commit
        engine.change(waiting)
        engine.window.move(waiting, stranded=True)
        engine.counts["stranded"] += 1

    def ask(self) -> None:
        """Have those read whose services are there now, when the store has what was done before."""
        engine = self._engine
        for service, commit in self.services.items():
            if service in engine.directory.services and service not in self._reading and commit <= engine.number:
                self._reading.add(service)
                engine.effects.append(ReadStranded(engine.window.asked(engine.number), service, PAGE))

    def on_read(self, service: str, read: list[Waiting], seen: int) -> None:
        """The first ones that waited for the service. `seen`: the last commit that the read was sure to see."""
        engine = self._engine
        self._reading.discard(service)
        for one in read:
            waiting = engine.window.get(one.id) or one
            if engine.window.is_gone(one) or not waiting.stranded:
                continue
            waiting.freed = True
            self.services[service] = engine.next_commit
            engine.change(waiting)
            engine.window.move(waiting, stranded=False)
        if not read and self.services.get(service, seen + 1) <= seen:
            del self.services[service]
            self._changed[service] = False

    @property
    def changed(self) -> bool:
        """Whether the next commit has something to store."""
        return bool(self._changed)

    def seal(self) -> tuple[list[str], list[str]]:
        """Services that some wait for since the last call, and that nobody waits for any more."""
        changed, self._changed = self._changed, {}
        return [name for name, has in changed.items() if has], [name for name, has in changed.items() if not has]

    def restore(self, services: set[bytes]) -> None:
        """Take the services as the store has them."""
        self.services = {service.decode(): 0 for service in services}
