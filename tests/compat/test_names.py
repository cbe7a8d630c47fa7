"""The project in `restate_project` says nothing but what Restate's SDK knows, so that running it proves something.

It was also imported under restate-sdk 1.3.0 itself, where `restate.app` builds. Again, where that is installed:

    cd tests/compat && python -c "from restate_project.app import app"
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "restate_project").glob("[!_]*.py"))
SIGNATURES: dict[str, list[list[str | None]]] = json.loads(
    (HERE.parent / "unit/sdk/restate_signatures.json").read_text()
)
#: Names at the top of Restate's package that are no classes with signatures of interest.
FURTHER = {"gather", "select", "as_completed", "wait_completed", "getLogger"}
MODULES = {"serde", "exceptions"}
KINDS = {"Service", "VirtualObject", "Workflow"}


def _chain(node: ast.expr) -> str:
    """`restate.serde.BytesSerde` of its syntax tree, or an empty text for what is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return before and f"{before}.{node.attr}"
    return ""


def _chains(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and (chain := _chain(node)):
            yield chain


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_names_of_the_package_are_restates(file: Path) -> None:
    known = {name.rpartition(".")[0] or name for name in SIGNATURES} | FURTHER | MODULES
    known |= {name.removesuffix(".__init__") for name in SIGNATURES}
    used = {chain.removeprefix("restate.") for chain in _chains(file) if chain.startswith("restate.")}
    assert used
    assert used - known == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_methods_of_the_context_are_restates(file: Path) -> None:
    known = {name.split(".")[1] for name in SIGNATURES if "Context." in name}
    used = {chain.split(".")[1] for chain in _chains(file) if chain.startswith("ctx.")}
    assert used - known == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_keywords_of_calls_are_restates(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        chain = _chain(node.func)
        owner, _, method = chain.partition(".")
        if owner == "ctx" and method != "run_typed":  # whose keywords are those of the action
            names = [name for name in SIGNATURES if name.endswith(f"Context.{method}")]
        elif owner == "restate":
            names = [name for name in (method, f"{method}.__init__") if name in SIGNATURES]
        else:
            continue
        allowed = {parameter[0] for name in names for parameter in SIGNATURES[name]}
        given = {keyword.arg for keyword in node.keywords if keyword.arg}
        assert method in FURTHER or given <= allowed, f"{chain}: {given - allowed}"


def test_restate_is_what_every_file_imports_and_fifteen_services_are_there() -> None:
    made = [
        chain
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and (chain := _chain(node.func)).removeprefix("restate.") in KINDS
    ]
    assert len(made) >= 15
    for file in FILES:
        lines = file.read_text().splitlines()
        assert lines.count("import restate") == 1
        imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert "barnabas" not in imported
