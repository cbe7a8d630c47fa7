"""What an invocation waits for, read from its journal: commands whose results are not there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from barnabas.runtime import journal as j


class CallTarget(NamedTuple):
    """What a CALL entry says about the invocation that it made."""

    id: bytes
    service: str
    handler: str
    key: str | None


def open_commands(journal: Sequence[j.Entry]) -> list[j.Command]:
    """The commands that wait for a result, in program order. Whether the handler awaits them now, nobody has noted."""
    return [command for command in j.commands(journal) if command.is_open]


def call_target(entry: j.Entry) -> CallTarget:
    """Where a CALL or SEND goes."""
    service, _, handler = entry[1].partition("/")
    return CallTarget(entry[3], service, handler, entry[2])
