"""What a definition says about itself, as JSON values: for the registry, the admin API and OpenAPI documents.

Whoever has the registry can address a service, check a request against it and document it without its code. Called
when a worker registers.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pydantic
from pydantic.json_schema import GenerateJsonSchema

from barnabas.sdk.annotations import UNTYPED, with_portable_dicts
from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.handler import Handler
from barnabas.sdk.serde import BytesSerde, Serde


def about_service(definition: ServiceDefinition) -> dict[str, Any]:
    """Of a service: description, metadata, whether it is public, and `handlers` by name.

    A handler has: kind, description, metadata, public, accept, content_type, takes_input, input_required, raw_input,
    raw_output, input_schema and output_schema (JSON schema, {} for any value), retentions in ms (null: the default).
    """
    settings = definition.settings
    return {
        "description": definition.service_tag.description,
        "metadata": definition.service_tag.metadata or {},
        "public": not settings.ingress_private,
        "handlers": {name: _about_handler(handler) for name, handler in sorted(definition.handlers.items())},
    }


def _about_handler(handler: Handler[Any, Any]) -> dict[str, Any]:
    settings = handler.settings
    return {
        "kind": handler.kind or "service",
        "description": handler.description,
        "metadata": settings.metadata or {},
        "public": not settings.ingress_private,
        "accept": handler.accept,
        "content_type": handler.content_type,
        "takes_input": handler.arity == 2,
        "input_required": handler.input_required,
        "raw_input": isinstance(handler.input_serde, BytesSerde),
        "raw_output": isinstance(handler.output_serde, BytesSerde),
        "input_schema": _schema(handler.input_serde, handler.input_type, "validation") if handler.arity == 2 else None,
        "output_schema": _schema(handler.output_serde, handler.output_type, "serialization"),
        "idempotency_retention": _ms(settings.idempotency_retention),
        "workflow_retention": _ms(settings.workflow_retention),
        "journal_retention": _ms(settings.journal_retention),
    }


def _schema(serde: Serde[Any], annotation: Any, mode: Any) -> dict[str, Any] | None:
    """The JSON schema of a value; None where it is no JSON, {} where it may be any."""
    if isinstance(serde, BytesSerde):
        return None
    if mode == "serialization" and annotation in (None, type(None)):
        return {"type": "null"}
    if annotation is inspect.Parameter.empty or annotation in UNTYPED:
        return {}
    try:
        return pydantic.TypeAdapter(with_portable_dicts(annotation)).json_schema(schema_generator=_AsWritten, mode=mode)
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticSchemaGenerationError, TypeError):
        return {}  # a type of another library (msgspec), or of a serde of the user's


class _AsWritten(GenerateJsonSchema):
    """pydantic describes what is written with aliases even where it is written with the names of fields."""

    def _get_alias_name(self, field: Any, name: str) -> str:
        if self.mode == "serialization" and not self._config.serialize_by_alias:
            return name
        return super()._get_alias_name(field, name)


def _ms(retention: timedelta | None) -> int | None:
    return None if retention is None else round(retention.total_seconds() * 1000)
