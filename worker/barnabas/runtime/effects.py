"""What the engine asks its driver to do.

The driver (the worker, or the simulator) does it and reports back by a method of the shard or its tenure; an effect is
never repeated by the engine without such a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from barnabas.contract.records import Signal
from barnabas.log.port import OutRecord
from barnabas.runtime.live import Live, Step
from barnabas.store.port import Commit, Query


@dataclass(frozen=True, slots=True)
class Take:
    """Take the shard under this lease -> `Tenure.on_taken` or `on_store_unavailable`."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """Read the whole shard -> `Tenure.on_loaded`."""

    lease: bytes
    questions: Sequence[Query]


@dataclass(frozen=True, slots=True)
class SendCommit:
    """Send this commit (or check) -> `Tenure.on_commit`."""

    commit: Commit


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """Read both topics of the shard from these offsets on, under this assignment."""

    invocations: int | None  # None: from the first record there is
    signals: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class StopReading:
    """Read nothing more of this shard."""


@dataclass(frozen=True, slots=True)
class Produce:
    """Produce these records in order -> `on_delivered` with their numbers, or a session that ends."""

    entries: list[tuple[int, OutRecord]]


@dataclass(frozen=True, slots=True)
class StartStep:
    """Run the action -> `on_step_done`."""

    step: Step


class Read:
    """What an engine asks of the loader of its kind; the driver hands it on unseen."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LoadStates(Read):
    """Read the states of these keys -> `on_states`."""

    keys: list[str]


@dataclass(frozen=True, slots=True)
class LoadInvocation(Read):
    """Read input and journal of this invocation -> `on_invocation_loaded`."""

    live: Live


@dataclass(frozen=True, slots=True)
class Refill(Read):
    """Read the first `count` spilled entries of the key, and their records -> `on_refilled`."""

    key: str
    count: int


@dataclass(frozen=True, slots=True)
class Preserve(Read):
    """Read the key's spilled records from before `before` (ms) that Kafka alone has -> `on_preserved`."""

    key: str
    before: int


@dataclass(frozen=True, slots=True)
class TraceSignals(Read):
    """Ask about the invocations of parked signals: kept, waiting in the store? And where does their topic end now?

    -> `Signals.on_traced`.
    """

    numbers: list[int]


@dataclass(frozen=True, slots=True)
class ReadEnd(Read):
    """Ask for the end of the invocations topic -> `Keeping.on_end`."""


@dataclass(frozen=True, slots=True)
class Expire(Read):
    """Read the kept outcomes that expired before `before` (append time, ms) -> `Keeping.on_expired`."""

    before: int


@dataclass(frozen=True, slots=True)
class ReadRing(Read):
    """Read the whole ring, for somebody who asked for something to be done to one of its entries -> `on_ring`."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class CheckDeadlock(Read):
    """See whether this queued call waits for itself, through the store -> `Deadlocks`, what came of it."""

    live: Live


Effect = Take | Load | SendCommit | ReadFrom | StopReading | Produce | StartStep | Read
