"""What a client's sends give back."""

# ruff: noqa: ASYNC109 - `timeout=` is a convenience for callers; what it does is asyncio.timeout

from __future__ import annotations

from typing import TypeVar

from barnabas.client.control import InvocationControl
from barnabas.contract.ids import InvocationId
from barnabas.sdk.protocols import SentMessage
from barnabas.sdk.serde import Serde

T = TypeVar("T")


class Sent(SentMessage[T]):
    """A message that Kafka has. Its client must be open for anything but the id."""

    __slots__ = ("_control", "_id", "_serde")

    def __init__(self, id_: InvocationId, control: InvocationControl, serde: Serde[T]) -> None:
        self._id = id_
        self._control = control
        self._serde = serde

    @property
    def invocation_id(self) -> str:
        """The id of the invocation that the message starts."""
        return str(self._id)  # worked out here: 10 us that a bulk of sends does without

    async def attach(self, *, timeout: float | None = None) -> T:
        """The invocation's result, see `Client.attach`."""
        return await self._control.attach(self.invocation_id, self._serde, timeout=timeout)

    async def cancel(self) -> None:
        """See `Client.cancel`."""
        await self._control.cancel(self.invocation_id)

    async def kill(self) -> None:
        """See `Client.kill`."""
        await self._control.kill(self.invocation_id)

    def __repr__(self) -> str:
        return f"Sent({self.invocation_id})"
