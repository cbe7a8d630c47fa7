"""BARNABAS_KAFKA_OPTIONS for commands that use `barnabas.Client`: librdkafka's words for security as aiokafka's.

What says how to get in is translated; everything else tunes librdkafka and means nothing to a single request.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from barnabas.log.settings import OptionValue

_TEXTS: Final = {
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
}


def client_options(options: Mapping[str, OptionValue]) -> dict[str, Any]:
    """The keyword arguments of a `barnabas.Client`. Raises ValueError for TLS files that cannot be used."""
    protocol = str(options.get("security.protocol", "plaintext")).upper()
    found: dict[str, Any] = {_TEXTS[name]: str(value) for name, value in options.items() if name in _TEXTS}
    if protocol != "PLAINTEXT":
        found["security_protocol"] = protocol
    if protocol in ("SSL", "SASL_SSL"):
        found["ssl_context"] = _tls(options)
    return found


def _tls(options: Mapping[str, OptionValue]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=_text(options, "ssl.ca.location"))
        certificate = _text(options, "ssl.certificate.location")
        if certificate is not None:
            password = _text(options, "ssl.key.password") or ""
            context.load_cert_chain(certificate, _text(options, "ssl.key.location"), lambda: password)
    except OSError as error:
        raise ValueError(f"the TLS files of BARNABAS_KAFKA_OPTIONS cannot be used: {error.strerror or error}") from None
    if _is_off(options, "ssl.endpoint.identification.algorithm", "none"):
        context.check_hostname = False
    if _is_off(options, "enable.ssl.certificate.verification", "false"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _text(options: Mapping[str, OptionValue], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)


def _is_off(options: Mapping[str, OptionValue], name: str, off: str) -> bool:
    return str(options.get(name, "")).lower() == off
