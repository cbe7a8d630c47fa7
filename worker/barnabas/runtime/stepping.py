"""The `ctx.run` steps of a shard: when an action may start, and what follows from how it ends (R12).

An action starts when everything before it, on its key and in its own journal, is committed; its result is delivered
once it is committed itself. One that fails is tried again in place, while the rest of the handler stands. Called by the
engine (`shard.py`).
"""

from __future__ import annotations

import heapq
import itertools
import logging
from typing import TYPE_CHECKING

from barnabas.contract.records import Failure
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime.failures import failure_of, failure_text
from barnabas.runtime.live import Live, Step
from barnabas.runtime.retries import of_step
from barnabas.sdk.errors import TerminalError

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

log = logging.getLogger("barnabas.engine")


class Stepping:
    """The steps under way in one shard."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine
        self.running = 0  # actions at work
        self._waiting: list[tuple[int, int, Step]] = []  # for a commit, by its number
        self._held: list[tuple[int, int, Live]] = []  # with results that are not committed yet
        self._tie = itertools.count()

    def start(self, step: Step) -> None:
        """Run the action as soon as everything before it is committed."""
        live, engine = step.live, self._engine
        if live.steps is None:
            live.steps = {}
        if step.position in live.steps:
            return  # still under way from an earlier attempt
        live.steps[step.position] = step
        before = live.dirty
        state = engine.states.get(live.key) if live.key is not None else None
        if state is not None:
            before = max(before, state.dirty)
        if before <= engine.number:
            self.run(step)
        else:
            heapq.heappush(self._waiting, (before, next(self._tie), step))

    def run(self, step: Step) -> None:
        """Run the action, now or (after a failure) again; one of a paused invocation waits until that is resumed."""
        if step.live.status == states_of.PAUSED:
            return
        self.running += 1
        step.at_work = True
        self._engine.effects.append(fx.StartStep(step))

    def done(self, step: Step, raw: bytes | None, error: BaseException | None) -> None:
        """An action has returned `raw`, or raised `error`."""
        self.running -= 1
        step.at_work = False
        live, engine = step.live, self._engine
        if engine.live.get(live.id) is not live or live.steps is None or live.steps.get(step.position) is not step:
            return
        if error is None:
            entry: j.Entry = [j.RESULT, step.position, None, raw]
        else:
            failed = self._failed(step, error)
            if failed is None:
                engine.ending.go_on(live)  # it may have waited for this action alone
                return
            entry = [j.FAILURE, step.position, None, failed.code, failed.message, failed.metadata]
        del live.steps[step.position]
        if live.attempts:  # they are counted since the invocation last came on
            live.attempts = 0
            engine.change_header(live)
        # The handler goes on once the result is in the store, not before.
        live.hold = engine.next_commit
        heapq.heappush(self._held, (live.hold, next(self._tie), live))
        engine.notify(live, entry)
        engine.ending.go_on(live)

    def on_committed(self, number: int) -> None:
        """Everything up to this commit is in the store: start what waited for it, deliver what was held for it."""
        engine = self._engine
        while self._waiting and self._waiting[0][0] <= number:
            step = heapq.heappop(self._waiting)[2]
            if engine.live.get(step.live.id) is step.live and (step.live.steps or {}).get(step.position) is step:
                self.run(step)
        while self._held and self._held[0][0] <= number:
            live = heapq.heappop(self._held)[2]
            if engine.live.get(live.id) is live and live.hold <= number:
                engine.deliver(live)

    def _failed(self, step: Step, error: BaseException) -> Failure | None:
        """The failure to record, or None when the step will be tried again."""
        if isinstance(error, TerminalError):
            return failure_of(error)
        live, engine = step.live, self._engine
        if step.policy is None:
            # Under the invocation's policy the failure is the invocation's: counted in its header, across restarts.
            live.attempts += 1
            step.attempts = live.attempts
        else:
            step.attempts += 1
        step.first_failed_at = step.first_failed_at or engine.now
        decision = of_step(step, engine.handlers.get(live.handler), error, engine.now)
        live.last_failure = f"step '{step.name}': {failure_text(error)}"
        engine.change_header(live)
        engine.counts["steps failed"] += 1
        log.warning(
            "%s/%s: step '%s' failed its attempt %d (%s): %s",
            live.service, live.handler, step.name, step.attempts, decision.describe(), failure_text(error),
            exc_info=error,
        )  # fmt: skip
        if decision.kill:
            return Failure(500, failure_text(error))
        if live.ending == states_of.CANCEL:
            return None  # which goes on as soon as no step is at work, and ends this one
        if decision.delay_ms is None:
            engine.pause(live)
        else:
            engine.timers.arm_step(live.id, step.position, engine.now + decision.delay_ms)
        return None
