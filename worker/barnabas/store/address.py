"""Where a store is, as people write it: checked before it is used, and shown without what is secret in it. No I/O."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from barnabas.store.wire import check_url


def _checked(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value())
    return url


#: A field of settings: `redis://[user:password@]host:port/db`, with TLS `rediss://`, whose options follow a "?".
StoreUrl = Annotated[SecretStr, AfterValidator(_checked), Field(description="URL of the store; may hold a password")]


def shown(url: str) -> str:
    """The URL for messages and logs: without user, password and options."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(no URL)"
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"


def is_encrypted(url: str) -> bool:
    """Whether the connection has TLS, or needs none because it does not leave the machine's kernel."""
    return urlsplit(url).scheme in ("rediss", "unix")
