"""`barnabas dead-letters list|show|requeue`: records that nobody could read or deliver."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from barnabas.cli import configuring
from barnabas.cli.asking import NOT_DONE, NOT_FOUND, JsonOption, RedisOption, ask_gateway, print_json
from barnabas.cli.configuring import KafkaOption, NamespaceOption
from barnabas.cli.invocation_views import ago, iso
from barnabas.cli.printing import console, fields, one_line, plain_text, shown, table
from barnabas.ingress.admin.requeue import NotRequeued, requeue
from barnabas.ingress.admin.views import dead_letter, whole_dead_letter
from barnabas.ingress.errors import GatewayError
from barnabas.ingress.gateway import Gateway
from barnabas.introspection.dead_letters import Found, LetterPage, list_dead_letters, parse_name, read_dead_letter
from barnabas.log.port import LogUnavailableError

app = typer.Typer(help="Look at records that nobody could read or deliver, and put them back.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="As the list shows it.")]
_SHOWN_BYTES = 2_000


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    before: Annotated[str | None, typer.Option("--before", help="Go on where a former list ended.")] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List them, the latest first. Ends with 0, or with 2 without an answer."""

    async def ask(gateway: Gateway) -> tuple[LetterPage, int]:
        topic = gateway.names.dead_letters
        page = await list_dead_letters(gateway.admin, gateway.reader, topic, limit, before)
        return page, gateway.clock()

    page, now = ask_gateway(kafka, redis, namespace, ask)
    if as_json:
        print_json({"dead_letters": [_plain(one) for one in page.letters], "before": page.before})
        return
    rows = table("", "written", "reason", "from", "what was wrong")
    for one in page.letters:
        letter = one.letter
        rows.add_row(
            one.name, ago(one.written_at, now), one_line(letter.reason), one_line(_place(one)), one_line(letter.detail)
        )
    out = console()
    out.print(rows)
    if page.before is not None:
        out.print(f"there are older ones: --before '{page.before}'", soft_wrap=True)


@app.command()
def show(
    name: NameArgument,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one with its content. Ends with 0, with 1 if there is none at this place, 2 without an answer."""

    async def ask(gateway: Gateway) -> Found:
        letter = await _letter(gateway, *parse_name(name))
        if letter is None:
            configuring.refuse(_missing(gateway, name), NOT_FOUND)
        return letter

    found = ask_gateway(kafka, redis, namespace, ask)
    if as_json:
        print_json({"name": found.name} | whole_dead_letter(found).model_dump())
        return
    rows = fields()
    letter = found.letter
    for title, text in (
        ("dead letter", found.name),
        ("written", iso(found.written_at) or ""),
        ("reason", letter.reason),
        ("what was wrong", letter.detail),
        ("from", _place(found)),
        ("key", _readable(letter.key)),
        *((f"header {header}", _readable(value)) for header, value in letter.headers),
        ("value", _readable(letter.value)),
    ):
        rows.add_row(one_line(title), shown(text))
    console().print(rows)


@app.command("requeue")
def requeue_(
    names: Annotated[list[str], typer.Argument(metavar="PARTITION-OFFSET...", help="As the list shows them.")],
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put their records back to the topics they came from. The letters stay; raw records put back twice run twice.

    Ends with 0 if all were put back, 1 if some or none, 2 if nobody could be asked.
    """

    async def ask(gateway: Gateway) -> list[dict[str, Any]]:
        places = [parse_name(name) for name in names]  # nothing is done if one of them names none
        return [await _put_back(gateway, name, *place) for name, place in zip(names, places, strict=True)]

    outcomes = ask_gateway(kafka, redis, namespace, ask)
    if as_json:
        print_json({"outcomes": outcomes})
    else:
        for one in outcomes:
            typer.echo(plain_text(f"{one['name']}  {one['message']}"), err=not one["requeued"])
    if not all(one["requeued"] for one in outcomes):
        raise typer.Exit(NOT_DONE)


async def _put_back(gateway: Gateway, name: str, partition: int, offset: int) -> dict[str, Any]:
    """What came of one; never an error, since those before it are to be told of: put back twice they may run twice."""
    found = await _letter(gateway, partition, offset)
    if found is None:
        return {"name": name, "requeued": False, "message": _missing(gateway, name)}
    try:
        record = await requeue(gateway, found)
    except (NotRequeued, GatewayError, LogUnavailableError) as error:
        return {"name": name, "requeued": False, "message": str(error)}
    return {"name": name, "requeued": True, "message": f"put back to {record.topic}"}


async def _letter(gateway: Gateway, partition: int, offset: int) -> Found | None:
    return await read_dead_letter(gateway.admin, gateway.reader, gateway.names.dead_letters, partition, offset)


def _missing(gateway: Gateway, name: str) -> str:
    return f"{gateway.names.dead_letters} has no dead letter {name}, or none any more"


def _plain(found: Found) -> dict[str, Any]:
    return {"name": found.name} | dead_letter(found).model_dump()


def _place(found: Found) -> str:
    letter = found.letter
    if not letter.topic:
        return "?"
    offset = f"at {letter.offset}" if letter.offset >= 0 else "on its way there"
    return f"{letter.topic}[{letter.partition}] {offset}"


def _readable(value: bytes | None) -> str:
    if value is None:
        return "none"
    text = value[:_SHOWN_BYTES].decode(errors="replace")
    return text if len(value) <= _SHOWN_BYTES else f"{text} ... {len(value)} bytes in all, --json has them"
