"""API keys: how one is made, what is written down of it, and how one that comes with a request is recognised. No I/O.

A key is `bnb_ID_SECRET`. Its id is no secret: it names the entry in lists, and to `barnabas keys revoke`. Of the secret
only a salted hash is kept. The hash is a fast one: slow hashes protect what people think up, and these are 256 random
bits, which nobody finds by trying.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple

PREFIX: Final = "bnb"
_ID_BYTES: Final = 6
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_PURPOSE: Final = b"barnabas api key"


class Role(StrEnum):
    """What a key lets its holder do."""

    INVOKE = "invoke"  # call and send, attach, resolve awakeables
    READ = "read"  # look: outputs at the ingress; everything that the admin API shows, values of states included
    OPERATE = "operate"  # what `read` may, and change: cancel, kill, state, put back dead letters


class MalformedEntry(ValueError):
    """What is written down as a key is none; the message says what is wrong, and none of its content."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written down of a key."""

    id: str
    name: str
    roles: frozenset[Role]
    salt: bytes
    hash: bytes
    created_at: int  # ms since the epoch; 0 where nobody has said

    def __repr__(self) -> str:
        return f"Entry({self.id!r}, {self.name!r}, {sorted(self.roles)})"

    def fits(self, secret: str) -> bool:
        """Whether this is the secret that was given out. Takes the same time whatever it is."""
        return hmac.compare_digest(_hash(secret, self.salt), self.hash)

    def encode(self) -> bytes:
        """As it is stored, in the store and in files: JSON, one line."""
        return json.dumps(
            {
                "id": self.id,
                "name": self.name,
                "roles": sorted(self.roles),
                "salt": base64.b64encode(self.salt).decode(),
                "hash": base64.b64encode(self.hash).decode(),
                "created_at": self.created_at,
            }
        ).encode()


class NewKey(NamedTuple):
    """A key that was just made. `text` is shown to a person once, and is nowhere else."""

    text: str
    entry: Entry


def new_key(roles: Iterable[Role], name: str, now: int) -> NewKey:
    """Make one. `now`: ms since the epoch."""
    id_, secret, salt = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(32), secrets.token_bytes(_SALT_BYTES)
    entry = Entry(id_, name, frozenset(roles), salt, _hash(secret, salt), now)
    return NewKey(f"{PREFIX}_{id_}_{secret}", entry)


def split_key(text: str) -> tuple[str, str] | None:
    """Id and secret of a key; None if it cannot be one of ours."""
    prefix, _, rest = text.partition("_")
    id_, _, secret = rest.partition("_")
    return (id_, secret) if prefix == PREFIX and id_ and secret else None


def decode_entry(line: bytes) -> Entry:
    """What `Entry.encode` wrote. Raises MalformedEntry."""
    try:
        content = json.loads(line)
        entry = Entry(
            str(content["id"]),
            str(content["name"]),
            frozenset(Role(role) for role in content["roles"]),
            base64.b64decode(content["salt"], validate=True),
            base64.b64decode(content["hash"], validate=True),
            int(content.get("created_at", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedEntry(
            f"no entry of a key ({type(error).__name__}): make one with barnabas keys create"
        ) from None
    if len(entry.hash) != _HASH_BYTES or not entry.roles or not entry.id:
        raise MalformedEntry("an entry of a key without id, role or whole hash: make one with barnabas keys create")
    return entry


def _hash(secret: str, salt: bytes) -> bytes:
    return blake2b(
        secret.encode(errors="surrogatepass"), digest_size=_HASH_BYTES, salt=salt[:16], person=_PURPOSE
    ).digest()
