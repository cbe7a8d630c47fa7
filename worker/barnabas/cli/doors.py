"""What `barnabas ingress` and `barnabas admin` share: the options of a process that serves HTTP, and its settings."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import typer

from barnabas.cli import configuring
from barnabas.ingress.settings import DoorSettings

S = TypeVar("S", bound=DoorSettings)

#: For requests; that of members of a group is about attempts.
DrainOption = Annotated[
    float | None, typer.Option("--drain-seconds", min=0, help="How long SIGTERM waits for requests under way.")
]
AnonymousOption = Annotated[
    bool, typer.Option("--allow-anonymous", help="Let everybody in who can connect, from other machines too.")
]


def port_option(door: str, default: int) -> Any:
    """For `Annotated`. `door` as in the names of its settings."""
    told = f"Else BARNABAS_{door.upper()}_PORT, else {default}. 0: any that is free."
    return typer.Option("--port", min=0, max=65_535, help=told)


def host_option(door: str) -> Any:
    """For `Annotated`."""
    return typer.Option("--host", help=f"Address to listen on. Else BARNABAS_{door.upper()}_HOST, else 127.0.0.1.")


def settings_of(
    kind: type[S],
    door: str,
    *,
    host: str | None,
    port: int | None,
    namespace: str | None,
    allow_anonymous: bool,
    **flags: Any,
) -> S:
    """A door's settings; flags that are None were not given. Ends the process where something is missing."""
    own = {f"{door}_host": host, f"{door}_port": port}
    authentication = "none" if allow_anonymous else None
    return configuring.settings_as(
        kind, configuring.namespace_of(namespace), authentication=authentication, **own, **flags
    )
