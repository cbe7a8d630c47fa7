"""What all routes of the admin API share: the gateway, looks into the store, the settings, and errors as answers."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request

from barnabas.contract.ids import InvocationId, MalformedId
from barnabas.ingress.admin.bodies import ErrorBody, id_pattern
from barnabas.ingress.admin.settings import AdminSettings
from barnabas.ingress.gateway import Gateway
from barnabas.store.looking import Looks
from barnabas.store.port import Service

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class AdminError(Exception):
    """A request that comes to nothing: the status, and what is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Admin:
    """What the routes work with. One for each process."""

    def __init__(self, gateway: Gateway, looks: Looks, settings: AdminSettings) -> None:
        self.gateway = gateway
        self.looks = looks
        self.settings = settings
        self.querying = asyncio.Semaphore(settings.admin_queries)

    async def service(self, name: str) -> Service:
        """A registered service. Raises AdminError 404."""
        found = await self.gateway.service(name)
        if found is None:
            raise AdminError(404, f"no worker has registered a service '{name}'")
        return found


def _admin_of(request: Request) -> Admin:
    found: Admin = request.app.state.admin
    return found


AdminPart = Annotated[Admin, Depends(_admin_of)]
IdPath = Annotated[
    str,
    Path(
        description="An invocation's id.",
        json_schema_extra={"pattern": id_pattern(str(InvocationId(b"\xff" * 24)).removeprefix("inv_"), _DIGITS)},
    ),
]


def parsed_id(text: str) -> InvocationId:
    """The id. Raises AdminError 400."""
    try:
        return InvocationId.parse(text)
    except MalformedId as error:
        raise AdminError(400, str(error)) from None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route: the errors that it answers with, besides those of every route."""
    return {status: {"model": ErrorBody, "description": _WHY[status]} for status in (*statuses, 400, 503)}


_WHY: Final = {
    400: "The request is malformed.",
    404: "There is none.",
    409: "Not in this state.",
    410: "What is needed for it was purged.",
    413: "The body is too large.",
    422: "It cannot be done to one of this kind.",
    425: "It has not begun yet.",
    501: "What it needs is not installed.",
    503: "Kafka or the store is out of reach.",
    504: "The shard's owner did not answer in time.",
}
