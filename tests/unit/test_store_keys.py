"""Keys: one slot for a shard, whatever users put into them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from barnabas.store import keys
from barnabas.store.keys import Keys
from barnabas.store.port import Shard

SHARD = Shard("Plane", 3)


def test_a_key_is_the_shard_in_braces_and_the_suffix() -> None:
    assert Keys("demo").prefix(SHARD) + keys.META == b"{demo/Plane/3}:meta"
    assert Keys("demo").services == b"{demo}:services"


@given(
    id=st.binary(),
    user_key=st.one_of(st.text(), st.sampled_from(["{x}", "}{", "{}", "}", "{", "\x00", "a b\r\n"])),
)
def test_all_keys_of_a_shard_lie_in_one_slot(id: bytes, user_key: str) -> None:
    """F22."""
    prefix = Keys("demo").prefix(SHARD)
    slot = key_slot(prefix + keys.META)
    for suffix in (user_key.encode(), keys.journal(id), keys.state(user_key), keys.spilled(user_key)):
        assert key_slot(prefix + suffix) == slot


def test_shards_differ_in_slot_and_key() -> None:
    made = Keys("demo")
    prefixes = {made.prefix(Shard(service, partition)) for service in ("Plane", "Planes") for partition in range(50)}
    assert len(prefixes) == 100
    assert len({key_slot(prefix + keys.META) for prefix in prefixes}) > 90


def test_structures_of_a_shard_never_share_a_key() -> None:
    fixed = {keys.META, keys.LIVE, keys.INPUTS, keys.RING, keys.OUTBOX, keys.MARKS, keys.TIMERS, keys.SPILL}
    assert len(fixed) == 8
    for user_key in ("", "eta", "meta", ":"):
        made = {keys.journal(user_key.encode()), keys.state(user_key), keys.spilled(user_key)}
        assert len(made | fixed) == 11


@pytest.mark.parametrize("name", ["", "a{b", "a}b", "{}", "a/b", "a b", "a\n", "a\x00"])
def test_names_that_could_leave_the_hash_tag_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        Keys(name)
    with pytest.raises(ValueError, match="service name"):
        Keys("demo").prefix(Shard(name, 0))
