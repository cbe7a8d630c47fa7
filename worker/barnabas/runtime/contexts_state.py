"""The state that a handler reads and writes: part of its context (`context.py`)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NoReturn, TypeVar

from barnabas.runtime import journal as j
from barnabas.runtime.contexts_part import DEFAULT, ContextPart
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import Serde, result_serde
from barnabas.sdk.waits import Known

T = TypeVar("T")


class StateCommands(ContextPart):
    """Reads see what the handlers of the key that ran so far have written, and are journaled with their value."""

    def get(
        self,
        name: str,
        serde: Serde[T] = DEFAULT,
        type_hint: type[T] | None = None,
        entry_name: str | None = None,
    ) -> Awaitable[T | None]:
        live = self._live
        if live.key is None:
            self._no_state()
        entry, _ = self._attempt.command([j.GET, name, self._host.state_of(live.key).get(name)])
        raw = entry[2]
        if raw is None:
            return Known(None)
        if type_hint is not None:
            serde = result_serde(serde, type_hint)
        return Known(serde.deserialize(raw))

    def state_keys(self, entry_name: str | None = None) -> Awaitable[list[str]]:
        live = self._live
        if live.key is None:
            self._no_state()
        entry, _ = self._attempt.command([j.STATE_KEYS, "", sorted(self._host.state_of(live.key))])
        return Known(list(entry[2]))

    def set(self, name: str, value: T, serde: Serde[T] = DEFAULT, entry_name: str | None = None) -> None:
        self._may_write()
        raw = bytes(serde.serialize(value))
        self._host.check_size(raw, f"the value of state '{name}'")
        if not self._attempt.command([j.SET, name])[1]:
            self._host.set_state(self._live, name, raw)

    def clear(self, name: str, entry_name: str | None = None) -> None:
        self._may_write()
        if not self._attempt.command([j.CLEAR, name])[1]:
            self._host.set_state(self._live, name, None)

    def clear_all(self, entry_name: str | None = None) -> None:
        self._may_write()
        if not self._attempt.command([j.CLEAR_ALL, ""])[1]:
            self._host.clear_state(self._live)

    def _may_write(self) -> None:
        if self._live.key is None:
            self._no_state()
        if not self._live.exclusive:
            raise TerminalError(
                f"{self._live.service}/{self._live.handler} is a shared handler: it may read state, not write it"
            )

    def _no_state(self) -> NoReturn:
        raise TerminalError(f"{self._live.service} is a service: it has no key, so it has no state")
