"""Who may come in at one door: decided when it opens, asked for every request. Used by ingress and admin processes.

On loopback everybody may, everywhere else whoever has a key; where `authentication` says otherwise, a person has
written so. A door never opens to the world unasked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from barnabas.ingress.access.keyring import Keyring, KeysFileError
from barnabas.ingress.access.keys import Role
from barnabas.store.api_keys import ApiKeys
from barnabas.store.port import StoreCorrupt
from barnabas.worker.member import NotReady

log = logging.getLogger("barnabas.ingress")

#: `auto`: `none` on loopback unless a file of keys is named, else `keys`. `certificates`: who has a certificate of the
#: client CA may do everything.
Authentication = Literal["auto", "keys", "certificates", "none"]

INVOKING: Final = frozenset({Role.INVOKE})
ATTACHING: Final = frozenset({Role.INVOKE, Role.READ, Role.OPERATE})
READING: Final = frozenset({Role.READ, Role.OPERATE})
OPERATING: Final = frozenset({Role.OPERATE})

_SCHEME: Final = "bearer"


class Denied(NamedTuple):
    """Why a request does not come in. 401: nobody knows who asks; 403: who asks may not."""

    status: int
    message: str

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}


class Door:
    """Asked for each request. `open` before the first, `aclose` in the end."""

    def __init__(
        self, authentication: Authentication, keys: ApiKeys, keys_file: Path | None, *, client_certificates: bool
    ) -> None:
        self._authentication = authentication
        self._keys_file = keys_file
        self._client_certificates = client_certificates
        self._stored = keys
        self._keyring: Keyring | None = None  # None: no keys are asked for
        self._opened = False
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs a key."""
        return self._keyring is not None

    async def open(self, address: str, role: Role) -> None:
        """Decide for a listening address. `role`: what a first key for this door would have.

        Raises NotReady where nobody could come in, or everybody could and nobody has said so, and StoreUnavailable.
        """
        if self._needs_keys(address):
            keyring = Keyring(self._stored, self._keys_file)
            try:
                await keyring.refresh()
            except (KeysFileError, StoreCorrupt) as error:
                raise NotReady(str(error)) from error
            if not len(keyring):
                self._nobody(address, role)
            self._keyring = keyring
            self._refreshing = asyncio.create_task(keyring.keep_fresh(), name="barnabas api keys")
        elif not is_loopback(address) and self._authentication == "none":
            log.warning(
                "listening on %s without authentication, as asked for: who can connect may do everything", address
            )
        self._opened = True

    def _needs_keys(self, address: str) -> bool:
        match self._authentication:
            case "keys":
                return True
            case "none":
                return False
            case "certificates":
                if not self._client_certificates:
                    raise NotReady(
                        "BARNABAS_AUTHENTICATION=certificates needs BARNABAS_TLS_CLIENT_CA, the file of the CA whose "
                        "certificates may come in, beside BARNABAS_TLS_CERT and BARNABAS_TLS_KEY"
                    )
                return False
        return self._keys_file is not None or not is_loopback(address)

    def _nobody(self, address: str, role: Role) -> None:
        how = f"create one with: barnabas keys create --role {role}"
        if self._authentication == "auto" and self._keys_file is None:
            raise NotReady(
                f"{address} can be reached from other machines, and there are no API keys to tell who may come in: "
                f"{how}. Or let everybody in who can connect: --allow-anonymous"
            )
        log.warning("there are no API keys, so nobody can come in: %s", how)

    def check(self, authorization: str | None, accepted: Set[Role]) -> Denied | None:
        """Whether a request with this header may do what one of these roles may; None: it may."""
        if not self._opened:
            return Denied(503, "this process is starting")
        if self._keyring is None:
            return None
        if authorization is None:
            return Denied(401, "an API key is needed: send the header Authorization: Bearer KEY")
        scheme, _, text = authorization.partition(" ")
        entry = self._keyring.find(text.strip()) if scheme.lower() == _SCHEME else None
        if entry is None:
            return Denied(401, "the API key is not known, or was revoked: send the header Authorization: Bearer KEY")
        if not entry.roles & accepted:
            has, wants = " and ".join(sorted(entry.roles)), " or ".join(sorted(accepted))
            return Denied(403, f"the API key may {has}, and this takes one that may {wants}")
        return None

    async def aclose(self) -> None:
        """Forget the keys, and close the connection to the store."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
        await self._stored.aclose()


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to this numeric address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
