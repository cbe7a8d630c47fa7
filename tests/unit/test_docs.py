"""The documentation says nothing that is not there: links, files, make targets, commands and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from barnabas.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
#: A path from the top of the repository, or from the package.
OUR_FILE = re.compile(
    r"(?:worker|tests|docs|examples|bench|schemas|topics|cli|devstack|runtime|store|log|client|sdk|contract)/[\w./-]*"
)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _commands(page: Path) -> Iterator[str]:
    """Lines of shell blocks and code spans, comments left out."""
    text = page.read_text()
    for language, block in BLOCK.findall(text):
        if language == "shell":
            yield from (line.split(" #")[0].strip() for line in block.splitlines())
    yield from SPAN.findall(BLOCK.sub("", text))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_internal_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_name(page)} links to {link}"
        if anchor:
            assert anchor in map(_anchor, HEADING.findall(target.read_text())), f"{_name(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_exist(page: Path) -> None:
    for span in SPAN.findall(BLOCK.sub("", page.read_text())):
        if OUR_FILE.fullmatch(span):
            found = (ROOT / span).exists() or (ROOT / "worker/barnabas" / span).exists()
            assert found, f"{_name(page)} names {span}"


def test_functions_that_the_rules_name_are_in_the_file_before_them() -> None:
    text = (ROOT / "docs/guarantees.md").read_text()
    places = re.findall(r"`(worker/[\w./]+\.py)` \(((?:`\w+`(?:, )?)+)\)", text)
    assert len(places) > 10
    for path, names in places:
        code = (ROOT / path).read_text()
        for name in SPAN.findall(names):
            assert re.search(rf"^\s*(?:async )?def {name}\(|^{name}\b", code, re.MULTILINE), f"{path} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    for command in _commands(page):
        words = command.split()
        if words[:1] == ["make"] and len(words) > 1:
            assert words[1] in targets, f"{_name(page)}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for command in _commands(page):
        words = re.sub(r".*(?=\bbarnabas )", "", command).rstrip('")').split()
        if words[:1] != ["barnabas"] or command.startswith("import "):
            continue
        found = _Found(get_command(app))
        for word in words[1:]:
            found = found.after(word)
        assert not found.missing, f"{_name(page)}: '{command}': there is no {found.missing}"


class _Found:
    """How far the words of a command line lead into the tree of commands."""

    def __init__(self, command: object, missing: str = "") -> None:
        self.command = command
        self.missing = missing

    def after(self, word: str) -> _Found:
        if self.missing:
            return self
        if word.startswith("--"):
            known = {option for one in self.command.params for option in one.opts} | {"--help"}  # type: ignore[attr-defined]
            return self if word in known else _Found(self.command, word)
        commands = getattr(self.command, "commands", None)
        if commands is None or "|" in word:
            return self  # an argument
        return _Found(commands[word]) if word in commands else _Found(self.command, word)
