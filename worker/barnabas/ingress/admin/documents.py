"""OpenAPI 3.1 documents of the ingress: of one service, and of all with the paths that belong to none. Pure.

Made of what services say about themselves in the registry (`sdk.describing`), so no code of theirs is needed. What is
not public is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from barnabas.contract.ids import workflow_id
from barnabas.store.port import Service

Json = dict[str, Any]

_ERROR: Final[Json] = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "source": {"enum": ["ingress", "invocation"]},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["code", "message"],
}
_SENT: Final[Json] = {
    "type": "object",
    "properties": {
        "invocationId": {"$ref": "#/components/schemas/InvocationId"},
        "status": {"enum": ["Accepted", "PreviouslyAccepted"]},
        "executionTime": {"type": "string", "format": "date-time"},
    },
    "required": ["invocationId", "status"],
}
_TARGET: Final[Json] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "target": {"const": "invocation"},
                "invocationId": {"$ref": "#/components/schemas/InvocationId"},
            },
            "required": ["target", "invocationId"],
        },
        {
            "type": "object",
            "properties": {
                "target": {"const": "idempotentInvocation"},
                "service": {"type": "string"},
                "key": {"type": ["string", "null"]},
                "handler": {"type": "string"},
                "idempotencyKey": {"type": "string"},
            },
            "required": ["target", "service", "handler", "idempotencyKey"],
        },
        {
            "type": "object",
            "properties": {
                "target": {"const": "workflow"},
                "workflowName": {"type": "string"},
                "workflowKey": {"type": "string"},
            },
            "required": ["target", "workflowName", "workflowKey"],
        },
    ]
}
_KEY: Final[Json] = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "Of the object or workflow, percent-encoded; it may contain anything.",
    "schema": {"type": "string", "minLength": 1},
}
_ID: Final[Json] = {
    "name": "invocationId",
    "in": "path",
    "required": True,
    "schema": {"$ref": "#/components/schemas/InvocationId"},
}
_AWAKEABLE: Final[Json] = {
    "name": "awakeableId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^sign_1[0-9A-Za-z_-]{38}$"},
}
_IDEMPOTENCY: Final[Json] = {
    "name": "idempotency-key",
    "in": "header",
    "description": "Requests with the same key are one invocation.",
    "schema": {"type": "string"},
}
_N: Final = r"[0-9]{1,4}(\.[0-9]{1,9})?"
_DURATION: Final = f"P{_N}[DW]|PT{_N}[HMS]|PT{_N}H{_N}M|{_N}(w|d|h|m|s|ms)( {_N}(m|s|ms))?"
_DELAY: Final[Json] = {
    "name": "delay",
    "in": "query",
    "description": "ISO 8601 (PT10S), 10s, 1h 30m, or milliseconds. Some other forms of these are taken too.",
    "schema": {
        "type": "string",
        "pattern": f"^([0-9]{{1,12}}|{_DURATION})$",
        "examples": ["PT10S", "1h 30m"],
    },
}
_NOTHING: Final[Json] = {"type": "null"}  # None has no bytes, as JSON neither
_REST: Final[Json] = {
    "default": {
        "description": "What went wrong: the status is the code of the handler's error, or the ingress's own.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
}


def service_document(service: Service) -> Json:
    """The document of one service."""
    paths, schemas = _paths_of(service)
    return _document(service.name, service.about.get("description"), paths, schemas)


def ingress_document(services: Iterable[Service]) -> Json:
    """The document of the whole ingress, as far as it is public."""
    paths: Json = {}
    schemas: Json = {}
    for service in services:
        if service.public:
            more_paths, more_schemas = _paths_of(service)
            paths |= more_paths
            schemas |= more_schemas
    return _document("Barnabas ingress", None, paths | _FIXED_PATHS, schemas)


def _document(title: str, description: str | None, paths: Json, schemas: Json) -> Json:
    about: Json = {"title": title, "version": _version()}
    if description:
        about["description"] = description
    example = str(workflow_id("Greeter", "Mary"))
    known: Json = {
        "Error": _ERROR,
        "InvocationId": {"type": "string", "pattern": "^inv_[0-9A-Za-z]{33}$", "examples": [example]},
        "Sent": _SENT,
        "Target": _TARGET,
    }
    return {"openapi": "3.1.0", "info": about, "paths": paths, "components": {"schemas": known | schemas}}


def _version() -> str:
    try:
        return version("barnabas")
    except PackageNotFoundError:  # run from the source tree without being installed
        return "0"


# -- handlers


def _paths_of(service: Service) -> tuple[Json, Json]:
    paths: Json = {}
    schemas: Json = {}
    abouts: Mapping[str, Json] = service.about.get("handlers", {})
    for name, kind in sorted(service.handlers.items()):
        about = abouts.get(name, {})
        if not about.get("public", True):
            continue
        tail = f"{service.name}/{{key}}/{name}" if service.kind != "service" else f"{service.name}/{name}"
        handler = _Handler(service, name, kind, about, schemas)
        paths[f"/restate/call/{tail}"] = handler.call()
        paths[f"/restate/send/{tail}"] = handler.send()
    return paths, schemas


class _Handler:
    """One handler's part of a document; schemas that its types are made of go into `schemas`."""

    def __init__(self, service: Service, name: str, kind: str, about: Json, schemas: Json) -> None:
        self._service = service
        self._name = name
        self._is_run = kind == "workflow"
        self._about = about
        self._schemas = schemas

    def call(self) -> Json:
        """`/restate/call/...`"""
        answer: Json = {"description": "What the handler returned."}
        schema = self._schema("output_schema", "Output")
        content_type = self._about.get("content_type") or "application/json"
        if self._about.get("output_schema") == _NOTHING:
            answer["description"] = "The handler returns nothing."
        else:
            answer["content"] = {content_type: {} if schema is None else {"schema": schema}}
        answer["headers"] = {"x-restate-id": {"schema": {"$ref": "#/components/schemas/InvocationId"}}}
        methods = {"post": self._operation("call", [], {"200": answer})}
        if not self._takes_input():
            methods["get"] = self._operation("get", [], {"200": answer})
        return methods

    def send(self) -> Json:
        """`/restate/send/...`"""
        sent = {
            "description": "The invocation is accepted, or was before.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sent"}}},
        }
        methods = {"post": self._operation("send", [_DELAY], {"202": sent})}
        if not self._takes_input():
            methods["get"] = self._operation("get.send", [_DELAY], {"202": sent})
        return methods

    def _operation(self, verb: str, parameters: list[Json], answers: Json) -> Json:
        where = [_KEY] if self._service.kind != "service" else []
        named = [] if self._is_run else [_IDEMPOTENCY]
        operation: Json = {
            "operationId": f"{verb}.{self._service.name}.{self._name}",
            "tags": [self._service.name],
            "parameters": [*where, *parameters, *named],
            "responses": answers | _REST,
        }
        if self._about.get("description"):
            operation["description"] = self._about["description"]
        if self._takes_input():
            operation["requestBody"] = self._body()
        return operation

    def _body(self) -> Json:
        schema = self._schema("input_schema", "Input")
        content_type = self._about.get("accept") or "application/json"
        return {
            "required": bool(self._about.get("input_required", True)),
            "content": {content_type: {} if schema is None else {"schema": schema}},
        }

    def _takes_input(self) -> bool:
        return bool(self._about.get("takes_input", True))

    def _schema(self, of: str, suffix: str) -> Json | None:
        """A reference to the schema, which goes into the document's components with all that it refers to."""
        schema = self._about.get(of)
        if schema is None:
            return None
        prefix = f"{self._service.name}.{self._name}.{suffix}"
        hoisted = _hoisted(schema, prefix)
        self._schemas[prefix] = {name: part for name, part in hoisted.items() if name != "$defs"}
        self._schemas |= {f"{prefix}.{name}": part for name, part in hoisted.get("$defs", {}).items()}
        return {"$ref": f"#/components/schemas/{prefix}"}


def _hoisted(schema: Any, prefix: str) -> Any:
    """The schema with references to its own `$defs` turned into such to the document's components."""
    if isinstance(schema, dict):
        found: Json = {}
        for name, part in schema.items():
            if name == "$ref" and isinstance(part, str) and part.startswith("#/$defs/"):
                found[name] = f"#/components/schemas/{prefix}.{part.removeprefix('#/$defs/')}"
            elif name == "mapping" and isinstance(part, dict):  # of a discriminator: values are references
                found[name] = {key: _hoisted({"$ref": one}, prefix)["$ref"] for key, one in part.items()}
            else:
                found[name] = _hoisted(part, prefix)
        return found
    return [_hoisted(part, prefix) for part in schema] if isinstance(schema, list) else schema


# -- paths that belong to no service


def _fixed(
    operation_id: str,
    answers: Json,
    parameters: tuple[Json, ...] = (),
    body: Json | None = None,
) -> Json:
    operation: Json = {"operationId": operation_id, "parameters": list(parameters), "responses": answers | _REST}
    return operation if body is None else operation | {"requestBody": body}


_ANY: Final[Json] = {"200": {"description": "What the handler returned, in its content type; without one if nothing."}}
_BY_TARGET: Final[Json] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Target"}}},
}
_LOOKED_UP: Final[Json] = {
    "200": {
        "description": "The id that such a request has, or would have.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"invocationId": {"$ref": "#/components/schemas/InvocationId"}},
                    "required": ["invocationId"],
                }
            }
        },
    }
}
_TOLD: Final[Json] = {"202": {"description": "Told, also where it was completed before: the first one wins."}}
_FIXED_PATHS: Final[Json] = {
    "/restate/health": {"get": _fixed("health", {"200": {"description": "The process works."}})},
    "/restate/attach/{invocationId}": {"get": _fixed("attach", _ANY, (_ID,))},
    "/restate/output/{invocationId}": {"get": _fixed("output", _ANY, (_ID,))},
    "/restate/attach": {"post": _fixed("attachTarget", _ANY, (), _BY_TARGET)},
    "/restate/output": {"post": _fixed("outputTarget", _ANY, (), _BY_TARGET)},
    "/restate/lookup": {"post": _fixed("lookup", _LOOKED_UP, (), _BY_TARGET)},
    "/restate/awakeables/{awakeableId}/resolve": {
        "post": _fixed("resolveAwakeable", _TOLD, (_AWAKEABLE,), {"required": False, "content": {"*/*": {}}})
    },
    "/restate/awakeables/{awakeableId}/reject": {
        "post": _fixed("rejectAwakeable", _TOLD, (_AWAKEABLE,), {"required": False, "content": {"text/plain": {}}})
    },
}
