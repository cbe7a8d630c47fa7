"""Who may do what at the admin API: a door's answers for its gate. Made by `process`, asked by `app`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from barnabas.ingress.access.door import OPERATING, READING, Door
from barnabas.ingress.admin.app import AdminAuthorize, Need


def authorize_by(door: Door) -> AdminAuthorize:
    """What the application asks before it reads a body."""

    def authorize(scope: MutableMapping[str, Any], need: Need) -> tuple[int, str] | None:
        sent = dict(scope["headers"]).get(b"authorization")
        denied = door.check(sent and sent.decode("latin-1"), READING if need == "read" else OPERATING)
        return None if denied is None else (denied.status, denied.message)

    return authorize
