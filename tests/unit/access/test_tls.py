"""TLS of the doors: which files make a context, and what is said of those that do not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from barnabas.ingress.access.tls import server_context
from barnabas.worker.member import NotReady
from tests.certificates import Authority


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(None, None, None, None) is None


def test_a_server_speaks_tls_1_2_or_newer_and_asks_for_certificates_if_told_to(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    context = server_context(certificate, key, None, None)
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    mutual = server_context(certificate, key, None, authority.ca)
    assert mutual is not None
    assert mutual.verify_mode is ssl.CERT_REQUIRED


def test_a_key_with_a_password_is_opened_with_it(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("server", "hunter2")
    assert server_context(certificate, key, "hunter2", None) is not None
    for wrong in ("hunter3", None):
        with pytest.raises(NotReady, match=r"server\.key") as refused:
            server_context(certificate, key, wrong, None)
        assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("part", ["certificate", "key", "ca"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, part: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    missing = tmp_path / "missing.pem"
    files = {"certificate": certificate, "key": key, "ca": authority.ca} | {part: missing}
    with pytest.raises(NotReady, match=r"missing\.pem.*No such file"):
        server_context(files["certificate"], files["key"], None, files["ca"])


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    _, key = Authority(tmp_path).issue("server")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    with pytest.raises(NotReady, match=r"nothing\.pem.*cannot be used"):
        server_context(nothing, key, None, None)


def test_a_key_or_a_ca_without_a_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for key, ca in ((tmp_path / "a.key", None), (None, authority.ca)):
        with pytest.raises(NotReady, match="BARNABAS_TLS_CERT"):
            server_context(None, key, None, ca)
