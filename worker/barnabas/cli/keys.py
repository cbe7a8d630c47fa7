"""`barnabas keys create|list|revoke`: who may come in by the doors. In the store, or in a file of one's own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from barnabas.cli import configuring
from barnabas.cli.configuring import NamespaceOption, RedisOption
from barnabas.ingress.access.keyring import REFRESH_SECONDS, KeysFileError, read_keys_file
from barnabas.ingress.access.keys import Entry, MalformedEntry, Role, decode_entry, new_key
from barnabas.store.api_keys import ApiKeys, RedisApiKeys
from barnabas.store.port import StoreCorrupt, StoreUnavailable

app = typer.Typer(help="Create, list and revoke API keys of the ingress and the admin API.", no_args_is_help=True)

_NOT_FOUND = 1
_PRIVATE = 0o600

T = TypeVar("T")

FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="A file for BARNABAS_API_KEYS_FILE, in the place of the store."),
]


@app.command()
def create(
    roles: Annotated[
        list[Role], typer.Option("--role", help="What it lets its holder do. May be repeated; operate includes read.")
    ],
    name: Annotated[str, typer.Option("--name", help="Who has it, for lists.")] = "",
    file: FileOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make a key, and print it: this once, only a salted hash is kept.

    It opens the doors within two seconds. The key goes to stdout, everything else to stderr.
    """
    key = new_key(roles, name, round(time.time() * 1000))
    if file is None:
        _with_store(redis, namespace, lambda keys: keys.put(key.entry.id, key.entry.encode()))
    else:
        with configuring.explained(OSError):
            file.touch(mode=_PRIVATE)
            with file.open("a+b") as entries:
                entries.seek(0)
                before = entries.read()
                ended = not before or before.endswith(b"\n")  # an editor may have left the last line open
                entries.write((b"" if ended else b"\n") + key.entry.encode() + b"\n")
    typer.echo(key.text)
    typer.echo(
        f"This is shown once. It may {' and '.join(sorted(roles))}, and opens the doors in {REFRESH_SECONDS:g} s. "
        f"End it with: barnabas keys revoke {key.entry.id}{'' if file is None else f' --file {file}'}",
        err=True,
    )


@app.command("list")
def list_(
    file: FileOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the keys there are, without what opens."""
    entries = sorted(_entries(file, redis, namespace), key=lambda entry: (entry.created_at, entry.id))
    if as_json:
        typer.echo(json.dumps({"keys": [_plain(entry) for entry in entries]}, indent=2))
        return
    table = Table("id", "name", "may", "since")
    for entry in entries:
        table.add_row(entry.id, entry.name, ", ".join(sorted(entry.roles)), _moment(entry))
    Console().print(table)


@app.command()
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of keys, as `barnabas keys list` shows them.")],
    file: FileOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """End keys; within two seconds they open no door any more. Ends with 1 if one of them was not there."""
    if file is not None:
        missing = _revoke_in(file, ids)
    else:

        async def remove(keys: ApiKeys) -> list[str]:
            return [id_ for id_ in ids if not await keys.remove(id_)]

        missing = _with_store(redis, namespace, remove)
    if missing:
        configuring.refuse(
            f"there is no key {', '.join(missing)}: barnabas keys list shows those there are", _NOT_FOUND
        )


def _entries(file: Path | None, redis: str | None, namespace: str | None) -> list[Entry]:
    if file is not None:
        with configuring.explained(KeysFileError):
            return read_keys_file(file)

    async def read(keys: ApiKeys) -> list[Entry]:
        return [decode_entry(text) for text in (await keys.entries()).values()]

    return _with_store(redis, namespace, read)


def _revoke_in(file: Path, ids: Sequence[str]) -> list[str]:
    """Rewrite the file without them, its other lines as they are; returns those that it does not have."""
    with configuring.explained(KeysFileError, OSError):
        there = {entry.id for entry in read_keys_file(file)}
        kept = [line for line in file.read_bytes().splitlines(keepends=True) if not _is_one_of(line, ids)]
        draft = file.with_name(f"{file.name}.new")
        draft.touch(mode=_PRIVATE)
        draft.write_bytes(b"".join(kept))
        draft.replace(file)
    return [id_ for id_ in ids if id_ not in there]


def _is_one_of(line: bytes, ids: Sequence[str]) -> bool:
    try:
        return decode_entry(line).id in ids
    except MalformedEntry:  # empty, or a remark
        return False


def _with_store(redis: str | None, namespace: str | None, ask: Callable[[ApiKeys], Awaitable[T]]) -> T:
    if not redis:
        configuring.refuse("where is the store? Set BARNABAS_REDIS=redis://..., or keep keys in a file: --file FILE")

    async def answer() -> T:
        keys = RedisApiKeys(redis, configuring.namespace_of(namespace))
        try:
            return await ask(keys)
        finally:
            await keys.aclose()

    with configuring.explained(StoreUnavailable, StoreCorrupt, ValueError):
        return asyncio.run(answer())
    raise AssertionError("explained() ends the command")


def _plain(entry: Entry) -> dict[str, object]:
    return {"id": entry.id, "name": entry.name, "roles": sorted(entry.roles), "created_at": entry.created_at}


def _moment(entry: Entry) -> str:
    return f"{datetime.fromtimestamp(entry.created_at / 1000, UTC):%Y-%m-%d %H:%M} UTC" if entry.created_at else ""
