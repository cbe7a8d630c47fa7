"""`barnabas stubs`: the package it writes is typed, needs nothing of the app, and works against a real worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from barnabas.devstack.stack import Addresses
from tests.integration import shop_app
from tests.scenario.live_worker import worker
from tests.typing import checkers

HERE = Path(__file__).parent
TARGET = "tests.integration.shop_app:app"


def generate(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "barnabas.cli.main", "stubs", TARGET, "--out", str(out), *options]
    return subprocess.run(command, cwd=checkers.ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stubs")
    run = generate(out, "--package", "shop_api")
    assert run.returncode == 0, run.stdout + run.stderr
    return out


@pytest.fixture
def caller(tmp_path: Path) -> Path:
    """The caller's program, where nothing of this repository is near."""
    return Path(shutil.copy(HERE / "stub_caller.py", tmp_path / "caller.py"))


def test_package_and_caller_are_strictly_typed(stubs: Path, caller: Path) -> None:
    for run in (
        checkers.mypy(caller, stubs / "shop_api", path=[stubs, checkers.ROOT / "worker"], cwd=caller.parent),
        checkers.pyright(caller, stubs / "shop_api", scratch=caller.parent, path=[stubs]),
    ):
        assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_written_again_is_the_same(stubs: Path) -> None:
    before = {path: path.read_text() for path in stubs.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert generate(stubs, "--package", "shop_api").returncode == 0
    assert {path: path.read_text() for path in before} == before
    assert {path.relative_to(stubs).as_posix() for path in before} >= {"pyproject.toml", "shop_api/py.typed"}


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    run = generate(tmp_path)
    assert run.returncode == 2
    assert "was not written by `barnabas stubs`" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_a_name_that_no_package_can_have_is_refused(tmp_path: Path) -> None:
    run = generate(tmp_path, "--package", "no-name")
    assert (run.returncode, "no name of a package" in run.stderr) == (2, True)


async def test_a_caller_with_stubs_alone_uses_a_real_worker(
    barnabas_stack: Addresses, stubs: Path, caller: Path
) -> None:
    namespace = f"stubs-{uuid4().hex[:8]}"
    async with worker(barnabas_stack, namespace, TARGET, shop_app.app, 2):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": str(stubs),
            "BARNABAS_KAFKA": barnabas_stack.kafka,
            "BARNABAS_NAMESPACE": namespace,
        }
        run = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(caller)],
            cwd=caller.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
