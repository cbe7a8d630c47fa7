"""Fixtures of this folder: one installation for all who only make calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.doors import Doors, doors
from tests.scenario.installation import Servers


@pytest.fixture(scope="session")
def open_doors(barnabas_stack: Servers) -> Iterator[Doors]:
    """`tests.interop.app` behind both doors."""
    with doors(barnabas_stack, "tests.interop.app:app") as found:
        yield found
        found.assert_alive()
