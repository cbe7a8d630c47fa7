"""Between an attempt and its shard: what can come of an attempt, and what it asks of its `Host`, the shard's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from barnabas.contract.records import Failure
from barnabas.runtime import journal as j

if TYPE_CHECKING:
    from barnabas.runtime.attempt import Attempt
    from barnabas.runtime.live import Live, Step


class Finished(NamedTuple):
    """The invocation has its outcome: a result, or a terminal failure."""

    result: bytes | None
    failure: Failure | None


class Crashed(NamedTuple):
    """The attempt ended with an error that a later attempt may not meet."""

    error: BaseException


class Replaced(NamedTuple):
    """The handler needs a task, and this attempt cannot give it one: begin another at once. Nothing has failed."""


Outcome = Finished | Crashed | Replaced


class Host(Protocol):
    """What an attempt needs of its shard. Nothing that acts is called for a command that was replayed."""

    now: int

    def wake(self) -> None:
        """A task's code is at work outside of a turn of the driver: bring `now` up to date, have a turn soon."""

    def journaling(self, live: Live, quiet: bool) -> None:
        """Its journal is about to grow by a command. TerminalError if it must not."""

    def message(
        self,
        live: Live,
        issued: j.Entry,
        position: int,
        payload: bytes,
        headers: dict[str, str] | None,
        due: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Put the call or send that was just journaled at `position` into the outbox.

        `due` (ms, by the clock of `now`): it waits until then before it joins its key's queue.
        """

    def start_step(self, step: Step) -> None:
        """Run the action as soon as everything before it is committed."""

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        """Deliver an empty result for the position at `due` (ms)."""

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> str:
        """The kind of the target: "exclusive", "shared", "workflow" or "service".

        LookupError if the registry does not know it; TerminalError if the payload can never be produced.
        """

    def check_known(self, id_: bytes) -> None:
        """LookupError if the id fits no registered service: a signal about it has nowhere to go."""

    def attach(self, live: Live, position: int, id_: bytes) -> None:
        """Ask for the outcome of that invocation; it comes as the result of the call `id_` at the position."""

    def cancel(self, live: Live, id_: bytes) -> None:
        """Ask that invocation to end."""

    def resolve(
        self,
        live: Live,
        id_: bytes,
        position: int | None,
        name: str | None,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        """Send a value or an error to an awakeable (`position`) or a named signal (`name`) of that invocation."""

    def promise(self, live: Live, position: int, name: str) -> None:
        """Deliver the workflow's promise, OF_PROMISE at the position, once it is completed.

        If it is completed already, the notification is in the journal when this returns.
        """

    def peek(self, live: Live, name: str) -> list[Any] | None:
        """The workflow's promise: None while it is not completed, else [bytes] or [code, message, metadata]."""

    def complete_promise(self, live: Live, name: str, result: bytes | None, failure: Failure | None) -> bool:
        """Complete the workflow's promise. False, and nothing changes, if it was completed before."""

    def check_size(self, value: bytes, what: str) -> None:
        """TerminalError if a value can never be stored or produced."""

    def state_of(self, key: str) -> dict[str, bytes]:
        """The key's state as the handlers that ran so far have left it."""

    def set_state(self, live: Live, name: str, value: bytes | None) -> None: ...

    def clear_state(self, live: Live) -> None: ...

    def task_over(self, live: Live, attempt: Attempt, outcome: Outcome | None) -> None:
        """Something came of an attempt that runs as a task, outside of the shard's hands. None: it has become one."""
