"""The types of the public API, as users' type checkers see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.typing import checkers

HERE = checkers.ROOT / "tests" / "typing"


@pytest.mark.parametrize("file", ["api.py", "definitions.py"])
def test_mypy_strict_agrees_with_the_typing_examples(file: str):
    run = checkers.mypy(HERE / file)

    assert run.returncode == 0, run.stdout + run.stderr


def test_pyright_strict_agrees_with_the_examples_of_definitions(tmp_path: Path):
    run = checkers.pyright(HERE / "definitions.py", scratch=tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("wrong", ["ctx.service_call(greet, 5)", 'assert_type(ctx.service_call(greet, "Hi"), int)'])
def test_both_checkers_find_a_mistake(tmp_path: Path, wrong: str):
    """The examples above prove something only if a checker that finds nothing is no checker that looks at nothing."""
    file = tmp_path / "wrong.py"
    file.write_text(
        f"""from typing import assert_type

import barnabas

greeter = barnabas.Service("Greeter")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    {wrong}
    return name
"""
    )

    assert "wrong.py:10: error" in checkers.mypy(file, cwd=checkers.ROOT).stdout
    assert "wrong.py:10:" in checkers.pyright(file, scratch=tmp_path).stdout
