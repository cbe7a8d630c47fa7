"""What a tenure and the driver need of the engine of a shard, whatever kind of shard it is.

`ShardEngine` is the engine of a service's shard, `Scheduler` (scheduling/) that of a partition of `delays`. Each kind
has an intake for its topics, and a loader in the driver that knows the `fx.Read`s it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.outbox import Outbox
from barnabas.store.port import Op, Shard


class Engine(Protocol):
    """The engine of one shard, from the answers of a load until `close`."""

    shard: Shard
    now: int  # ms; told by the driver before anything else is
    number: int  # the last commit known to be in the store
    next_commit: int  # number of the commit that is being gathered
    next_invocation: int | None  # offset to read next; None: the first there is
    next_signal: int | None
    closed: bool
    draining: bool  # nothing new is begun
    effects: list[fx.Effect]
    outbox: Outbox

    @property
    def held_bytes(self) -> int:
        """Bytes of payloads in memory."""

    @property
    def active(self) -> int:
        """What is at work right now, as opposed to what waits."""

    def hold_under(self, lease: bytes, take: int) -> None:
        """From now on commits and labels are made under this lease."""

    def restore(self, answers: list[Any], now: int) -> None:
        """Take the shard as the store has it: the answers to the questions that the tenure was made with."""

    def on_tick(self, now: int) -> None:
        """Time has passed."""

    def next_due(self) -> int | None:
        """When `on_tick` has something to do, if nothing happens before."""

    def is_due(self) -> bool:
        """Whether something waits for the next commit."""

    def is_worthwhile(self) -> bool:
        """Whether there is anything to commit that nobody waits for."""

    def gathered(self) -> int:
        """How much the next commit would hold, roughly, in invocations."""

    def seal(self) -> tuple[list[Op], list[int]]:
        """The operations of the next commit, and the outbox entries that it promises."""

    def on_committed(self, number: int, promised: list[int]) -> None:
        """The sealed changes are in the store."""

    def produce(self, numbers: list[int]) -> None:
        """Ask for these outbox entries to be produced, in order."""

    def on_delivered(self, numbers: list[int]) -> None:
        """These outbox entries were acknowledged."""

    def on_undeliverable(self, number: int, why: str) -> None:
        """This outbox entry can never be delivered."""

    def nothing_under_way(self) -> bool:
        """Whether nothing is at work: what is left waits, in the store or in the next commit."""

    def tidy(self) -> None:
        """Let go of memory. Called now and then."""

    def close(self) -> None:
        """Stop everything at once; what is not in the store is forgotten."""


class SignalIntake(Protocol):
    """What a tenure needs of the intake that was made with its engine."""

    def on_signals(self, records: Sequence[Record]) -> None:
        """Take a batch of the signals topic."""
