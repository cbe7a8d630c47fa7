"""Where Kafka is and how to reach it, for both halves of the client. No I/O.

What is here passes through to aiokafka; every other option of it would change what the client promises, and is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

#: Options of aiokafka that say how to reach the brokers and how patiently.
PASSED_ON: Final = frozenset(
    {
        "connections_max_idle_ms",
        "metadata_max_age_ms",
        "request_timeout_ms",
        "retry_backoff_ms",
        "sasl_kerberos_domain_name",
        "sasl_kerberos_service_name",
        "sasl_mechanism",
        "sasl_oauth_token_provider",
        "sasl_plain_password",
        "sasl_plain_username",
        "security_protocol",
        "ssl_context",
    }
)

#: Partition counts are as old as this at most; they do not change under a running namespace, topics only come and go.
_METADATA_MAX_AGE_MS: Final = 60_000


class Connection:
    """How to reach Kafka. Its repr shows no options, which may be secrets."""

    def __init__(self, bootstrap: str | None, options: Mapping[str, Any]) -> None:
        """`bootstrap` is "host:port,..."; BARNABAS_KAFKA if None. Raises ValueError, or TypeError for an option."""
        found = bootstrap or os.environ.get("BARNABAS_KAFKA")
        if not found:
            raise ValueError("where is Kafka? Set BARNABAS_KAFKA, or say barnabas.Client('host:port')")
        unknown = sorted(options.keys() - PASSED_ON)
        if unknown:
            raise TypeError(
                f"these are no options of a client: {', '.join(unknown)}. It takes what says how to reach Kafka: "
                f"{', '.join(sorted(PASSED_ON))}"
            )
        self.bootstrap = found
        self._options = dict(options)

    def options(self, client_id: str) -> dict[str, Any]:
        """The keyword arguments for an aiokafka client."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": client_id,
            "metadata_max_age_ms": _METADATA_MAX_AGE_MS,
            **self._options,
        }

    def __repr__(self) -> str:
        return f"Connection({self.bootstrap!r})"
