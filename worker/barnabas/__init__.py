"""Barnabas: durable calls, messages and delays for Python services on Kafka and Redis.

The public API. `Client` and `Sent` are imported when they are first used, so that a worker does not load the client's
Kafka driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Modules that are there after `import restate`, and so after `import barnabas as restate`: `restate.serde.BytesSerde`.
from barnabas import asyncio as asyncio
from barnabas import context as context
from barnabas import endpoint as endpoint
from barnabas import exceptions as exceptions
from barnabas import object as object
from barnabas import retry_policy as retry_policy
from barnabas import serde as serde
from barnabas import service as service
from barnabas import workflow as workflow
from barnabas.logging import RestateLoggingFilter, getLogger
from barnabas.sdk.app import App, app
from barnabas.sdk.clients import SendDefinition
from barnabas.sdk.combinators import as_completed, gather, select, wait_completed
from barnabas.sdk.context import (
    AttemptFinishedEvent,
    Context,
    DurableCallFuture,
    DurableFuture,
    DurablePromise,
    DurableSleepFuture,
    KeyValueStore,
    ObjectContext,
    ObjectSharedContext,
    Request,
    RestateDurableCallFuture,
    RestateDurableFuture,
    RestateDurableSleepFuture,
    RunOptions,
    SendHandle,
    WorkflowContext,
    WorkflowSharedContext,
)
from barnabas.sdk.errors import (
    NonDeterminismError,
    NotYetSupported,
    RetryableError,
    SdkInternalBaseException,
    TerminalError,
    is_internal_exception,
)
from barnabas.sdk.object import VirtualObject
from barnabas.sdk.protocols import definition
from barnabas.sdk.retry_policy import InvocationRetryPolicy
from barnabas.sdk.service import Service
from barnabas.sdk.subscription import SourceRecord, Subscription
from barnabas.sdk.workflow import Workflow

if TYPE_CHECKING:
    from barnabas.client.client import Client
    from barnabas.client.sent import Sent

__all__ = [
    "App",
    "AttemptFinishedEvent",
    "Client",
    "Context",
    "DurableCallFuture",
    "DurableFuture",
    "DurablePromise",
    "DurableSleepFuture",
    "InvocationRetryPolicy",
    "KeyValueStore",
    "NonDeterminismError",
    "NotYetSupported",
    "ObjectContext",
    "ObjectSharedContext",
    "Request",
    "RestateDurableCallFuture",
    "RestateDurableFuture",
    "RestateDurableSleepFuture",
    "RestateLoggingFilter",
    "RetryableError",
    "RunOptions",
    "SdkInternalBaseException",
    "SendDefinition",
    "SendHandle",
    "Sent",
    "Service",
    "SourceRecord",
    "Subscription",
    "TerminalError",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "WorkflowSharedContext",
    "app",
    "as_completed",
    "definition",
    "gather",
    "getLogger",
    "is_internal_exception",
    "select",
    "wait_completed",
]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from barnabas.client.client import Client

        return Client
    if name == "Sent":
        from barnabas.client.sent import Sent

        return Sent
    raise AttributeError(f"module 'barnabas' has no attribute {name!r}")
