"""What answers look like."""

from __future__ import annotations

import json

import pytest

from barnabas.contract.records import Failure
from barnabas.ingress.http.responses import (
    Refused,
    error_response,
    execution_time,
    failure_response,
    json_response,
    result_response,
)

ID = "inv_1"


def test_a_result_is_as_the_handler_returned_it() -> None:
    answer = result_response(ID, b'"a"', "application/json", None)
    assert answer == (200, [(b"x-restate-id", b"inv_1"), (b"content-type", b"application/json")], b'"a"')


def test_no_result_has_no_type() -> None:
    assert result_response(ID, b"", "application/json", None).headers == [(b"x-restate-id", b"inv_1")]


def test_a_kept_result_says_until_when() -> None:
    assert (b"idempotency-expires", b"2026-01-31T12:00:00.005+00:00") in result_response(
        ID, b"1", "x", 1_769_860_800_005
    ).headers


def test_times_beyond_the_calendar_are_times_all_the_same() -> None:
    assert execution_time(2**53 - 1).startswith("9999-12-31T")
    assert execution_time(1_769_860_800_250) == "2026-01-31T12:00:00.250000000Z"


@pytest.mark.parametrize(("code", "status"), [(418, 418), (444, 444), (570, 570), (99, 500), (200, 500), (700, 500)])
def test_a_failure_has_the_status_of_its_code_where_that_is_one(code: int, status: int) -> None:
    answer = failure_response(Failure(code, "boo"), ID)
    assert answer.status == status
    assert json.loads(answer.body) == {"code": code, "message": "boo", "source": "invocation"}
    assert dict(answer.headers)[b"x-restate-error-source"] == b"invocation"
    assert dict(answer.headers)[b"x-restate-id"] == b"inv_1"


def test_a_failure_keeps_what_the_handler_attached() -> None:
    answer = failure_response(Failure(409, "ö", {"seat": "12A"}), ID)
    assert json.loads(answer.body)["metadata"] == {"seat": "12A"}
    assert "ö".encode() in answer.body


def test_text_without_utf8_form_is_escaped() -> None:
    assert json.loads(error_response(400, "\ud800").body)["message"] == "\ud800"


def test_an_error_of_the_ingress_itself() -> None:
    answer = Refused(503, "later", retry_after=2, close=True).response()
    assert json.loads(answer.body) == {"code": 503, "message": "later", "source": "ingress"}
    assert dict(answer.headers)[b"retry-after"] == b"2"
    assert dict(answer.headers)[b"connection"] == b"close"
    assert b"x-restate-id" not in dict(answer.headers)


def test_json_is_compact_as_restates_is() -> None:
    assert json_response(202, {"invocationId": ID, "status": "Accepted"}).body == (
        b'{"invocationId":"inv_1","status":"Accepted"}'
    )
