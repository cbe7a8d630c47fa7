"""schemathesis against the documents that the doors publish: what they say is what they do, whatever is asked.

The seed is fixed. INTEROP_SECONDS (25) is how long it goes on with each document; SCHEMATHESIS_SEED another seed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.interop.doors import Doors, doors
from tests.scenario.installation import Servers

CONFIGURATION = Path(__file__).parent / "schemathesis"
SECONDS = int(os.environ.get("INTEROP_SECONDS", "25"))
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


@pytest.fixture
def shelf(barnabas_stack: Servers) -> Iterator[Doors]:
    """An app in which nothing waits, behind both doors; whoever tries the admin API closes services."""
    with doors(barnabas_stack, "tests.interop.shelf_app:app") as found:
        yield found
        found.assert_alive()


@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.parametrize(("door", "document"), [("ingress", "/openapi-ingress"), ("admin", "/openapi")])
def test_schemathesis_finds_nothing(shelf: Doors, door: str, document: str, tmp_path: Path) -> None:
    folder = shutil.copytree(CONFIGURATION, tmp_path / "run")  # where it leaves what it remembers of a run
    url = {"ingress": shelf.ingress, "admin": shelf.admin}[door]
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", f"{door}.toml"),
        *("run", f"{shelf.admin}{document}", "--url", url, "--seed", SEED, "--max-time", str(SECONDS)),
        *("--no-color", "--generation-database", "none"),
    ]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "default"}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS + 150, check=False
    )
    assert ended.returncode == 0, f"seed {SEED}\n{ended.stdout}{ended.stderr}"
    assert "No issues found" in ended.stdout or " passed" in ended.stdout, ended.stdout


@pytest.mark.parametrize("document", ["/openapi-ingress", "/openapi", "/services/Counter/openapi"])
def test_documents_are_openapi_3_1(open_doors: Doors, document: str) -> None:
    """They are published at fixed paths, and have something in them."""
    content = httpx.get(f"{open_doors.admin}{document}").json()
    assert content["openapi"].startswith("3.1")
    assert content["paths"]
    assert not any("Private" in path for path in content["paths"]), "a private service is in a document"
