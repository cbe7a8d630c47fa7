"""What is wrong with a record from a topic: raised by `codec` and `raw`; the worker writes it to dead-letters."""

from __future__ import annotations

from typing import Final

#: The bytes are no record of ours, or a damaged one.
UNDECODABLE: Final = "undecodable"
#: The bytes name a schema that this version does not have: probably written by a newer one.
UNKNOWN_SCHEMA: Final = "unknown-schema"
#: A raw record that names no handler, or no usable key.
UNADDRESSED: Final = "unaddressed"


class PoisonRecord(Exception):
    """A record that can never be read, however often it is tried.

    `reason` is a fixed word for programs (the constants above), `detail` a short ASCII sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
