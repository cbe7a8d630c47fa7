"""A Node program with `@restatedev/restate-sdk-clients` from npm, unchanged, against an app on Barnabas."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.doors import Doors, free_port
from tests.interop.node_tools import find_node, installed

PROJECT = Path(__file__).parent / "node"


@pytest.mark.timeout(420)
def test_the_client_from_npm(open_doors: Doors, tmp_path: Path) -> None:
    """Every check of the program, which are at least those that it has today."""
    node = find_node()
    modules = installed(PROJECT, node)
    shutil.copy(PROJECT / "program.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(modules, target_is_directory=True)
    environment = os.environ | {
        "INGRESS": open_doors.ingress,
        "INGRESS_WITHOUT": f"http://127.0.0.1:{free_port()}",
        "NO_COLOR": "1",
    }
    command = [*node.node, "program.mjs"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = len(re.findall(r"^check\(", (PROJECT / "program.mjs").read_text(), re.MULTILINE))
    assert f"passed: {written}\n" in ended.stdout, ended.stdout


def test_the_lock_file_names_no_registry() -> None:
    """Where packages come from is the installation's choice; what they are is said by their hashes."""
    for file in ("package.json", "package-lock.json"):
        text = (PROJECT / file).read_text()
        assert "://" not in text
    assert text.count('"integrity": "sha512-') == 2


def test_node_from_pypi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no Node is on PATH, the package's own runs, and its npm."""
    monkeypatch.setenv("PATH", "/nowhere")
    node = find_node()
    for command in (node.node, node.npm):
        assert subprocess.run([*command, "--version"], capture_output=True, check=True).stdout
