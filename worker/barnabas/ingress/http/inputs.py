"""Whether a body fits what a handler has said about its input when it was registered. Pure; called by `invoking`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barnabas.ingress.http.responses import Refused


def check_input(about: Mapping[str, Any], content_type: str | None, body: bytes) -> None:
    """Raises Refused with 400. `about`: the handler in the registry; empty if an older worker registered it."""
    if not about:
        return
    if not about["takes_input"]:
        if body:
            raise _invalid("the handler takes no input: send no body")
        return
    if content_type and not _accepts(about["accept"], content_type):
        raise _invalid(f"Content-type '{content_type}' does not match '{about['accept']}'")
    if not body:
        if about["input_required"]:
            raise _invalid("Empty body not allowed")
        return
    if not content_type and not _accepts(about["accept"], ""):
        raise _invalid(f"Empty content-type, the handler takes '{about['accept']}'")


def _accepts(accept: str, content_type: str) -> bool:
    """Whether a media type is one of those, written like `application/json`, `text/*` or `*/*`."""
    found = content_type.split(";", 1)[0].strip().lower()
    for part in accept.split(","):
        wanted = part.split(";", 1)[0].strip().lower()
        if wanted in ("*/*", found) or (wanted.endswith("/*") and found.startswith(wanted[:-1])):
            return True
    return False


def _invalid(message: str) -> Refused:
    return Refused(400, f"input validation error: {message}")
