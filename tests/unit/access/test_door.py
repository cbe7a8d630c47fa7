"""When a door asks for keys, when it does not open at all, and who is let in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from barnabas.ingress.access.door import ATTACHING, INVOKING, OPERATING, READING, Authentication, Door, is_loopback
from barnabas.ingress.access.keys import NewKey, Role, new_key
from barnabas.ingress.http.access import authorize_by
from barnabas.ingress.http.paths import Awakeable, ById, Health, Invoke, Route
from barnabas.ingress.http.requests import HttpRequest
from barnabas.store.api_keys import MemoryApiKeys
from barnabas.worker.member import NotReady

LOCAL, PUBLIC = "127.0.0.1", "0.0.0.0"


@asynccontextmanager
async def door_at(
    address: str,
    *keys: NewKey,
    authentication: Authentication = "auto",
    file: Path | None = None,
    client_certificates: bool = False,
) -> AsyncIterator[Door]:
    stored = MemoryApiKeys()
    for key in keys:
        await stored.put(key.entry.id, key.entry.encode())
    door = Door(authentication, stored, file, client_certificates=client_certificates)
    try:
        await door.open(address, Role.INVOKE)
        yield door
    finally:
        await door.aclose()


def bearer(key: NewKey) -> str:
    return f"Bearer {key.text}"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


async def test_on_loopback_everybody_may_come_in() -> None:
    async with door_at(LOCAL, new_key([Role.READ], "", 0)) as door:
        assert door.check(None, OPERATING) is None


async def test_before_it_was_opened_nobody_may() -> None:
    door = Door("none", MemoryApiKeys(), None, client_certificates=False)
    denied = door.check(None, ATTACHING)
    assert denied is not None
    assert denied.status == 503


async def test_a_public_address_without_keys_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotReady, match=r"barnabas keys create --role invoke.*--allow-anonymous"):
        async with door_at(PUBLIC):
            pass


async def test_a_public_address_is_open_to_all_if_somebody_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with door_at(PUBLIC, authentication="none") as door:
        assert door.check(None, OPERATING) is None
    assert "without authentication" in caplog.text


async def test_a_public_address_asks_for_keys() -> None:
    key = new_key([Role.INVOKE], "shop", 0)
    async with door_at(PUBLIC, key) as door:
        assert door.check(bearer(key), INVOKING) is None
        assert door.check(f"bearer  {key.text}", INVOKING) is None
        for wrong in (
            None,
            "",
            key.text,
            f"Basic {key.text}",
            bearer(new_key([Role.INVOKE], "", 0)),
            f"Bearer {key.text}x",
        ):
            denied = door.check(wrong, INVOKING)
            assert denied is not None
            assert (denied.status, denied.headers) == (401, {"www-authenticate": "Bearer"})
            assert key.text not in denied.message


async def test_a_key_may_do_what_its_roles_say() -> None:
    keys = {role: new_key([role], "", 0) for role in Role}
    async with door_at(PUBLIC, *keys.values()) as door:
        allowed = {
            role: [door.check(bearer(key), wanted) is None for wanted in (INVOKING, ATTACHING, READING, OPERATING)]
            for role, key in keys.items()
        }
        assert allowed == {
            Role.INVOKE: [True, True, False, False],
            Role.READ: [False, True, True, False],
            Role.OPERATE: [False, True, True, True],
        }
        denied = door.check(bearer(keys[Role.READ]), OPERATING)
        assert denied is not None
        assert (denied.status, denied.headers) == (403, {})


async def test_naming_a_file_of_keys_asks_for_them_on_loopback_too(tmp_path: Path) -> None:
    key, file = new_key([Role.INVOKE], "", 0), tmp_path / "keys"
    file.write_bytes(key.entry.encode())
    async with door_at(LOCAL, file=file) as door:
        assert door.check(None, INVOKING) is not None
        assert door.check(bearer(key), INVOKING) is None


async def test_a_file_that_cannot_be_read_keeps_the_door_shut(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="cannot be read"):
        async with door_at(LOCAL, file=tmp_path / "none"):
            pass


async def test_certificates_instead_of_keys_need_a_ca() -> None:
    with pytest.raises(NotReady, match="BARNABAS_TLS_CLIENT_CA"):
        async with door_at(PUBLIC, authentication="certificates"):
            pass
    async with door_at(PUBLIC, authentication="certificates", client_certificates=True) as door:
        assert door.check(None, OPERATING) is None


async def test_certificates_beside_keys_do_not_replace_them() -> None:
    async with door_at(PUBLIC, new_key([Role.INVOKE], "", 0), client_certificates=True) as door:
        assert door.check(None, INVOKING) is not None


@pytest.mark.parametrize(
    ("route", "role", "status"),
    [
        (Invoke("S", ("h",), True), Role.READ, 403),
        (Invoke("S", ("h",), True), Role.INVOKE, None),
        (Awakeable("resolve", "sign_1"), Role.READ, 403),
        (ById("output", "inv_1"), Role.READ, None),
        (ById("attach", "inv_1"), Role.INVOKE, None),
        (ById("attach", "inv_1"), None, 401),
        (Health(), None, 200),
        (Health(), Role.INVOKE, None),
    ],
)
async def test_the_ingress_asks_for_the_role_that_a_route_needs(
    route: Route, role: Role | None, status: int | None
) -> None:
    keys = {known: new_key([known], "", 0) for known in Role}
    headers = [] if role is None else [(b"authorization", bearer(keys[role]).encode())]
    request = HttpRequest({"method": "POST", "raw_path": b"/", "query_string": b"", "headers": headers})
    async with door_at(PUBLIC, *keys.values()) as door:
        answer = authorize_by(door)(request, route)
    assert (answer and answer.status) == status
