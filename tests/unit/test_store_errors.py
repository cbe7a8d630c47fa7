"""Every error that the driver or the server knows is sorted: an outage to wait for, or an answer."""

from __future__ import annotations

import inspect

import pytest
import redis.exceptions
from redis._parsers.base import BaseParser

from barnabas.store.port import StoreUnavailable
from barnabas.store.wire import OUTAGES, CommandRefused, sort_error

#: First words of the error replies of Redis 7 and 8 and Valkey 8 and 9, and whether they are outages.
CODES = {
    "ASK": True,
    "BUSY": True,
    "BUSYGROUP": False,
    "BUSYKEY": False,
    "CLUSTERDOWN": True,
    "CROSSSLOT": False,
    "DENIED": False,
    "ERR": False,
    "EXECABORT": False,
    "INPROG": False,
    "INVALIDOBJ": False,
    "IOERR": False,
    "LOADING": True,
    "MASTERDOWN": True,
    "MISCONF": True,
    "MOVED": True,
    "NOAUTH": True,
    "NOGOODSLAVE": False,
    "NOGROUP": False,
    "NOMASTERLINK": False,
    "NOPERM": True,
    "NOPROTO": False,
    "NOREPLICAS": True,
    "NOSCRIPT": False,
    "NOTBUSY": False,
    "OOM": True,
    "READONLY": True,
    "TRYAGAIN": True,
    "UNBLOCKED": False,
    "UNKILLABLE": True,
    "WRONGPASS": True,
    "WRONGTYPE": False,
}
ANSWERS = {
    "AskError": True,
    "AuthenticationWrongNumberOfArgsError": False,
    "ClusterCrossSlotError": False,
    "ClusterDownError": True,
    "ExecAbortError": False,
    "MasterDownError": True,
    "ModuleError": False,
    "MovedError": True,
    "NoPermissionError": True,
    "NoScriptError": False,
    "NoSuchFieldsetError": False,
    "OutOfMemoryError": True,
    "ReadOnlyError": True,
    "ResponseError": False,
    "TryAgainError": True,
}


@pytest.mark.parametrize("code", sorted(CODES | BaseParser.EXCEPTION_CLASSES))
def test_each_error_reply_is_sorted(code: str) -> None:
    """R15, F45. A code that redis-py learns to know has to be decided on here."""
    text = "1234 10.0.0.1:6379" if code in ("MOVED", "ASK") else "what the server said"
    found = sort_error(BaseParser.parse_error(f"{code} {text}"))
    assert type(found) is (StoreUnavailable if CODES[code] else CommandRefused)
    assert f"{code} {text}" in str(found)


def test_each_kind_of_answer_that_the_driver_knows_is_decided_on() -> None:
    kinds = inspect.getmembers(redis.exceptions, inspect.isclass)
    answers = {name for name, kind in kinds if issubclass(kind, redis.ResponseError)}
    assert answers == set(ANSWERS)
    known = {kind.__name__: code for code, kind in BaseParser.EXCEPTION_CLASSES.items() if isinstance(kind, type)}
    for name, is_outage in ANSWERS.items():
        if name in known:
            assert (known[name] in OUTAGES) == is_outage


def failures() -> list[type[redis.RedisError]]:
    kinds = [kind for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass)]
    return [kind for kind in kinds if issubclass(kind, redis.RedisError) and not issubclass(kind, redis.ResponseError)]


@pytest.mark.parametrize("kind", failures())
def test_whatever_is_no_answer_is_an_outage(kind: type[redis.RedisError]) -> None:
    assert isinstance(sort_error(kind("gone")), StoreUnavailable)


@pytest.mark.parametrize("error", [OSError("gone"), ConnectionResetError(), BrokenPipeError(), TimeoutError()])
def test_failures_of_the_network_are_outages_with_words(error: OSError) -> None:
    found = sort_error(error)
    assert isinstance(found, StoreUnavailable)
    assert not str(found).endswith(": ")


def test_too_many_clients_is_an_outage() -> None:
    found = sort_error(BaseParser.parse_error("ERR max number of clients reached"))
    assert isinstance(found, StoreUnavailable)


def test_a_script_that_an_administrator_killed_is_an_outage() -> None:
    said = "ERR Error running script: Script killed by user with SCRIPT KILL."
    assert isinstance(sort_error(BaseParser.parse_error(said)), StoreUnavailable)
