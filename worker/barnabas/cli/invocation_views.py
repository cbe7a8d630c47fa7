"""Invocations and deadlocks as `barnabas invocations` prints them: tables and trees for people, JSON for programs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.tree import Tree

from barnabas.cli.printing import console, fields, one_line, shown, table
from barnabas.contract.ids import InvocationId
from barnabas.ingress.admin.operations import Batch
from barnabas.introspection.deadlocks import target_of
from barnabas.introspection.family import Relative
from barnabas.introspection.graph import ATTACH, CALL, KEY, Deadlock, Node
from barnabas.introspection.journals import Line
from barnabas.introspection.listing import Page
from barnabas.introspection.pictures import Picture
from barnabas.runtime.live import SCHEDULED

_REASONS = {KEY: "its key, held by", CALL: "the result of its call", ATTACH: "the result it attached to"}
_TIMES = ("accepted_at", "completed_at", "expires_at", "due", "retry_at")
#: Columns from which on ids are not folded, so that they can be copied.
_ROOM_FOR_IDS = 80
_SINCE = 8  # width of the column with times
_STYLES = {"running": "green", "suspended": "cyan", "backing-off": "yellow", "paused": "red"}


# -- deadlocks


def plain_deadlock(deadlock: Deadlock) -> dict[str, Any]:
    """For JSON. Each member of the cycle waits for the next one, the last for the first."""
    return {
        "since": iso(_since(deadlock)),
        "cycle": [plain_node(one, another) for one, another in _waiting(deadlock)],
        "others": [plain_node(node, None) for node in deadlock.others],
    }


def plain_node(node: Node, next_one: Node | None) -> dict[str, Any]:
    """For JSON. `waits_for` is the next one of the cycle, or everything where there is none."""
    waits = [wait for wait in node.waits if next_one is None or wait.target == next_one.id]
    return {
        "id": str(InvocationId(node.id)),
        "service": node.service,
        "key": node.key,
        "handler": node.handler,
        "status": node.status,
        "accepted_at": iso(node.accepted_at),
        "waits_for": [{"id": str(InvocationId(wait.target)), "because": wait.how} for wait in waits],
    }


def print_deadlocks(found: list[Deadlock], now: int) -> None:
    """A tree for each."""
    out = console()
    if not found:
        out.print("no deadlocks: no invocation waits for itself")
        return
    for number, deadlock in enumerate(found, 1):
        tree = Tree(f"[bold red]deadlock {number}[/] of {len(deadlock.cycle)}, {ago(_since(deadlock), now)}")
        for one, another in _waiting(deadlock):
            wait = one.wait_for(another.id)
            branch = tree.add(_titled(one))
            branch.add(f"waits for {_REASONS[wait.how] if wait else '?'}: {_titled(another)}")
        if deadlock.others:
            caught = tree.add("also waiting in a circle with these:")
            for node in deadlock.others:
                caught.add(_titled(node))
        out.print(tree)
    out.print("To end one, cancel any invocation in it: barnabas invocations cancel ID")


def _waiting(deadlock: Deadlock) -> list[tuple[Node, Node]]:
    return list(pairwise([*deadlock.cycle, deadlock.cycle[0]]))


def _since(deadlock: Deadlock) -> int | None:
    """When the youngest one was accepted: it closed the cycle, or came shortly before what did."""
    return max((node.accepted_at for node in deadlock.cycle if node.accepted_at is not None), default=None)


def _titled(node: Node) -> str:
    return (
        f"[bold]{one_line(target_of(node.service, node.key, node.handler))}[/]  {InvocationId(node.id)}  {node.status}"
    )


# -- invocations


def plain_picture(picture: Picture) -> dict[str, Any]:
    """For JSON."""
    plain = dataclasses.asdict(picture)
    plain["id"] = str(picture.id)
    plain["journal"] = None if picture.journal is None else [_plain_line(one) for one in picture.journal]
    plain["callers"] = [_plain_relative(one) for one in picture.callers]
    plain["callees"] = [_plain_relative(one) for one in picture.callees]
    return plain | {name: iso(plain[name]) for name in _TIMES}


def _plain_line(line: Line) -> dict[str, Any]:
    plain = dataclasses.asdict(line)
    plain["invocation"] = None if line.invocation is None else str(line.invocation)
    return plain | {"wakeup_at": iso(line.wakeup_at), "appended_at": iso(line.appended_at)}


def _plain_relative(one: Relative) -> dict[str, Any]:
    plain = dataclasses.asdict(one)
    return plain | {"id": str(one.id), "below": [_plain_relative(below) for below in one.below]}


def print_list(page: Page, now: int) -> None:
    """A line for each."""
    out = console()
    rows = table("id", "target", "status", "accepted", "failed attempts")
    rows.columns[0].no_wrap = out.width >= _ROOM_FOR_IDS
    for one in page.pictures:
        rows.add_row(
            str(one.id),
            one_line(target_of(one.service, one.key, one.handler)),
            _status(one),
            _age(one, now),
            str(one.failed_attempts or ""),
        )
    out.print(rows)
    if page.after is not None:
        out.print(f"there are more than these {len(page.pictures)}: narrow it down, raise --limit, or go on with")
        out.print(f"--after {page.after}", soft_wrap=True)


def _age(picture: Picture, now: int) -> str:
    if picture.status == SCHEDULED and picture.due is not None:
        return f"due {ago(picture.due, now)}"
    return ago(picture.accepted_at or picture.completed_at, now)


def print_picture(picture: Picture, now: int) -> None:
    """Everything about one."""
    rows = fields()
    for name, text in _rows(picture, now):
        rows.add_row(name, shown(text))
    out = console()
    out.print(rows)
    if picture.callers or picture.callees:
        out.print(_family(picture))
    if picture.journal is not None:
        out.print("[bold]journal[/]")
        for line in picture.journal:
            out.print(_drawn(line, picture, now), soft_wrap=True)


def _rows(picture: Picture, now: int) -> list[tuple[str, str]]:
    failure = picture.failure
    took = picture.accepted_at is not None and picture.completed_at is not None
    rows: list[tuple[str, str | None]] = [
        ("id", str(picture.id)),
        ("target", target_of(picture.service, picture.key, picture.handler)),
        ("status", picture.status + (f", {picture.ending} asked for" if picture.ending else "")),
        ("idempotency key", picture.idempotency_key),
        ("accepted", _when(picture.accepted_at, now)),
        ("due", _when(picture.due, now)),
        ("completed", _when(picture.completed_at, now)),
        ("took", span((picture.completed_at or 0) - (picture.accepted_at or 0)) if took else None),
        ("kept until", _when(picture.expires_at, now)),
        ("input", None if picture.input_bytes is None else f"{picture.input_bytes} bytes"),
        ("result", None if picture.result_bytes is None else f"{picture.result_bytes} bytes"),
        ("failure", None if failure is None else f"[{failure.code}] {failure.message}"),
        ("failed attempts", str(picture.failed_attempts) if picture.failed_attempts else None),
        ("last failure", picture.last_failure or None),
        ("next attempt", _when(picture.retry_at, now)),
        ("wanted by", "\n".join(picture.wanted_by) or None),
        ("waits for", "\n".join(picture.waits_for) or None),
    ]
    return [(name, text) for name, text in rows if text is not None]


def _family(picture: Picture) -> Tree:
    """Callers above, the invocation itself, callees below."""
    root = tree = Tree("[bold]callers and callees[/]", guide_style="dim")
    for caller in picture.callers:
        tree = tree.add(_named(caller))
    itself = tree.add(
        f"[bold reverse]{one_line(target_of(picture.service, picture.key, picture.handler))}[/]  {_status(picture)}"
    )
    for callee in picture.callees:
        _add_callee(itself, callee)
    return root


def _add_callee(tree: Tree, callee: Relative) -> None:
    branch = tree.add(f"{callee.how} at {callee.position}: {_named(callee)}")
    for below in callee.below:
        _add_callee(branch, below)


def _named(one: Relative) -> str:
    status = one.status or "over, or not accepted yet"
    style = _STYLES.get(status)
    return f"{one_line(one.target)}  {one.id}  {f'[{style}]{status}[/]' if style else status}"


def _drawn(line: Line, picture: Picture, now: int) -> str:
    """A line of the timeline: when it was since acceptance, commands by number, what came in indented below."""
    text = one_line(line.text)
    if line.entry_type == "Command: Input":
        return f"{'':>{_SINCE}}  [dim]accepted[/] {_when(picture.accepted_at, now) or ''}"
    if line.entry_type == "Command: Output":
        how = "[red]" if line.failure is not None else "[green]"
        return f"{_since_accepted(picture.completed_at, picture)}  {how}{text}[/]"
    since = _since_accepted(line.appended_at, picture)
    if line.entry_type.startswith("Command:"):
        mark = "[yellow]waits[/]  " if line.completed is False else ""
        due = f" [dim]until {_when(line.wakeup_at, now)}[/]" if line.wakeup_at is not None else ""
        return f"{since}  {line.position}. {mark}{text}{due}"
    took = f", after {span(line.took)}" if line.took is not None and line.took >= 0 else ""
    style = "red" if line.failure is not None else "dim"
    return f"{since}     [{style}]{text}{took}[/]"


def _since_accepted(ms: int | None, picture: Picture) -> str:
    """`+1.5 s`, in a column."""
    known = ms is not None and picture.accepted_at is not None
    text = f"+{span(max(0, (ms or 0) - (picture.accepted_at or 0)))}" if known else ""
    return f"[dim]{text:>{_SINCE}}[/]"


def _status(picture: Picture) -> str:
    if picture.failure is not None:
        return f"[red]failed ({picture.failure.code})[/]"
    style = _STYLES.get(picture.status)
    return f"[{style}]{picture.status}[/]" if style else picture.status


# -- operations


def plain_batch(batch: Batch) -> dict[str, Any]:
    """For JSON."""
    outcomes = [dataclasses.asdict(one) | {"id": str(one.id)} for one in batch.outcomes]
    return {"outcomes": outcomes, "more": batch.more}


def print_batch(batch: Batch) -> None:
    """A line for each; the id first, so that scripts can cut it out."""
    out = Console(soft_wrap=True, highlight=False)
    for one in batch.outcomes:
        style = "green" if one.done else "red"
        said = one.new_invocation_id or one.message
        out.print(f"{one.id}  [{style}]{one.status}[/]  {one_line(said)}")
    if not batch.outcomes:
        out.print("no invocation fits")
    if batch.more:
        out.print(f"there are more than these {len(batch.outcomes)}: run it again, or raise --limit")


# -- times


def iso(ms: int | None) -> str | None:
    """ISO 8601."""
    if ms is None:
        return None
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):  # a due time may lie beyond the calendar's end
        return f"{ms} ms"


def _when(ms: int | None, now: int) -> str | None:
    return None if ms is None else f"{iso(ms)}, {ago(ms, now)}"


def ago(ms: int | None, now: int) -> str:
    """How long ago, or in how long, roughly."""
    if ms is None:
        return "nobody knows since when"
    text = span(abs(now - ms))
    return f"{text} ago" if ms <= now else f"in {text}"


def span(ms: int) -> str:
    """A length of time in one unit."""
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    size, unit = next((s, u) for s, u in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")) if seconds >= s)
    return f"{seconds / size:.{1 if size == 1 and seconds < 10 else 0}f} {unit}"
