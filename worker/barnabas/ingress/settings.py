"""Settings of the doors' processes, from arguments or from `BARNABAS_...` variables. Read by the command line alone."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from barnabas.ingress.access.door import Authentication, Door
from barnabas.ingress.access.tls import server_context
from barnabas.ingress.http.origins import checked_origins
from barnabas.log.settings import KafkaOptions, KafkaSettings
from barnabas.runtime.limits import Limits
from barnabas.store.address import StoreUrl
from barnabas.store.api_keys import RedisApiKeys


class GatewaySettings(BaseSettings):
    """Where the servers are; what a `Gateway` needs."""

    model_config = SettingsConfigDict(env_prefix="BARNABAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka: str = Field(description="bootstrap servers, host:port,...")
    redis: StoreUrl
    namespace: str = "barnabas"
    kafka_options: KafkaOptions
    acknowledge_seconds: float = Field(
        default=30.0, gt=0, description="how long a request waits for Kafka to take its record, before it fails"
    )

    def log(self) -> KafkaSettings:
        """How to reach Kafka."""
        return KafkaSettings(bootstrap=self.kafka, options=self.kafka_options)


class DoorSettings(GatewaySettings):
    """Who may come in, and how connections are protected: the same for all doors of an installation."""

    authentication: Authentication = Field(
        default="auto", description="keys, certificates or none; auto: none on loopback, else keys"
    )
    api_keys_file: Path | None = Field(default=None, description="keys beside those of the store; asks for keys")
    tls_cert: Path | None = Field(default=None, description="the server's certificate with its chain, PEM")
    tls_key: Path | None = Field(default=None, description="its private key, PEM, unless the certificate's file has it")
    tls_key_password: SecretStr | None = None
    tls_client_ca: Path | None = Field(default=None, description="clients must have a certificate of this CA, PEM")

    def door(self) -> Door:
        """Who may come in; not open yet."""
        keys = RedisApiKeys(self.redis.get_secret_value(), self.namespace)
        return Door(self.authentication, keys, self.api_keys_file, client_certificates=self.tls_client_ca is not None)

    def tls(self) -> ssl.SSLContext | None:
        """What connections are accepted with. Raises NotReady where a file cannot be used."""
        password = None if self.tls_key_password is None else self.tls_key_password.get_secret_value()
        return server_context(self.tls_cert, self.tls_key, password, self.tls_client_ca)


class IngressSettings(DoorSettings):
    """The HTTP ingress. Every field is also a variable: `BARNABAS_INGRESS_PORT=8080`."""

    ingress_host: str = Field(default="127.0.0.1", min_length=1)
    ingress_port: int = Field(default=8080, ge=0, le=65_535, description="0: any")
    drain_seconds: float = Field(
        default=20.0, ge=0, description="how long SIGTERM waits for requests that are being answered"
    )
    ingress_max_body_bytes: int = Field(default=Limits().value_bytes, ge=0, description="else 413")
    ingress_max_header_bytes: int = Field(default=32 << 10, ge=256, description="of path and headers, else 431")
    ingress_max_requests: int = Field(default=20_000, ge=1, description="requests at the same time, else 429")
    ingress_cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(checked_origins)] = Field(
        default=(), description="origins whose web pages may call, with commas between; *: all"
    )
