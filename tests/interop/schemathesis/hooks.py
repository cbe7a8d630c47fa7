"""What schemathesis is told to do otherwise: imported by its command, see test_openapi.py."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import schemathesis

NAME = "idempotency-key"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Nobody has used an idempotency key before: a repeat would get the outcome of another request, by design."""
    if case.headers and NAME in case.headers:
        case.headers[NAME] = f"{case.headers[NAME]}{uuid4().hex}"
