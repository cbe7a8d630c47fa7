"""Keys, what is kept of them, and files of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from barnabas.cli.keys import app as cli
from barnabas.ingress.access.keyring import Keyring, KeysFileError, read_keys_file
from barnabas.ingress.access.keys import MalformedEntry, Role, decode_entry, new_key, split_key
from barnabas.store.api_keys import MemoryApiKeys
from barnabas.store.port import StoreUnavailable


def test_a_key_fits_its_own_entry_alone_also_when_that_was_stored() -> None:
    one, other = new_key([Role.INVOKE], "shop", 1), new_key([Role.INVOKE], "shop", 1)
    stored = decode_entry(one.entry.encode())
    assert stored == one.entry
    id_, secret = split_key(one.text) or ("", "")
    assert id_ == stored.id
    assert stored.fits(secret)
    assert not stored.fits((split_key(other.text) or ("", ""))[1])
    assert not stored.fits(secret[:-1])


def test_nothing_that_is_kept_or_shown_of_a_key_holds_its_secret() -> None:
    key = new_key([Role.OPERATE], "ops", 1)
    _, secret = split_key(key.text) or ("", "")
    for shown in (key.entry.encode().decode(), repr(key.entry), str(key.entry)):
        assert secret not in shown
    assert key.entry.hash.hex() not in repr(key.entry)


def test_equal_secrets_have_different_hashes() -> None:
    """Salted: two entries do not tell that their keys are one."""
    entries = [new_key([Role.READ], "", 0).entry for _ in range(2)]
    assert entries[0].salt != entries[1].salt


@pytest.mark.parametrize("text", ["", "bnb", "bnb_", "bnb_1", "bnb_1_", "sk_1_2", "Bearer", "_1_2"])
def test_what_is_no_key_is_told_apart(text: str) -> None:
    assert split_key(text) is None


@pytest.mark.parametrize(
    "change",
    [
        {"hash": "AAAA"},
        {"hash": "?"},
        {"roles": []},
        {"roles": ["root"]},
        {"id": ""},
        {"salt": None},
        {"created_at": "x"},
    ],
)
def test_a_damaged_entry_is_refused_without_being_shown(change: dict[str, object]) -> None:
    content = json.loads(new_key([Role.READ], "dashboards", 1).entry.encode())
    with pytest.raises(MalformedEntry) as refused:
        decode_entry(json.dumps(content | change).encode())
    assert content["salt"] not in str(refused.value)


async def test_a_keyring_knows_keys_of_the_store_and_of_a_file(tmp_path: Path) -> None:
    stored, filed, revoked = (new_key([Role.INVOKE], name, 1) for name in ("stored", "filed", "revoked"))
    keys, file = MemoryApiKeys(), tmp_path / "keys"
    file.write_bytes(b"# who may come in\n\n" + filed.entry.encode() + b"\n")
    for key in (stored, revoked):
        await keys.put(key.entry.id, key.entry.encode())
    ring = Keyring(keys, file)
    await ring.refresh()
    assert [found and found.name for found in map(ring.find, (stored.text, filed.text, revoked.text))] == [
        "stored",
        "filed",
        "revoked",
    ]
    assert ring.find(f"{stored.text}x") is None
    assert await keys.remove(revoked.entry.id)
    await ring.refresh()
    assert ring.find(revoked.text) is None


async def test_what_was_known_stays_known_while_the_store_is_away() -> None:
    keys, key = MemoryApiKeys(), new_key([Role.INVOKE], "", 1)
    await keys.put(key.entry.id, key.entry.encode())
    ring = Keyring(keys, None)
    await ring.refresh()
    keys.down = True
    with pytest.raises(StoreUnavailable):
        await ring.refresh()
    assert ring.find(key.text) == key.entry


async def test_a_damaged_entry_in_the_store_does_not_shut_the_others_out(caplog: pytest.LogCaptureFixture) -> None:
    keys, key = MemoryApiKeys(), new_key([Role.INVOKE], "", 1)
    await keys.put(key.entry.id, key.entry.encode())
    await keys.put("broken", b"{")
    ring = Keyring(keys, None)
    await ring.refresh()
    assert ring.find(key.text) is not None
    assert "broken" in caplog.text


def test_a_file_that_cannot_be_read_or_understood_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match="missing cannot be read"):
        read_keys_file(tmp_path / "missing")
    file = tmp_path / "keys"
    file.write_bytes(new_key([Role.READ], "", 1).entry.encode() + b"\nhunter2\n")
    with pytest.raises(KeysFileError, match="line 2") as refused:
        read_keys_file(file)
    assert "hunter2" not in str(refused.value)


def test_a_key_is_added_on_a_line_of_its_own(tmp_path: Path) -> None:
    """An editor may have left the last line without its end."""
    first, file = new_key([Role.READ], "", 1), tmp_path / "keys"
    file.write_bytes(first.entry.encode())
    made = CliRunner().invoke(cli, ["create", "--role", "invoke", "--file", str(file)])
    assert made.exit_code == 0, made.output
    assert [entry.id for entry in read_keys_file(file)] == [first.entry.id, made.stdout.split("_")[1]]
