"""What those are told who have done something to an invocation by hand: the statuses of the admin API.

They wait for a reply with JSON (`{"status": 202}`), or a failure whose code is the status. Called by the engines.
"""

from __future__ import annotations

import json
from typing import Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure, Signal
from barnabas.runtime.sender import Sender

DONE: Final = 200
ACCEPTED: Final = 202
CONFLICT: Final = 409
GONE: Final = 410
UNPROCESSABLE: Final = 422
TOO_EARLY: Final = 425


def answer(sender: Sender, signal: Signal, status: int, **more: str) -> None:
    """Tell the one who waits for it that it was done."""
    if signal.reply_to is not None:
        result = json.dumps({"status": status, **more}).encode()
        sender.outcome(signal.reply_to, signal.invocation, result, None)


def refuse(sender: Sender, signal: Signal, code: int, why: str) -> None:
    """Tell the one who waits for it that nothing was done."""
    if signal.reply_to is not None:
        what = signal.kind.value.lower().replace("_", "-")
        failure = Failure(code, f"{what} of {InvocationId(signal.invocation)}: {why}")
        sender.outcome(signal.reply_to, signal.invocation, None, failure)
