"""`barnabas services`: what workers have registered, and whether callers from outside may reach it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from barnabas.cli import configuring
from barnabas.cli.asking import NOT_FOUND, JsonOption, RedisOption, ask_store, print_json
from barnabas.cli.configuring import NamespaceOption
from barnabas.cli.printing import console, one_line, shown, table
from barnabas.store.port import Service, Store


def services(
    name: Annotated[str | None, typer.Argument(metavar="[SERVICE]", help="One of them, with its handlers.")] = None,
    public: Annotated[
        bool | None,
        typer.Option("--public/--private", help="Open the service to callers from outside, or close it."),
    ] = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the registered services, or one with its handlers; open it to the outside, or close it.

    Ends with 0, with 1 if there is no such service, 2 without an answer.
    """
    if public is not None and name is None:
        configuring.refuse("say which service: barnabas services SERVICE --public, or --private")

    async def ask(store: Store) -> dict[str, Service]:
        found = await store.services()
        if name is not None and public is not None and name in found:
            await store.set_public(name, public)
            found = await store.services()
        return found

    found = ask_store(redis, namespace, ask)
    if name is not None and name not in found:
        known = ", ".join(sorted(found)) or "none"
        configuring.refuse(
            f"no worker has registered a service '{name}' in this namespace; there are: {known}", NOT_FOUND
        )
    chosen = [found[one] for one in sorted(found) if name in (None, one)]
    if as_json:
        plain = [_plain(one) for one in chosen]
        print_json(plain[0] if name is not None else {"services": plain})
    elif name is not None:
        _print_one(chosen[0])
    else:
        _print_all(chosen)


def _plain(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "kind": service.kind,
        "public": service.public,
        "partitions": service.partitions,
        "group": service.group,
        "handlers": service.handlers,
        "about": service.about,
    }


def _print_all(found: list[Service]) -> None:
    rows = table("service", "kind", "public", "partitions", "group", "handlers")
    for one in found:
        handlers = ", ".join(sorted(one.handlers))
        rows.add_row(one.name, one.kind, _yes(one.public), str(one.partitions), one.group, one_line(handlers))
    console().print(rows)


def _print_one(service: Service) -> None:
    out = console()
    title = f"{service.kind} [bold]{service.name}[/], {service.partitions} partitions, group {service.group}"
    out.print(f"{title}, {'public' if service.public else '[yellow]private[/]'}", soft_wrap=True)
    if service.about.get("description"):
        out.print(shown(service.about["description"]))
    rows = table("handler", "kind", "public", "input", "output", "")
    abouts = service.about.get("handlers", {})
    for name, kind in sorted(service.handlers.items()):
        about = abouts.get(name, {})
        rows.add_row(
            name,
            kind,
            _yes(service.public and about.get("public", True)),
            one_line(
                _type(about.get("input_schema"), about.get("accept")) if about.get("takes_input", True) else "none"
            ),
            one_line(_type(about.get("output_schema"), about.get("content_type"))),
            shown(about.get("description") or ""),
        )
    out.print(rows)


def _type(schema: Any, content_type: str | None) -> str:
    """A JSON schema in a word."""
    if not isinstance(schema, dict):
        return content_type or "bytes"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), None)}"
    return str(schema.get("title") or schema.get("type") or "any")


def _yes(value: bool) -> str:
    return "yes" if value else "[yellow]no[/]"
