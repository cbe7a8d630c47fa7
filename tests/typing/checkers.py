"""mypy and pyright in their strict modes, as tests run them. basedpyright is pyright with its own Node.js; told to be
strict it has pyright's rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mypy(*files: Path, path: Sequence[Path] = (), cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """mypy --strict over files; `path` is where imports are looked for besides the environment."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *map(str, files)]
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def pyright(*files: Path, scratch: Path, path: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """pyright in strict mode over files; it wants its settings in a file, below `scratch`."""
    settings = {
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,  # mypy's are not its own: each says what it expects
        "reportUnnecessaryTypeIgnoreComment": "error",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT / "worker"), *map(str, path)],
        "include": [str(file) for file in files],
    }
    config = scratch / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "-p", str(config), "--pythonpath", sys.executable]
    return subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
