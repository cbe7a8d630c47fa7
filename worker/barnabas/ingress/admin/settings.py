"""Settings of the admin process, from arguments or from `BARNABAS_...` variables. Read by the command line alone."""

from __future__ import annotations

from pydantic import Field

from barnabas.ingress.settings import DoorSettings


class AdminSettings(DoorSettings):
    """The admin API. Every field is also a variable: `BARNABAS_ADMIN_PORT=9070`."""

    admin_host: str = Field(default="127.0.0.1", min_length=1)
    admin_port: int = Field(default=9070, ge=0, le=65_535, description="0: any")
    drain_seconds: float = Field(
        default=20.0, ge=0, description="how long SIGTERM waits for requests that are being answered"
    )
    admin_max_body_bytes: int = Field(default=16 << 20, ge=0, description="else 413")
    admin_max_header_bytes: int = Field(default=32 << 10, ge=256, description="of path and headers, else 431")
    admin_max_requests: int = Field(default=500, ge=1, description="requests at the same time, else 429")
    admin_answer_seconds: float = Field(
        default=10.0, gt=0, description="how long the owner of an invocation's shard may take for an answer, else 504"
    )
    admin_patch_seconds: float = Field(
        default=5.0, gt=0, description="how long a patch of state is waited for, before it is answered as accepted"
    )
    admin_query_rows: int = Field(default=10_000, ge=1, description="rows of an answer to SQL; the rest is cut off")
    admin_query_seconds: float = Field(default=30.0, gt=0, description="time of a query with all its reads, else 400")
    admin_queries: int = Field(default=2, ge=1, description="queries at the same time; others wait")
