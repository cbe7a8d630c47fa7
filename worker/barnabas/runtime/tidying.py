"""Letting go of memory: attempts that have waited long are suspended, and what the store has is forgotten here.

Once a second the engine (`shard.py`) has it look through its invocations. What waits then costs some hundred bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from barnabas.runtime import effects as fx
from barnabas.runtime import live as states_of
from barnabas.runtime.live import Live

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine


class Tidying:
    """The memory of one shard."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine
        self._forgettable: list[Live] = []  # suspended; what the store has of them may leave the memory

    def tidy(self) -> None:
        """Suspend attempts that have waited long or are too many, and forget what the store has."""
        engine = self._engine
        self._forget_suspended()
        self._preserve_old_inputs()
        if engine.held_bytes > engine.limits.held_bytes:
            self._forget_idle_inputs()
        self._suspend_some()
        in_use = {live.key for live in engine.live.values() if live.attempt is not None}
        engine.states.shrink(engine.number, in_use)

    def let_go(self) -> None:
        """Suspend and forget at once where far too many wait: within a second there could be tens of thousands."""
        if len(self._engine.waiting) > 2 * self._engine.limits.waiting_attempts:
            self._suspend_some()
        if len(self._forgettable) > self._engine.limits.waiting_attempts:
            self._forget_suspended()

    def _suspend_some(self) -> None:
        engine = self._engine
        too_many = len(engine.waiting) - engine.limits.waiting_attempts
        too_much = engine.held_bytes - engine.limits.held_bytes
        for live, since in list(engine.waiting.items()):
            if too_many <= 0 and too_much <= 0 and engine.now - since < engine.limits.inactivity_ms:
                break
            held = live.hold > engine.number  # a step's result waits for its commit, and is delivered to the attempt
            if live.attempt is None or live.steps or held:
                continue
            if live.attempt.at_rest:
                too_many -= 1
                too_much -= len(live.payload)
                self.suspend(live)
                continue
            stuck_since = live.attempt.stuck_since
            if stuck_since is not None and engine.now - stuck_since >= engine.limits.inactivity_ms:
                live.attempt.give_up()

    def suspend(self, live: Live) -> None:
        """Drop its coroutine; it is made again by replay when something arrives."""
        engine = self._engine
        engine.drop_attempt(live)
        live.status = states_of.SUSPENDED
        engine.change_header(live)
        self._forgettable.append(live)

    def _preserve_old_inputs(self) -> None:
        """Half of the topic's retention is over for some who wait: their records must not go with it (R11)."""
        engine = self._engine
        keep_after = engine.limits.keep_after_ms
        if keep_after is None or not engine.lanes.spilled:
            return
        before = engine.now - keep_after
        for lane in engine.lanes.values():
            if 0 < lane.elsewhere_since <= before and not lane.refilling:
                lane.refilling = True
                engine.effects.append(fx.Preserve(lane.key, before))

    def _forget_suspended(self) -> None:
        engine = self._engine
        later: list[Live] = []
        for live in self._forgettable:
            if live.status != states_of.SUSPENDED or engine.live.get(live.id) is not live:
                continue
            if live.dirty > engine.number or not live.sealed:
                later.append(live)
                continue
            self._forget_input(live)
            live.forget_journal()
        self._forgettable = later

    def _forget_idle_inputs(self) -> None:
        """Of all that wait for their key, their state, their next attempt or a person."""
        engine = self._engine
        for live in engine.live.values():
            if live.attempt is None and live.sealed and live.dirty <= engine.number:
                self._forget_input(live)

    def _forget_input(self, live: Live) -> None:
        if live.payload_loaded:
            self._engine.held_bytes -= len(live.payload)
            live.forget_input()
