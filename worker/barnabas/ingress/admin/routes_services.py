"""Services, their handlers and documents, and the state of objects: routes of the admin API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from barnabas.ingress.admin.admin import AdminError, AdminPart, errors
from barnabas.ingress.admin.bodies import (
    HandlerBody,
    HandlersBody,
    PatchedBody,
    ServiceBody,
    ServiceChange,
    ServicesBody,
    StateBody,
    StatePatch,
)
from barnabas.ingress.admin.documents import service_document
from barnabas.ingress.admin.state import NoState, Patched, read_state, replace_state
from barnabas.store.port import Service

router = APIRouter(tags=["services"])

_TYPES: dict[str, Any] = {"service": "Service", "object": "VirtualObject", "workflow": "Workflow"}
_HANDLER_TYPES: dict[str, Any] = {"exclusive": "Exclusive", "shared": "Shared", "workflow": "Workflow"}

KeyQuery = Annotated[str, Query(description="Key of the object or workflow.")]


@router.get("/services", responses=errors())
async def list_services(admin: AdminPart) -> ServicesBody:
    """All registered services."""
    services = admin.gateway.services()
    return ServicesBody(services=[_service_body(services[name]) for name in sorted(services)])


@router.get("/services/{service}", responses=errors(404))
async def describe_service(service: str, admin: AdminPart) -> ServiceBody:
    """One service with its handlers."""
    return _service_body(await admin.service(service))


@router.patch("/services/{service}", responses=errors(404))
async def change_service(service: str, change: ServiceChange, admin: AdminPart) -> ServiceBody:
    """Open a service to callers from outside, or close it. Holds until it is changed again, also for new workers."""
    await admin.service(service)
    await admin.gateway.store.set_public(service, change.public)
    await admin.gateway.registry.refresh()
    return _service_body(await admin.service(service))


@router.get("/services/{service}/handlers", responses=errors(404))
async def list_handlers(service: str, admin: AdminPart) -> HandlersBody:
    """The handlers of a service."""
    return HandlersBody(handlers=_handler_bodies(await admin.service(service)))


@router.get("/services/{service}/handlers/{handler}", responses=errors(404))
async def describe_handler(service: str, handler: str, admin: AdminPart) -> HandlerBody:
    """One handler with the schemas of its input and output."""
    found = next((one for one in _handler_bodies(await admin.service(service)) if one.name == handler), None)
    if found is None:
        raise AdminError(404, f"'{service}' has no handler '{handler}'")
    return found


@router.get("/services/{service}/openapi", responses=errors(404))
async def service_openapi(service: str, admin: AdminPart) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the service's handlers at the ingress."""
    return service_document(await admin.service(service))


@router.get("/services/{service}/state", responses=errors(404), tags=["state"])
async def show_state(service: str, object_key: KeyQuery, admin: AdminPart) -> StateBody:
    """The state of one key, as of its last commit."""
    try:
        state = await read_state(admin.gateway.store, await admin.service(service), object_key)
    except NoState as error:
        raise AdminError(400, str(error)) from None
    return StateBody(
        object_key=object_key,
        state={name: list(value) for name, value in state.values.items()},
        version=state.version,
    )


@router.post("/services/{service}/state", status_code=202, responses=errors(404, 409, 413), tags=["state"])
async def patch_state(service: str, patch: StatePatch, admin: AdminPart, response: Response) -> PatchedBody:
    """Replace the whole state of one key. Waits behind the exclusive handler that runs."""
    values = {name: bytes(value) for name, value in patch.new_state.items()}
    return await _patched(admin, service, patch.object_key, values, patch.version)


@router.delete("/services/{service}/state", status_code=202, responses=errors(404, 409), tags=["state"])
async def clear_state(
    service: str, object_key: KeyQuery, admin: AdminPart, version: Annotated[str | None, Query()] = None
) -> PatchedBody:
    """Clear the whole state of one key."""
    return await _patched(admin, service, object_key, {}, version)


async def _patched(
    admin: AdminPart, service: str, key: str, values: dict[str, bytes], version: str | None
) -> PatchedBody:
    try:
        found = await admin.service(service)
        seconds = admin.settings.admin_patch_seconds
        done: Patched = await replace_state(admin.gateway, found, key, values, version, seconds=seconds)
    except NoState as error:
        raise AdminError(400, str(error)) from None
    if done.status != 202:
        raise AdminError(done.status, done.message)
    return PatchedBody(invocation_id=str(done.invocation), applied=done.applied, message=done.message)


def _service_body(service: Service) -> ServiceBody:
    about = service.about
    return ServiceBody(
        name=service.name,
        ty=_TYPES[service.kind],
        public=service.public,
        documentation=about.get("description"),
        metadata=about.get("metadata") or {},
        partitions=service.partitions,
        consumer_group=service.group,
        handlers=_handler_bodies(service),
    )


def _handler_bodies(service: Service) -> list[HandlerBody]:
    abouts = service.about.get("handlers", {})
    return [_handler_body(name, kind, abouts.get(name, {})) for name, kind in sorted(service.handlers.items())]


def _handler_body(name: str, kind: str, about: dict[str, Any]) -> HandlerBody:
    """`about` is empty where an older worker has registered the service."""
    takes_input = about.get("takes_input", True)
    needs = "one of" if about.get("input_required", True) else "none or one of"
    accepts = f"{needs} content type {about.get('accept') or 'application/json'}"
    return HandlerBody(
        name=name,
        ty=_HANDLER_TYPES.get(kind),
        public=about.get("public", True),
        documentation=about.get("description"),
        metadata=about.get("metadata") or {},
        input_description=accepts if takes_input else "none",
        output_description=f"value of content type {about.get('content_type') or 'application/json'}",
        input_json_schema=about.get("input_schema"),
        output_json_schema=about.get("output_schema"),
        idempotency_retention=about.get("idempotency_retention"),
        workflow_completion_retention=about.get("workflow_retention"),
        journal_retention=about.get("journal_retention"),
    )
