"""Where web pages come from: how people name origins, and what browsers say of a request. Pure.

Used by the settings, by `cors`, and by `access`, which stops pages where nothing else does.
"""

from __future__ import annotations

import re
from typing import Final

from barnabas.ingress.http.requests import HttpRequest

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._~\[\]:-]+", re.ASCII)


def checked_origins(value: object) -> tuple[str, ...]:
    """Origins as browsers write them, or `*` for all; from a list, or from text with commas between.

    Raises ValueError for what no browser would ever send, which would let nobody in without a word.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("origins are a list, or text with commas between")
    return tuple(_checked(str(part)) for part in parts if str(part).strip())


def _checked(text: str) -> str:
    origin = text.strip().lower().removesuffix("/")
    if origin != ANY and _ORIGIN.fullmatch(origin) is None:
        raise ValueError(f"{text!a} is no origin: write https://shop.example or http://localhost:3000, or * for all")
    return origin


def foreign_page(http: HttpRequest) -> str | None:
    """The origin of the web page that has sent this, if it is another one than ours; empty where that was not said.

    By headers that browsers add and pages cannot change. None: no such page; programs send neither of them.
    """
    origin, site = http.header("origin"), http.header("sec-fetch-site")
    if site is not None:
        return None if site in ("same-origin", "none") else origin or ""
    return None if origin is None or origin.partition("://")[2] == http.header("host") else origin
