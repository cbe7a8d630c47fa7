"""The broker's jars: downloaded with jgo, checked against the committed lock, kept in a cache folder.

Called by `broker` before every start. Touches the cache folder only. The lock names each jar by its Maven coordinate
and sha256 sum, and holds no address: jgo knows where Maven artifacts come from, its settings file may name a mirror.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from barnabas.devstack.errors import DevstackError, JarMismatchError
from barnabas.devstack.settings import COMPOSE_WAY

ATTEMPTS = 3
PARALLEL_DOWNLOADS = 4
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of the broker's class path, as the lock names it."""

    file: str
    coordinate: str  # group:artifact:version
    sha256: str
    size: int  # bytes


def cache_directory() -> Path:
    """Where downloads are kept: `BARNABAS_CACHE`, else `barnabas` in the user's cache folder."""
    if own := os.environ.get("BARNABAS_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "barnabas"


def read_lock() -> list[Jar]:
    """The jars that `kafka.lock.json` names, in the order of the class path."""
    text = resources.files("barnabas.devstack").joinpath("kafka.lock.json").read_text()
    return [Jar(file=name, **entry) for name, entry in json.loads(text)["jars"].items()]


def sha256_of(path: Path) -> str:
    """The sha256 sum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, jar: Jar) -> bool:
    """Whether `path` holds exactly the jar that the lock names."""
    return path.is_file() and path.stat().st_size == jar.size and sha256_of(path) == jar.sha256


def class_path(locked: list[Jar] | None = None) -> list[Path]:
    """Every jar of the broker, on disk and checked; downloads those that are missing, with a progress bar on stderr.

    Raises JarMismatchError where a download is not what the lock says, DevstackError where it could not be downloaded.
    """
    jars = read_lock() if locked is None else locked
    folder = cache_directory() / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not is_intact(folder / jar.file, jar)]
    if missing:
        _download(missing, folder)
    return [folder / jar.file for jar in jars]


def _download(jars: list[Jar], folder: Path) -> None:
    # Jars are fetched into a folder of this process and moved into the cache once checked, so an interrupted download
    # leaves nothing behind that a later start, or another process, could take for a jar.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as scratch, _progress(jars) as advance:
        context = maven_context(Path(scratch), advance)
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            for jar, fetched in zip(jars, pool.map(lambda jar: _fetch(context, jar), jars), strict=True):
                os.replace(fetched, folder / jar.file)


def maven_context(repository: Path, advance: Callable[[int], None] | None = None) -> Any:
    """jgo's view of Maven: artifacts go below `repository`; repositories named in jgo's settings file are honoured.

    Raises DevstackError where jgo is not installed.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as missing:
        raise DevstackError(
            "The broker's jars are downloaded with the package jgo, which is not installed: pip install 'barnabas[dev]'"
        ) from missing

    @contextmanager
    def report(_file: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance or (lambda _count: None)

    context = MavenContext(
        resolver=PythonResolver(progress_callback=report), repo_cache=repository, timeout=TIMEOUT_SECONDS
    )
    context.remote_repos.update(GlobalSettings.load().repositories)
    return context


def _fetch(context: Any, jar: Jar) -> Path:
    group, artifact, version = jar.coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    failure: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            path = Path(wanted.resolve())
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo says RuntimeError for "not found"
            failure = error
        else:
            if is_intact(path, jar):
                return path
            failure = JarMismatchError(
                f"{jar.file} as downloaded has sha256 {sha256_of(path)}, but kafka.lock.json says {jar.sha256}. "
                "It is not run. Check what stands between this machine and the Maven repository; "
                "if the broker's version was changed on purpose, run python -m barnabas.devstack.lock"
            )
        # A half-written file would be taken for a whole one by jgo's next attempt.
        shutil.rmtree(wanted.cached_path.parent, ignore_errors=True)
    if isinstance(failure, JarMismatchError):
        raise failure
    raise DevstackError(
        f"{jar.coordinate} could not be downloaded after {ATTEMPTS} attempts: {failure}. Check the network and the "
        f"repositories in jgo's settings file, or use containers: {COMPOSE_WAY}"
    ) from failure


@contextmanager
def _progress(jars: list[Jar]) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Apache Kafka", total=sum(jar.size for jar in jars))
        yield lambda count: bar.advance(task, count)
