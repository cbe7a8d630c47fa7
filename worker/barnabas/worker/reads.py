"""What the driver needs of the loader for its kind of engines: `Loader` for services, `DelayLoader` for delays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.tenure import Tenure


class Reads(Protocol):
    """Hands records to the engines, and reads what they ask for."""

    def bind(
        self,
        spawn: Callable[[Any], None],
        between_turns: Callable[[], AbstractContextManager[None]],
        touch: Callable[[Engine], None],
        halt: Callable[[Engine, str], None],
    ) -> None:
        """How to run a coroutine, how to enter engines from it, and how to stop one for good. Called once."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that wait for an answer of the store."""

    def holds_back(self, engine: Engine | None) -> bool:
        """Whether the next commit, and records that come in, had better wait for a read."""

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        """Hand over a batch of the topic that intake is held back on: at once, or in order after a look-up."""

    def ask(self, tenure: Tenure, effect: fx.Read) -> None:
        """Take a question of this engine; `flush` sends it."""

    def flush(self) -> None:
        """Send what was asked since the last call."""
