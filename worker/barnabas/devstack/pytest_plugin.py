"""pytest fixtures for whoever tests handlers against real servers; registered as a pytest plugin by the package.

pytest imports this in every run, also in those that never ask for a server: nothing is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from barnabas.devstack.stack import Addresses


@pytest.fixture(scope="session")
def barnabas_stack() -> Iterator[Addresses]:
    """A broker and a store for this session: `.kafka` is `host:port`, `.redis` a `redis://` URL.

    `BARNABAS_KAFKA` and `BARNABAS_REDIS` are used where they are set; what they leave open is started, empty, and ended
    with the session. Tests of one session share it: give each its own namespace.
    """
    from barnabas.devstack.session import session_stack

    with session_stack() as addresses:
        yield addresses
