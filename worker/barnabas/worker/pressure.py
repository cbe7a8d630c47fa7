"""Backpressure (R11): new work is held back by what is at work and by bytes in memory, never by what waits.

Signals are never held back: they are what running work waits for. Pausing throws away what was fetched ahead, so it has
hysteresis: intake resumes at half of what made it pause. Called by the driver after each turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from barnabas.log.port import Consumer
from barnabas.runtime.tenure import State
from barnabas.worker.driver import Driver
from barnabas.worker.places import Places

log = logging.getLogger("barnabas.worker")


#: How often the load is looked at while nothing is held back.
LOOK_SECONDS = 0.01


class Pressure:
    """Pauses and resumes the intake of invocations of this process."""

    def __init__(
        self,
        driver: Driver,
        group: Consumer,
        places: Places,
        max_active: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._group = group
        self._places = places
        self._max_active = max_active
        self._max_bytes = max_bytes
        self._paused: dict[tuple[str, int], int] = {}  # by the assignment that was paused: a new one begins unpaused
        self._holding = False
        self._looked_at = 0.0
        self.pauses = 0

    def adjust(self) -> None:
        """Look at the load, now and then, and hold back or let go."""
        now = self._clock()
        if not self._paused and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        active, held = 0, self._driver.backlog_bytes
        tenures = self._driver.tenures
        for tenure in tenures.values():
            if tenure.engine is not None:
                active += tenure.engine.active
                held += tenure.engine.held_bytes
        low = 2 if self._holding else 1
        holding = active * low >= self._max_active or held * low >= self._max_bytes
        if holding and not self._holding:
            self.pauses += 1
            log.info("holding back new work: %d at work, %d bytes in memory", active, held)
        self._holding = holding
        wanted = {
            (self._places.intake(shard), shard.partition): tenure.epoch
            for shard, tenure in tenures.items()
            if tenure.epoch and (holding or tenure.state is not State.ACTIVE)
        }
        if wanted != self._paused:
            if new := wanted.items() - self._paused.items():
                self._group.pause(sorted(place for place, _ in new))
            if old := self._paused.keys() - wanted.keys():
                self._group.resume(sorted(old))
            self._paused = wanted
