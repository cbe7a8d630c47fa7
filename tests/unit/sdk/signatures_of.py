"""Signatures as plain values: names, kinds and defaults of parameters. For test_signatures.py; makes its snapshot by

    python tests/unit/sdk/signatures_of.py restate > tests/unit/sdk/restate_signatures.json

in an environment that has restate-sdk (1.3.0 at the time of writing).
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from typing import Any

#: Module below the package -> names in it whose signatures users rely on; of classes their public methods too.
WANTED = {
    "": [
        "Context",
        "InvocationRetryPolicy",
        "ObjectContext",
        "ObjectSharedContext",
        "RestateDurableCallFuture",
        "RestateDurableFuture",
        "RestateDurableSleepFuture",
        "RestateLoggingFilter",
        "DurablePromise",
        "RunOptions",
        "SdkInternalBaseException",
        "SendHandle",
        "Service",
        "TerminalError",
        "VirtualObject",
        "Workflow",
        "WorkflowContext",
        "WorkflowSharedContext",
        "app",
        "as_completed",
        "gather",
        "getLogger",
        "is_internal_exception",
        "select",
        "wait_completed",
    ],
    "asyncio": ["as_completed", "gather", "select", "wait_completed"],
    "context_managers": ["contextvar"],
    "exceptions": [
        "RetryableError",
        "SdkInternalBaseException",
        "SdkInternalException",
        "SuspendedException",
        "TerminalError",
        "is_internal_exception",
    ],
    "extensions": ["contextvar", "current_context"],
    "logging": ["RestateLoggingFilter", "getLogger"],
    "serde": [
        "BytesSerde",
        "DefaultSerde",
        "JsonSerde",
        "MsgspecJsonSerde",
        "PydanticJsonSerde",
        "Serde",
    ],
}


def signatures(package: str) -> dict[str, Any]:
    """`name` or `Class.method` -> its parameters, for everything in `WANTED`."""
    found: dict[str, Any] = {}
    for below, names in WANTED.items():
        module = importlib.import_module(f"{package}.{below}" if below else package)
        for name in names:
            prefix = f"{below}.{name}" if below else name
            found.update(_of(prefix, getattr(module, name)))
    return found


def _of(name: str, value: Any) -> dict[str, Any]:
    if not inspect.isclass(value):
        return {name: parameters(value)}
    methods = {m for base in value.__mro__ for m in vars(base) if _is_ours(base)}
    public = [m for m in sorted(methods) if not m.startswith("_") and inspect.isroutine(getattr(value, m))]
    found = {f"{name}.{m}": parameters(getattr(value, m)) for m in public}
    # A Protocol-like abstract class without a constructor of its own has nothing to compare.
    if "__init__" in methods:
        found[f"{name}.__init__"] = parameters(value.__init__)
    return found


def _is_ours(base: type) -> bool:
    return base.__module__.split(".")[0] in ("restate", "barnabas")


def parameters(fn: Any) -> list[list[str | None]]:
    """One `[name, kind, default]` a parameter. Serdes and options stand by their class; None is no default."""
    return [[p.name, p.kind.name, _default(p.default)] for p in inspect.signature(fn).parameters.values()]


def _default(value: Any) -> str | None:
    if value is inspect.Parameter.empty:
        return None
    plain = value is None or isinstance(value, (str, int, float))
    return repr(value) if plain else type(value).__name__


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(signatures(sys.argv[1]).items())]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
