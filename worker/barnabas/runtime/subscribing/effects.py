"""What the engine of a subscription asks of its loader, beside the effects of every engine."""

from __future__ import annotations

from dataclasses import dataclass

from barnabas.runtime.effects import Read


@dataclass(frozen=True, slots=True)
class Halt(Read):
    """Stop this shard for good: to go on would hide a loss (R17)."""

    why: str
