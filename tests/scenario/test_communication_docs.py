"""docs/communication.md: its examples are those of `examples/communication`, word for word, and each of them holds."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import barnabas
from tests.scenario.installation import ROOT, Installation, Servers, installation

PAGE = ROOT / "docs/communication.md"
FOLDER = ROOT / "examples/communication"
EXAMPLES = sorted(file.stem for file in FOLDER.glob("[!_]*.py") if "async def main(" in file.read_text())
SHOWN = [*EXAMPLES, "shop"]
#: What the issue wants a row for, in the words of the page.
ROWS = [
    "request-response",
    "workflows",
    "generic calls and sends",
    "one-way messages",
    "order",
    "delayed messages",
    "idempotency keys",
    "automatic deduplication",
    "attach",
    "cancel",
    "kill",
    "deadlocks",
    "request headers",
    "definitions: handlers and services",
    "definitions: a protocol of your own",
    "definitions: a generated package",
    "definitions: none",
    "combinators",
    "awakeables",
    "promises",
    "signals",
    "sagas",
]
LINKED = re.compile(r"^\[(examples/[\w/]+\.py)\]\(\.\./\1\)\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SNIPPET = re.compile(r"^# snippet\n(.*?)^# end$", re.DOTALL | re.MULTILINE)


def test_every_example_is_on_the_page_word_for_word() -> None:
    shown = dict(LINKED.findall(PAGE.read_text()))
    for path, code in shown.items():
        (snippet,) = SNIPPET.findall((ROOT / path).read_text())
        assert code == snippet.strip("\n") + "\n", f"{PAGE.name} shows another text of {path}"
    assert set(shown) == {*(f"examples/communication/{name}.py" for name in SHOWN), "examples/saga/app.py"}


def test_no_other_code_is_on_the_page() -> None:
    assert PAGE.read_text().count("```python\n") == len(SHOWN) + 1


def test_the_table_has_every_row_and_each_leads_to_an_example() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"^\| \[([^\]]+)\]\(#([\w-]+)\) \| \S", text, re.MULTILINE)
    assert [name for name, _ in rows] == ROWS
    sections = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"): body
        for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    }
    for name, anchor in rows:
        assert LINKED.search(sections[anchor]), f"no example for {name}"


@pytest.fixture(scope="module")
def place(barnabas_stack: Servers) -> Iterator[Installation]:
    with installation(barnabas_stack, "examples.communication.app:app") as place:
        yield place


@pytest.fixture
async def client(place: Installation) -> AsyncIterator[barnabas.Client]:
    async with place.client() as client:
        yield client


@pytest.fixture
def shop_api(place: Installation, tmp_path: Path) -> Iterator[None]:
    """The package that `barnabas stubs` writes, importable."""
    target = "examples.communication.shop:app"
    written = place.run("stubs", target, "--out", str(tmp_path), "--package", "shop_api")
    assert written.returncode == 0, written.stderr
    (module,) = tmp_path.rglob("shop_api/__init__.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(module.parents[1]))
        yield
    for name in [name for name in sys.modules if name.split(".")[0] == "shop_api"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_holds(name: str, client: barnabas.Client, request: pytest.FixtureRequest) -> None:
    if name == "definitions_stubs":
        request.getfixturevalue("shop_api")
    module = importlib.import_module(f"examples.communication.{name}")
    await module.main(client, f"try {name}")


async def test_a_deadlock_is_listed_until_it_is_cancelled(place: Installation, client: barnabas.Client) -> None:
    """What the row on deadlocks says about the command line."""
    from examples.communication.deadlocks import ask

    first, second = "listed/a", "listed/b"
    waiting = await client.object_send(ask, first, [second, first])
    while waiting.invocation_id not in (listed := place.run("invocations", "deadlocks")).stdout:
        assert listed.returncode in (0, 1), listed.stderr
    assert first in listed.stdout
    assert second in listed.stdout
    assert place.run("invocations", "cancel", waiting.invocation_id).returncode == 0
    assert await client.object_call(ask, first, [second], timeout=30) == "answered"
    assert waiting.invocation_id not in place.run("invocations", "deadlocks").stdout
