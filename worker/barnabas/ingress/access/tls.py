"""TLS of the doors: a server's certificate, and optionally one that every client must have (mutual TLS)."""

from __future__ import annotations

import ssl
from pathlib import Path

from barnabas.worker.member import NotReady


def server_context(
    certificate: Path | None, key: Path | None, key_password: str | None, client_ca: Path | None
) -> ssl.SSLContext | None:
    """What connections are accepted with; None: without TLS. TLS 1.2 or newer.

    Reads the files now; those that replace them are used after the next start. Raises NotReady, which names the file.
    """
    if certificate is None:
        if key is not None or client_ca is not None:
            raise NotReady(
                "BARNABAS_TLS_KEY and BARNABAS_TLS_CLIENT_CA need BARNABAS_TLS_CERT, the server's certificate"
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The password as a function: asked for by OpenSSL only if the key has one, and never on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: key_password or "")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise NotReady(f"the TLS certificate {certificate} with the key {key or certificate}: {_why(error)}") from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise NotReady(f"the CA of clients' certificates {client_ca}: {_why(error)}") from None
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"cannot be used, {error.reason or 'OpenSSL says no more'}"
    if isinstance(error, OSError):
        return f"cannot be read, {error.strerror}"
    return "cannot be used"
