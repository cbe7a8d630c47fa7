"""The keys that a process knows: those of the store and those of a file, read anew every two seconds.

A request costs no round trip. A key that was revoked opens for two seconds more at most, as long as the store can be
read; without the store the keys known last still count, though little can be done with them then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from barnabas.ingress.access.keys import Entry, MalformedEntry, decode_entry, split_key
from barnabas.store.api_keys import ApiKeys
from barnabas.store.port import StoreCorrupt, StoreUnavailable

log = logging.getLogger("barnabas.ingress")

REFRESH_SECONDS: Final = 2.0


class KeysFileError(Exception):
    """The file of keys cannot be used; the message says where and why, and none of its content."""


class Keyring:
    """The keys of a namespace. `refresh` before the first question."""

    def __init__(self, stored: ApiKeys, file: Path | None) -> None:
        self._stored = stored
        self._file = file
        self._entries: Mapping[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, text: str) -> Entry | None:
        """The entry of a key; None: it is none, or none any more."""
        parts = split_key(text)
        entry = None if parts is None else self._entries.get(parts[0])
        if parts is None or entry is None:
            return None
        return entry if entry.fits(parts[1]) else None

    async def refresh(self) -> None:
        """Raises StoreUnavailable, StoreCorrupt and KeysFileError; what was known stays."""
        known: dict[str, Entry] = {}
        for id_, text in (await self._stored.entries()).items():
            try:
                entry = decode_entry(text)
            except MalformedEntry as error:  # one that a person has damaged; the others still count
                log.warning("API key %s in the store is unusable: %s", id_, error)
                continue
            known[id_] = entry
        if self._file is not None:
            known |= {entry.id: entry for entry in read_keys_file(self._file)}
        self._entries = known

    async def keep_fresh(self) -> None:
        """Runs until it is cancelled."""
        failing = False
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except (StoreUnavailable, StoreCorrupt, KeysFileError) as error:
                if not failing:  # once, not every two seconds
                    log.warning("API keys cannot be read again, those known last count: %s", error)
                failing = True
            else:
                failing = False


def read_keys_file(path: Path) -> list[Entry]:
    """The entries of a file, one a line; empty lines and those that begin with # are skipped. Raises KeysFileError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise KeysFileError(f"the file of API keys {path} cannot be read: {error.strerror}") from error
    found: list[Entry] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            found.append(decode_entry(line))
        except MalformedEntry as error:
            raise KeysFileError(f"{path}, line {number}: {error}") from None
    return found
