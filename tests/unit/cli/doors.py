"""A gateway that answers by itself, over a store in memory: for the commands that operate something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure, Reply, Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.ingress.errors import UnknownTarget
from barnabas.ingress.requests import Request
from barnabas.log.port import OutRecord
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Service


class FakeDoor:
    """Writes down what it is asked for. `answers`: a failure to reply with, or an error to raise, by id."""

    def __init__(self, store: MemoryStore, services: Mapping[str, Service]) -> None:
        self.store = store
        self._services = services
        self.names = TopicNames("n")
        self.asked: list[Signal] = []
        self.called: list[Request] = []
        self.produced: list[OutRecord] = []
        self.answers: dict[bytes, Failure | Exception] = {}
        self.call_answer: Failure | Exception | None = None
        self.at_start: Exception | None = None
        self.closed = False
        self.admin: Any = None
        self.reader: Any = None
        self.registry = self

    async def start(self) -> None:
        if self.at_start is not None:
            raise self.at_start

    async def aclose(self) -> None:
        self.closed = True

    async def refresh(self) -> None:
        self._services = await self.store.services()

    def services(self) -> Mapping[str, Service]:
        return self._services

    async def service(self, name: str) -> Service | None:
        return self._services.get(name)

    def service_of(self, id_: InvocationId) -> Service:
        found = next((one for name, one in self._services.items() if id_.of_service(name)), None)
        if found is None:
            raise UnknownTarget(f"there is no invocation {id_}")
        return found

    def clock(self) -> int:
        return 1_800_000_000_000

    async def signal(self, signal: Signal, *, wait: bool, timeout: float | None = None) -> Reply | None:  # noqa: ASYNC109
        assert wait
        self.service_of(InvocationId(signal.invocation))
        self.asked.append(signal)
        said: dict[str, Any] = {"status": 202}
        if signal.kind is SignalKind.RESTART:
            said = {"status": 200, "new_invocation_id": str(InvocationId(signal.call_id or b""))}
        return self._reply(signal.invocation, self.answers.get(signal.invocation), said)

    async def call(self, request: Request) -> Reply:
        self.called.append(request)
        return self._reply(request.id, self.call_answer, {"status": 202})

    async def produce(self, record: OutRecord) -> None:
        self.produced.append(record)

    def _reply(self, id_: bytes, answer: Failure | Exception | None, said: dict[str, Any]) -> Reply:
        if isinstance(answer, Exception):
            raise answer
        result = None if answer is not None else json.dumps(said).encode()
        return Reply("client", b"1", id_, result, answer)
