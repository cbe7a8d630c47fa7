"""Cancel and kill: what becomes of an invocation that is told to end (DESIGN.md 10).

A cancel goes to the calls that the handler waits for and is raised at its next wait, as a notification in the journal;
the steps that are at work end first and are recorded. A kill ends the invocation and the calls below it at once. What
never began just ends. What is decided before it can be done (the journal lies in the store, a step is at work) stands
in the invocation's header, so that no crash forgets it. Called by the engine (`shard.py`, `signals.py`, `stepping.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from barnabas.contract.records import Failure, Signal, SignalKind
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime.live import CANCEL, KILL, Live

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

CANCELLED: Final = Failure(409, "cancelled")
KILLED: Final = Failure(409, "killed")


class Ending:
    """Ends invocations of one shard that are told to."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine

    def cancel(self, live: Live) -> None:
        """Let it end as its handler wants to: the next wait raises."""
        if self.never_began(live):
            self._engine.withdraw(live, CANCELLED)
        elif not live.ending or (live.ending == CANCEL and live.status == states_of.PAUSED):
            self._decide(live, CANCEL)
            self.go_on(live)

    def kill(self, live: Live) -> None:
        """End it and the calls that it waits for at once, without its handler."""
        if self.never_began(live):
            self._engine.withdraw(live, KILLED)
        elif live.journal_loaded and live.payload_loaded:
            self.kill_now(live)
        elif live.ending != KILL:
            self._decide(live, KILL)

    def never_began(self, live: Live) -> bool:
        """Whether it waits for its time or its key, and may just go."""
        return live.status in (states_of.SCHEDULED, states_of.QUEUED) or self._engine.lanes.waits(live)

    def _decide(self, live: Live, ending: str) -> None:
        engine = self._engine
        live.ending = ending
        if live.attempt is None and live.status != states_of.RUNNING:  # else it is being loaded
            live.status = states_of.RUNNING
            engine.ready(live)
        engine.change_header(live)

    def kill_now(self, live: Live) -> None:
        """As `kill`; its journal is in memory."""
        self._tell_calls(live, SignalKind.KILL)
        self._engine.end_now(live, KILLED)

    def go_on(self, live: Live) -> None:
        """Cancel what waits for it, unless a step is at work: whenever the handler has come to a wait or a step to its
        end."""
        if live.ending != CANCEL or live.attempt is None or any(step.at_work for step in (live.steps or {}).values()):
            return
        engine = self._engine
        live.ending = ""
        engine.change_header(live)
        self._tell_calls(live, SignalKind.CANCEL)
        # A step that has not begun, or failed and waits for its next attempt, does not begin any more.
        idle, live.steps = live.steps or {}, None
        now = engine.now
        live.journal.append([j.CANCELLED, 0, None, now])
        live.journal += [[j.FAILURE, position, None, CANCELLED.code, CANCELLED.message, {}, now] for position in idle]
        engine.go_on(live)

    def _tell_calls(self, live: Live, kind: SignalKind) -> None:
        for call in open_calls(live.journal):
            service = call[1].partition("/")[0]
            self._engine.sender.signal_about(Signal(kind, call[3]), service, call[2])


def open_calls(journal: list[j.Entry]) -> list[j.Entry]:
    """The calls whose results are not in the journal, of those made since the last cancellation was passed on."""
    return [
        command.entry
        for command in j.commands(journal)
        if command.entry[0] == j.CALL and command.is_open and not command.cancelled
    ]
