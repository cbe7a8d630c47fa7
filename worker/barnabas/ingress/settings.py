"""Settings of the doors' processes, from arguments or from `BARNABAS_...` variables. Read by the command line alone."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from barnabas.log.settings import KafkaSettings
from barnabas.runtime.limits import Limits


class GatewaySettings(BaseSettings):
    """Where the servers are; what a `Gateway` needs."""

    model_config = SettingsConfigDict(env_prefix="BARNABAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka: str = Field(description="bootstrap servers, host:port,...")
    redis: SecretStr = Field(description="URL of the store; may hold a password")
    namespace: str = "barnabas"
    kafka_options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="passed to librdkafka", repr=False
    )
    acknowledge_seconds: float = Field(
        default=30.0, gt=0, description="how long a request waits for Kafka to take its record, before it fails"
    )

    def log(self) -> KafkaSettings:
        """How to reach Kafka."""
        return KafkaSettings(bootstrap=self.kafka, options=self.kafka_options)


class IngressSettings(GatewaySettings):
    """The HTTP ingress. Every field is also a variable: `BARNABAS_INGRESS_PORT=8080`."""

    ingress_host: str = Field(default="127.0.0.1", min_length=1)
    ingress_port: int = Field(default=8080, ge=0, le=65_535, description="0: any")
    drain_seconds: float = Field(
        default=20.0, ge=0, description="how long SIGTERM waits for requests that are being answered"
    )
    ingress_max_body_bytes: int = Field(default=Limits().value_bytes, ge=0, description="else 413")
    ingress_max_header_bytes: int = Field(default=32 << 10, ge=256, description="of path and headers, else 431")
    ingress_max_requests: int = Field(default=20_000, ge=1, description="requests at the same time, else 429")
