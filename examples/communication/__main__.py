"""Runs examples against a worker that serves `examples.communication.app:app`.

python -m examples.communication delayed cancel    # or all of them, without names
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from uuid import uuid4

import barnabas

#: Examples that need something which is not there by itself; see their rows in docs/communication.md.
_APART = {"definitions_stubs"}


def names() -> list[str]:
    """The modules of this folder that have something to run."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return [file.stem for file in files if "async def main(" in file.read_text()]


async def main(wanted: list[str]) -> None:
    """Needs BARNABAS_KAFKA. Raises AssertionError where an example does not hold."""
    async with barnabas.Client() as client:
        for name in wanted or [name for name in names() if name not in _APART]:
            module = importlib.import_module(f"examples.communication.{name}")
            await module.main(client, f"{name}-{uuid4().hex[:6]}")
            print(f"{name}: holds")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
