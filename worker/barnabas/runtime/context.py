"""The context that a handler gets: every method turns into a command of the attempt's journal.

Positions are given out when a method is called, before its first await, so that the order of awaits does not matter. On
a replay a method returns what the journal recorded and has no effect; on a first run it asks the attempt's host (the
shard). Here are the request, steps and time; the rest is in the parts (`contexts_*.py`).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from typing import Any, TypeVar

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import LATEST_DUE
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Attempt
from barnabas.runtime.contexts_messages import MessageCommands
from barnabas.runtime.contexts_part import DEFAULT
from barnabas.runtime.contexts_state import StateCommands
from barnabas.runtime.contexts_tools import ToolCommands
from barnabas.runtime.futures import JournalFuture, SleepFuture
from barnabas.runtime.live import Step
from barnabas.sdk.context import (
    AttemptFinishedEvent,
    Request,
    RestateDurableFuture,
    RunOptions,
    WorkflowContext,
    WorkflowSharedContext,
)
from barnabas.sdk.serde import Serde, result_serde

T = TypeVar("T")


class _Finished(AttemptFinishedEvent):
    """Tells code that holds resources for an attempt when the attempt is over."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def is_set(self) -> bool:
        return self._attempt.over

    async def wait(self) -> None:
        # Nobody signals the end of an attempt that is dropped, and few ever ask: look now and then.
        while not self._attempt.over:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class InvocationContext(StateCommands, MessageCommands, ToolCommands, WorkflowContext, WorkflowSharedContext):
    """One class for all kinds of handlers; what a kind may not do raises, as the types already say."""

    _random: random.Random | None = None

    @property
    def replaying(self) -> bool:
        """Whether the attempt repeats what an earlier one did."""
        return self._attempt.replaying

    # -- about the request

    def request(self) -> Request:
        live = self._live
        return Request(
            id=str(InvocationId(live.id)),
            headers=dict(live.headers),
            attempt_headers={},
            body=live.payload,
            attempt_finished_event=_Finished(self._attempt),
            idempotency_key=live.idempotency_key,
        )

    def key(self) -> str:
        key = self._live.key
        if key is None:
            raise RuntimeError(f"{self._live.service} is a service: its invocations have no key")
        return key

    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self._live.seed)
        return self._random

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def time(self) -> RestateDurableFuture[float]:
        entry, _ = self._attempt.command([j.TIME, "", self._host.now])
        future: JournalFuture[float] = JournalFuture(self._attempt, self._attempt.position, DEFAULT)
        future.complete(b"%d.%03d" % divmod(entry[2], 1000))
        return future

    # -- steps and time

    def run(
        self,
        name: str,
        action: Any,
        serde: Serde[T] = DEFAULT,
        max_attempts: int | None = None,
        max_retry_duration: timedelta | None = None,
        type_hint: type[T] | None = None,
        args: tuple[Any, ...] | None = None,
    ) -> RestateDurableFuture[T]:
        options = RunOptions(
            serde=serde, type_hint=type_hint, max_attempts=max_attempts, max_duration=max_retry_duration
        )
        return self._run(name, action, options, args or (), {})

    def run_typed(
        self, name: str, action: Any, options: RunOptions[T] = RunOptions(), /, *args: Any, **kwargs: Any
    ) -> RestateDurableFuture[T]:
        return self._run(name, action, options, args, kwargs)

    def _run(
        self, name: str, action: Any, options: RunOptions[T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> RestateDurableFuture[T]:
        attempt = self._attempt
        policy = options.retry_policy()
        serde = result_serde(options.serde, options.type_hint, action)
        _, replayed = attempt.command([j.RUN, name], quiet=True)
        position = attempt.position
        future = JournalFuture(attempt, position, serde)
        attempt.opened(future)
        if not (replayed and attempt.answered(position)):
            self._host.start_step(Step(self._live, position, name, action, args, kwargs, serde, policy))
        return future

    def sleep(self, delta: timedelta, name: str | None = None) -> SleepFuture:
        attempt = self._attempt
        due = min(LATEST_DUE, self._host.now + max(0, round(delta.total_seconds() * 1000)))
        _, replayed = attempt.command([j.SLEEP, name or "", due])
        position = attempt.position
        future = SleepFuture(attempt, position, None)
        attempt.opened(future)
        if not replayed:
            self._host.arm_sleep(self._live, position, due)
        return future
