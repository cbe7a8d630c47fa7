"""Where the schema registry is, from arguments or from `BARNABAS_...` variables. Read by the command line."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    """Every field is also a variable: `BARNABAS_REGISTRY=...`."""

    model_config = SettingsConfigDict(env_prefix="BARNABAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    registry: SecretStr | None = Field(
        default=None, description="URL of the schema registry; may hold user and password"
    )
    registry_timeout_seconds: float = Field(default=5.0, gt=0)
