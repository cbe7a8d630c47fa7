"""The public surface: what `__all__` says is there, is all of it, and loads no driver."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import barnabas
import barnabas.asyncio
import barnabas.context
import barnabas.context_managers
import barnabas.endpoint
import barnabas.exceptions
import barnabas.extensions
import barnabas.logging
import barnabas.object
import barnabas.retry_policy
import barnabas.serde
import barnabas.service
import barnabas.workflow

#: By the names that a service file written for Restate may import from.
MODULES = [
    barnabas,
    barnabas.asyncio,
    barnabas.context,
    barnabas.context_managers,
    barnabas.endpoint,
    barnabas.exceptions,
    barnabas.extensions,
    barnabas.logging,
    barnabas.object,
    barnabas.retry_policy,
    barnabas.serde,
    barnabas.service,
    barnabas.workflow,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_names_exactly_what_the_module_imports(module):
    submodules = {name for name, value in vars(module).items() if inspect.ismodule(value)}
    own = (
        {name for name in vars(module) if not name.startswith("_")}
        - submodules
        - {"annotations", "Any", "TYPE_CHECKING"}
    )

    assert sorted(module.__all__) == module.__all__
    lazy = {"Client", "Sent"}
    assert own | lazy == set(module.__all__) | lazy


def test_restate_names_are_ours():
    assert barnabas.RestateDurableFuture is barnabas.DurableFuture
    assert barnabas.exceptions.TerminalError is barnabas.TerminalError


def test_client_is_exported_and_imported_at_first_use():
    assert "Client" in barnabas.__all__
    assert barnabas.Client.__name__ == "Client"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = barnabas.Clint


def test_importing_barnabas_loads_no_driver():
    """Whoever only defines handlers does not pay for Kafka and Redis libraries."""
    program = "import sys, barnabas; print(sorted({'aiokafka', 'confluent_kafka', 'redis'} & sys.modules.keys()))"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
