"""The registered services, as this process knows them: read every two seconds, and at once where a name is unknown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from barnabas.contract.ids import InvocationId
from barnabas.store.port import Service, Store, StoreUnavailable

log = logging.getLogger("barnabas.ingress")

REFRESH_SECONDS: Final = 2.0
#: Unknown names do not make the store busier than this.
_AT_ONCE_SECONDS: Final = 0.1


class Registry:
    """The services of a namespace."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.services: Mapping[str, Service] = {}
        self._asked_at = 0.0
        self._outage = ""  # why the last question has got no answer
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Raises StoreUnavailable."""
        self._asked_at = time.monotonic()
        try:
            self.services = await self._store.services()
        except StoreUnavailable as error:
            self._outage = str(error)
            raise
        self._outage = ""

    async def keep_fresh(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                log.warning("%s", error)

    async def find(self, name: str, handler: str | None = None) -> Service | None:
        """A service, and if it has not the handler then as it is now; None: nobody has registered it.

        Raises StoreUnavailable where that cannot be told.
        """
        found = self._fitting(name, handler)
        if found is None:
            await self._refresh_at_once()
            found = self.services.get(name)
        return found

    async def owner(self, id_: InvocationId) -> Service | None:
        """Whose invocation this is, looked for at once among those that have come since. Raises StoreUnavailable."""
        found = self.service_of(id_)
        if found is None:
            await self._refresh_at_once()
            found = self.service_of(id_)
        return found

    async def _refresh_at_once(self) -> None:
        wanted = time.monotonic()
        async with self._asking:  # those who come meanwhile are served by one question
            if self._asked_at < wanted - _AT_ONCE_SECONDS:
                await self.refresh()
            elif self._outage:
                raise StoreUnavailable(self._outage)

    def _fitting(self, name: str, handler: str | None) -> Service | None:
        found = self.services.get(name)
        return found if found is not None and (handler is None or handler in found.handlers) else None

    def service_of(self, id_: InvocationId) -> Service | None:
        """Whose invocation this is, as far as is known here."""
        return next((one for name, one in self.services.items() if id_.of_service(name)), None)
