"""What an invocation's status is called: by Restate's words, which tell a wait for the key from other waits. Pure."""

from __future__ import annotations

from typing import Final

from barnabas.runtime.live import BACKING_OFF, PAUSED, QUEUED, RUNNING, SCHEDULED, SUSPENDED, Live

PENDING: Final = "pending"  # waits for its key
READY: Final = "ready"  # waits for nothing but its turn: input, state or a slot
COMPLETED: Final = "completed"
STATUSES: Final = (SCHEDULED, PENDING, READY, RUNNING, SUSPENDED, BACKING_OFF, PAUSED, COMPLETED)


def status_of(live: Live, holder: bytes | None) -> str:
    """`holder`: whom others of its key wait for; None where nobody waits."""
    if live.status != QUEUED:
        return live.status
    return PENDING if live.exclusive and holder not in (None, live.id) else READY
