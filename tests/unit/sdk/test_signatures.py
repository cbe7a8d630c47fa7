"""Names, kinds and defaults of parameters are those of Restate's Python SDK: handlers move by one changed import."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
RESTATE: dict[str, list[list[str | None]]] = json.loads((HERE / "restate_signatures.json").read_text())


def _ours() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("signatures_of", HERE / "signatures_of.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.signatures("barnabas")
    return found


OURS = _ours()


def test_the_snapshot_covers_every_kind_of_thing_that_users_write():
    assert {"Service.handler", "Workflow.main", "Context.run_typed", "ObjectContext.set", "app"} <= RESTATE.keys()
    assert len(RESTATE) > 150


@pytest.mark.parametrize("name", sorted(RESTATE))
def test_parameters_are_those_of_restate(name: str):
    theirs, ours = RESTATE[name], OURS[name]

    assert ours[: len(theirs)] == theirs
    added = ours[len(theirs) :]
    assert all(kind == "KEYWORD_ONLY" and default is not None for _, kind, default in added)
