"""Settings of a worker process, from arguments or from `BARNABAS_...` variables.

Read by the command line, nowhere else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from barnabas.log.settings import KafkaOptions
from barnabas.runtime.limits import Limits
from barnabas.store.address import StoreUrl


class Settings(BaseSettings):
    """Where the servers are, and how this process behaves.

    Every field is also a variable: `BARNABAS_NAMESPACE=demo`.
    """

    model_config = SettingsConfigDict(env_prefix="BARNABAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka: str = Field(description="bootstrap servers, host:port,...")
    redis: StoreUrl
    namespace: str = "barnabas"
    group: str | None = Field(
        default=None, description="consumer group; {namespace}.workers unless set here or for the app"
    )
    kafka_options: KafkaOptions
    instance_id: str | None = Field(default=None, description="static member id, for a supervisor or a StatefulSet")
    session_timeout_ms: int = 6_000
    group_protocol: Literal["classic", "consumer"] = "classic"
    drain_seconds: float = Field(default=20.0, description="how long SIGTERM waits for running attempts")
    max_active: int = Field(
        default=1_000, description="attempts and steps at work at the same time before intake pauses"
    )
    max_bytes: int = Field(default=64 << 20, description="payload bytes in memory before intake pauses")
    health_port: int | None = Field(default=None, ge=0, le=65_535, description="of probes; none unless set")
    health_host: str = "127.0.0.1"
    step_threads: int = Field(default=32, description="threads for synchronous ctx.run actions")

    def limits(self) -> Limits:
        """Bounds of one shard."""
        return Limits()
