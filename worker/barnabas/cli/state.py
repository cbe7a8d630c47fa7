"""`barnabas state get|edit|clear`: the state of one object or workflow key.

It is read from the store as of its last commit; changes go through the key's queue, behind the handler that runs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from barnabas.cli import configuring
from barnabas.cli.asking import NOT_DONE, JsonOption, RedisOption, ask_gateway, ask_store, print_json
from barnabas.cli.configuring import KafkaOption, NamespaceOption
from barnabas.cli.printing import console, one_line, plain_text, shown, table
from barnabas.ingress.admin.state import PATCH_SECONDS, Patched, State, read_state, replace_state
from barnabas.ingress.gateway import Gateway
from barnabas.store.port import Service, Store

app = typer.Typer(help="Look at the state of objects and workflows, and change it.", no_args_is_help=True)

#: How a value that is no JSON is written where one can be edited.
BINARY: Final = "$base64"

ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="An object or a workflow.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Its key, as it is.")]
SecondsOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for it to be done; it is done later all the same.")
]
VersionOption = Annotated[str | None, typer.Option("--version", help="Only if the state is still this one.")]


@app.command()
def get(
    service: ServiceArgument,
    key: KeyArgument,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all values of a key. Ends with 0, also if it has none; 2 if there is no such service, or no answer."""

    async def ask(store: Store) -> State:
        return await read_state(store, _known(await store.services(), service), key)

    state = ask_store(redis, namespace, ask)
    if as_json:
        print_json({"service": service, "key": key, "version": state.version, "state": readable(state.values)})
        return
    rows = table("name", "value", "bytes")
    for name, value in sorted(state.values.items()):
        rows.add_row(one_line(name), shown(json.dumps(_readable(value), ensure_ascii=False)), str(len(value)))
    out = console()
    out.print(rows)
    out.print(f"version {state.version}")


@app.command()
def edit(
    service: ServiceArgument,
    key: KeyArgument,
    put: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="Set this value; may be repeated.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="NAME", help="Clear this value.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE|-", help="All values, as a JSON object; - reads stdin.")
    ] = None,
    version: VersionOption = None,
    seconds: SecondsOption = PATCH_SECONDS,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the state of a key: single values, all from a file, or, without either, in your $EDITOR.

    Refused if the state changes meanwhile. A value that is no JSON is written {"$base64": "..."}. Ends with 0 if it was
    done or waits behind a handler that runs, 1 if it was refused or there is nothing to change, 2 if nobody could be
    asked.
    """

    async def ask(gateway: Gateway) -> Patched | None:
        found = _known(dict(gateway.services()), service)
        state = await read_state(gateway.store, found, key)
        # On a thread: an editor may be open for long.
        wanted = await asyncio.to_thread(_wanted, state.values, put or (), remove or (), file)
        if wanted == state.values:
            return None
        return await replace_state(gateway, found, key, wanted, version or state.version, seconds=seconds)

    _report(ask_gateway(kafka, redis, namespace, ask), as_json)


@app.command()
def clear(
    service: ServiceArgument,
    key: KeyArgument,
    version: VersionOption = None,
    seconds: SecondsOption = PATCH_SECONDS,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clear all values of a key. Ends as `edit` does."""

    async def ask(gateway: Gateway) -> Patched:
        found = _known(dict(gateway.services()), service)
        return await replace_state(gateway, found, key, {}, version, seconds=seconds)

    _report(ask_gateway(kafka, redis, namespace, ask), as_json)


def readable(values: dict[str, bytes]) -> dict[str, Any]:
    """Values as people read and edit them."""
    return {name: _readable(value) for name, value in sorted(values.items())}


def taken(edited: dict[str, Any], before: dict[str, bytes]) -> dict[str, bytes]:
    """Values as they were edited. One that was not touched keeps its very bytes. Raises ValueError."""
    found = {}
    for name, value in edited.items():
        old = before.get(name)
        found[name] = old if old is not None and _readable(old) == value else _bytes(value)
    return found


def _readable(value: bytes) -> Any:
    try:
        found = json.loads(value)
        json.dumps(found, allow_nan=False)  # Python reads NaN and Infinity, which are no JSON
    except (ValueError, RecursionError):
        return {BINARY: base64.b64encode(value).decode()}
    return found


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict) and value.keys() == {BINARY} and isinstance(value[BINARY], str):
        try:
            return base64.b64decode(value[BINARY], validate=True)
        except ValueError as error:
            raise ValueError(f"what stands at {BINARY} is no base64: {error}") from None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _wanted(before: dict[str, bytes], put: Any, remove: Any, file: str | None) -> dict[str, bytes]:
    if file is not None:
        if put or remove:
            raise ValueError("--file gives all values: it goes without --set and --remove")
        return taken(_parsed(_read(file)), before)
    if put or remove:
        wanted = {name: value for name, value in before.items() if name not in remove}
        return wanted | {name: _bytes(value) for name, value in map(_pair, put)}
    text = _edited(json.dumps(readable(before), indent=2, ensure_ascii=False) + "\n")
    return before if not text.strip() else taken(_parsed(text), before)


def _read(file: str) -> str:
    try:
        return typer.get_text_stream("stdin").read() if file == "-" else Path(file).read_text()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text") from None


def _edited(text: str) -> str:
    """The text as a person leaves it. Raises ValueError where the editor cannot be run, or fails."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="barnabas-") as folder:
        file = Path(folder) / "state.json"
        file.write_text(text)
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ValueError(
                f"the editor '{editor}' did not work ({error}): set EDITOR, or use --set or --file"
            ) from None
        return file.read_text()


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"'{text}' sets nothing: write NAME=JSON")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{value}' is no JSON ({error}); text is written NAME='\"text\"'") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("the state is a JSON object: {name: value, ...}")
    return found


def _known(services: dict[str, Service], name: str) -> Service:
    found = services.get(name)
    if found is None:
        known = ", ".join(sorted(one.name for one in services.values() if one.kind != "service")) or "none"
        raise ValueError(f"no worker has registered '{name}' in this namespace; with state there are: {known}")
    return found


def _report(done: Patched | None, as_json: bool) -> None:
    if done is None:
        configuring.refuse("nothing to change", NOT_DONE)
    if as_json:
        print_json(
            {
                "status": done.status,
                "applied": done.applied,
                "message": done.message,
                "invocation_id": str(done.invocation),
            }
        )
    else:
        typer.echo(plain_text(done.message), err=done.status != 202)
    if done.status != 202:
        raise typer.Exit(NOT_DONE)
