"""`python -m barnabas.devstack.lock`: resolve the broker's jars anew and write their sums into `kafka.lock.json`.

Run by hand after a change of the versions in `settings`; nothing at run time calls it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from barnabas.devstack.jars import maven_context, sha256_of
from barnabas.devstack.settings import KAFKA_VERSION, SCALA_VERSION

LOCK = Path(__file__).with_name("kafka.lock.json")


def resolve(repository: Path) -> dict[str, dict[str, str | int]]:
    """Every jar that the broker needs at run time: file name -> coordinate, sum and size. Downloads them all."""
    context = maven_context(repository)
    broker = context.create_dependency(f"org.apache.kafka:kafka_{SCALA_VERSION}:{KAFKA_VERSION}")
    inputs, transitive = context.resolver.resolve([broker])
    dependencies = [*inputs, *transitive]
    # The broker logs through slf4j and brings no back end for it: slf4j-simple of the same version writes to a file.
    [api] = [dependency for dependency in dependencies if dependency.artifactId == "slf4j-api"]
    dependencies.append(context.create_dependency(f"org.slf4j:slf4j-simple:{api.version}"))
    jars: dict[str, dict[str, str | int]] = {}
    for dependency in dependencies:
        path = Path(dependency.artifact.resolve())
        coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
        jars[path.name] = {"coordinate": coordinate, "sha256": sha256_of(path), "size": path.stat().st_size}
    return dict(sorted(jars.items()))


def main() -> None:
    """Write the lock and say how many jars it holds."""
    with tempfile.TemporaryDirectory() as repository:
        jars = resolve(Path(repository))
    LOCK.write_text(json.dumps({"kafka": KAFKA_VERSION, "jars": jars}, indent=2) + "\n")
    sys.stderr.write(f"{LOCK}: {len(jars)} jars, {sum(int(jar['size']) for jar in jars.values()) / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()
