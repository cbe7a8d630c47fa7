"""The HTTP ingress on real servers: every row of INTEROP.md's ingress table; the docstrings name the row.

`tests/interop` has the clients of Restate.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from barnabas.contract.ids import InvocationId, awakeable_id, random_id
from barnabas.devstack.stack import Addresses
from tests.scenario.installation import installation

APP = "tests.integration.ingress_app:app"
SECONDS = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def url(barnabas_stack: Addresses) -> Iterator[str]:
    port = free_port()
    with installation(barnabas_stack, APP) as place, place.process("ingress", "--port", str(port)):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=SECONDS) as client:
        yield client


@pytest.fixture
def key() -> str:
    return uuid4().hex


def failed(answer: httpx.Response, status: int, message: str, source: str = "ingress") -> dict[str, Any]:
    """The body of an error, whose form is checked."""
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    assert content["code"] == status
    assert message in content["message"]
    assert content["source"] == source
    assert answer.headers["x-restate-error-source"] == source
    assert answer.headers["content-type"] == "application/json"
    assert ("x-restate-id" in answer.headers) == (source == "invocation")
    return content


def accepted(answer: httpx.Response, status: str = "Accepted") -> str:
    """The id that a send has given."""
    assert answer.status_code == 202, answer.text
    content = answer.json()
    assert content["status"] == status
    assert answer.headers["x-restate-id"] == content["invocationId"]
    InvocationId.parse(content["invocationId"])
    found: str = content["invocationId"]
    return found


def attach(http: httpx.Client, id_: str) -> httpx.Response:
    return http.get(f"/restate/attach/{id_}")


# -- call


@pytest.mark.parametrize("path", ["/restate/call/Greeter/greet", "/Greeter/greet", "/Greeter/greet/"])
def test_call_of_a_service(http: httpx.Client, path: str) -> None:
    """call: 200, body as the handler returned it, header x-restate-id; both path forms."""
    answer = http.post(path, json="Ada")
    assert (answer.status_code, answer.text) == (200, '"Hello Ada"')
    assert answer.headers["content-type"] == "application/json"
    InvocationId.parse(answer.headers["x-restate-id"])
    assert "idempotency-expires" not in answer.headers


def test_the_id_is_the_one_that_the_handler_sees(http: httpx.Client) -> None:
    """call: header x-restate-id."""
    answer = http.get("/restate/call/Greeter/whoami")
    assert answer.json() == answer.headers["x-restate-id"]


@pytest.mark.parametrize("key", ["a/b", "a b", "é", "日本", "%2F", "..", "+", "?", "#", "", "send", "a" * 2_000])
@pytest.mark.parametrize("prefix", ["/restate/call", ""])
def test_call_of_an_object_whose_key_may_be_anything(http: httpx.Client, key: str, prefix: str) -> None:
    """Paths: segments are percent-encoded; keys may contain anything."""
    part = quote(key, safe="").replace(".", "%2E")
    assert http.get(f"{prefix}/Counter/{part}/my_key").json() == key


def test_call_of_an_object_keeps_its_state(http: httpx.Client, key: str) -> None:
    totals = [http.post(f"/restate/call/Counter/{key}/add", json=n).json() for n in (1, 2, 3)]
    assert totals == [1, 3, 6]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_handler_without_input_can_be_got(http: httpx.Client, method: str) -> None:
    """Paths: a handler without input can be called with GET."""
    assert http.request(method, "/restate/call/Greeter/hello").json() == "Hello"


def test_raw_bytes(http: httpx.Client) -> None:
    """call: raw bytes application/octet-stream."""
    content = bytes(range(256))
    answer = http.post("/restate/call/Greeter/echo", content=content, headers={"content-type": "image/png"})
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_type_of_ones_own(http: httpx.Client) -> None:
    answer = http.post("/restate/call/Greeter/shout", content=b"hey", headers={"content-type": "text/csv"})
    assert (answer.content, answer.headers["content-type"]) == (b"HEY", "text/plain; charset=utf-8")


def test_no_result(http: httpx.Client) -> None:
    answer = http.get("/restate/call/Greeter/nothing")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-type" not in answer.headers


# -- idempotency


def test_same_idempotency_key(http: httpx.Client, key: str) -> None:
    """same idempotency key, other body: the old result; a repeat of a finished call adds idempotency-expires."""
    headers = {"idempotency-key": key}
    first = http.post("/Greeter/ticket", json="a", headers=headers)
    again = http.post("/restate/call/Greeter/ticket", json="b", headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.text == again.text
    assert first.headers["x-restate-id"] == again.headers["x-restate-id"]
    assert "idempotency-expires" not in first.headers
    assert again.headers["idempotency-expires"].endswith("+00:00")
    other = http.post("/Greeter/greet", json="a", headers=headers)  # the key is per handler
    assert other.headers["x-restate-id"] != first.headers["x-restate-id"]


def test_an_idempotency_key_is_per_key(http: httpx.Client, key: str) -> None:
    """the key is per (service, key, handler)."""
    headers = {"idempotency-key": "same"}
    ids = [http.post(f"/Counter/{key}-{n}/add", json=1, headers=headers).headers["x-restate-id"] for n in (1, 2, 2)]
    assert ids[0] != ids[1] == ids[2]
    assert http.post(f"/Counter/{key}-2/add", json=0).json() == 1


def test_an_idempotent_failure_is_kept_too(http: httpx.Client, key: str) -> None:
    answers = [http.post("/Greeter/fail", json=418, headers={"idempotency-key": key}) for _ in range(2)]
    for answer in answers:
        failed(answer, 418, "boo", "invocation")


# -- send


@pytest.mark.parametrize("path", ["/restate/send/Greeter/greet", "/Greeter/greet/send"])
def test_send(http: httpx.Client, path: str) -> None:
    """send: 202 with id and status."""
    id_ = accepted(http.post(path, json="Ada"))
    assert attach(http, id_).json() == "Hello Ada"


@pytest.mark.parametrize("path", ["/restate/send/Counter/{}/add", "/Counter/{}/add/send"])
def test_send_to_an_object(http: httpx.Client, key: str, path: str) -> None:
    accepted(http.post(path.format(key), json=5))
    assert http.post(f"/Counter/{key}/add", json=1).json() == 6


def test_a_handler_without_input_can_be_sent_to_by_get(http: httpx.Client) -> None:
    assert attach(http, accepted(http.get("/restate/send/Greeter/hello"))).json() == "Hello"


def test_send_again(http: httpx.Client, key: str) -> None:
    """send: again PreviouslyAccepted with the same id; running, and finished."""
    headers = {"idempotency-key": key}
    first = accepted(http.post("/Greeter/slow/send", json=500, headers=headers))
    assert accepted(http.post("/Greeter/slow/send", json=500, headers=headers), "PreviouslyAccepted") == first
    assert attach(http, first).json() == "done"
    assert accepted(http.post("/Greeter/slow/send", json=500, headers=headers), "PreviouslyAccepted") == first


# -- delay


@pytest.mark.parametrize("delay", ["PT0.3S", "300ms", "0.3s", "0s 300ms", "300"])
def test_delay(http: httpx.Client, delay: str) -> None:
    """delay: ISO 8601 or humantime; a bare integer is milliseconds; with executionTime."""
    before = time.monotonic()
    answer = http.post("/Greeter/greet/send", json="Ada", params={"delay": delay})
    id_ = accepted(answer)
    assert answer.json()["executionTime"].endswith("Z")
    assert attach(http, id_).json() == "Hello Ada"
    assert time.monotonic() - before >= 0.29


def test_delay_and_idempotency(http: httpx.Client, key: str) -> None:
    """send: executionTime of the accepted one only; the same target sent delayed and undelayed has one id."""
    headers = {"idempotency-key": key}
    first = http.post("/Greeter/greet/send?delay=1h", json="Ada", headers=headers)
    again = http.post("/Greeter/greet/send?delay=2h", json="Ada", headers=headers)
    undelayed = http.post("/Greeter/greet/send", json="Ada", headers=headers)
    id_ = accepted(first)
    assert accepted(again, "PreviouslyAccepted") == accepted(undelayed, "PreviouslyAccepted") == id_
    assert {answer.json()["executionTime"] for answer in (again, undelayed)} == {first.json()["executionTime"]}
    failed(http.get(f"/restate/output/{id_}"), 470, "not completed")


@pytest.mark.parametrize("path", ["/Greeter/greet/send", "/Trip/{key}/run/send"])
def test_a_delay_that_comes_too_late_is_not_promised(http: httpx.Client, key: str, path: str) -> None:
    """send: executionTime of the accepted one only, which has none here."""
    path = path.format(key=key)
    headers = {} if "run" in path else {"idempotency-key": key}
    id_ = accepted(http.post(path, json="Ada", headers=headers))
    again = http.post(f"{path}?delay=1h", json="Ada", headers=headers)
    assert accepted(again, "PreviouslyAccepted") == id_
    assert "executionTime" not in again.json()


def test_delay_of_a_workflow(http: httpx.Client, key: str) -> None:
    """delay: allowed for workflows."""
    id_ = accepted(http.post(f"/restate/send/Trip/{key}/run?delay=100ms", json="Oslo"))
    assert http.post(f"/Trip/{key}/choose", json="12A").status_code == 200
    assert attach(http, id_).json() == "Oslo 12A"


def test_a_delayed_plain_message_can_be_looked_at(http: httpx.Client) -> None:
    id_ = accepted(http.post("/Greeter/greet/send?delay=1h", json="Ada"))
    failed(http.get(f"/restate/output/{id_}"), 470, "not completed")


def test_delay_on_a_call(http: httpx.Client) -> None:
    """delay: on a call 400."""
    failed(http.post("/Greeter/greet?delay=1s", json="Ada"), 400, "cannot use the delay query parameter with calls")


@pytest.mark.parametrize("delay", ["zzz", "", "-1s", "1month", "1 fortnight"])
def test_delay_that_is_unreadable(http: httpx.Client, delay: str) -> None:
    """delay: unreadable 400."""
    failed(http.post("/Greeter/greet/send", json="Ada", params={"delay": delay}), 400, "bad delay query parameter")


# -- headers


def test_headers(http: httpx.Client) -> None:
    """headers: a client's headers reach the handler."""
    sent = {
        "X-Foo": "A",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "authorization": "Bearer secret",
        "cookie": "a=b",
        "idempotency-key": uuid4().hex,
    }
    seen = http.get("/Greeter/seen", headers=sent).json()
    assert seen["x-foo"] == "A"
    assert seen["traceparent"] == sent["traceparent"]
    assert not {"authorization", "cookie", "idempotency-key", "host", "connection"} & seen.keys()


def test_headers_are_not_forwarded_by_themselves(http: httpx.Client) -> None:
    """headers: a caller's are not forwarded by themselves."""
    assert "x-foo" not in http.get("/Greeter/forwarded", headers={"x-foo": "A"}).json()


# -- errors of handlers


@pytest.mark.parametrize("code", [400, 404, 409, 418, 444, 500, 503, 599])
def test_terminal_error(http: httpx.Client, code: int) -> None:
    """terminal error of a handler: HTTP status = its status code, message as given. error: body and header."""
    content = failed(http.post("/Greeter/fail", json=code), code, "boo", "invocation")
    assert content["metadata"] == {"seat": "12A"}


def test_attempts_used_up(http: httpx.Client) -> None:
    """attempts used up, policy kill: 500 with the error's text."""
    failed(http.get("/Greeter/broken"), 500, "the printer is on fire", "invocation")


def test_journal_mismatch(http: httpx.Client) -> None:
    """journal mismatch, attempts used up: 570."""
    failed(http.get("/Greeter/fickle"), 570, "", "invocation")


def test_unreadable_json(http: httpx.Client) -> None:
    """unreadable JSON: Barnabas: 400 with the same words first."""
    answer = http.post("/Greeter/greet", content=b"{nojson", headers={"content-type": "application/json"})
    content = failed(answer, 400, "Unable to parse an input argument", "invocation")
    assert content["message"].startswith("Unable to parse an input argument")


# -- output and attach


def test_output_of_an_unfinished_invocation(http: httpx.Client, key: str) -> None:
    """output of an unfinished invocation: 470, message contains "not completed"; then the result."""
    id_ = accepted(http.post("/Greeter/slow/send", json=700, headers={"idempotency-key": key}))
    failed(http.get(f"/restate/output/{id_}"), 470, "not completed")
    assert attach(http, id_).json() == "done"
    answer = http.get(f"/restate/output/{id_}")
    assert answer.json() == "done"
    assert answer.headers["x-restate-id"] == id_
    assert "idempotency-expires" in answer.headers


def test_output_of_an_unknown_one(http: httpx.Client) -> None:
    """output: unknown 404."""
    for service in ("Greeter", "Nobody"):
        failed(http.get(f"/restate/output/{random_id(service, None)}"), 404, "not found")


def test_attach_to_an_unknown_one(http: httpx.Client) -> None:
    """attach to an unknown invocation: 404, source invocation."""
    for id_ in (random_id("Greeter", None), random_id("Nobody", None), random_id("Greeter", None, delayed=True)):
        failed(attach(http, str(id_)), 404, "no", "invocation")


@pytest.mark.parametrize("op", ["attach", "output"])
@pytest.mark.parametrize("id_", ["inv_foo", "foo", "inv_" + "z" * 33, "%20"])
def test_malformed_id(http: httpx.Client, op: str, id_: str) -> None:
    """output, attach: malformed id 400."""
    for path in (f"/restate/{op}/{id_}", f"/restate/invocation/{id_}/{op}"):
        failed(http.get(path), 400, "bad invocation id")
    body = {"target": "invocation", "invocationId": id_}
    failed(http.post(f"/restate/{op}", json=body), 400, "bad invocation id")


def test_attach_to_a_plain_finished_one(http: httpx.Client) -> None:
    """attach to a plain finished invocation: its value while it is still retained."""
    id_ = http.post("/Greeter/greet", json="Ada").headers["x-restate-id"]
    assert attach(http, id_).json() == "Hello Ada"
    assert http.get(f"/restate/output/{id_}").json() == "Hello Ada"


def test_attach_keeps_the_handlers_type(http: httpx.Client) -> None:
    headers = {"content-type": "text/plain"}
    id_ = http.post("/Greeter/shout", content=b"hey", headers=headers).headers["x-restate-id"]
    assert attach(http, id_).headers["content-type"] == "text/plain; charset=utf-8"


def test_targets_by_idempotency_key(http: httpx.Client, key: str) -> None:
    """POST attach, output, lookup with an idempotentInvocation; the older paths."""
    id_ = accepted(http.post(f"/Counter/{key}/add/send", json=7, headers={"idempotency-key": "k/1"}))
    body = {
        "target": "idempotentInvocation",
        "service": "Counter",
        "key": key,
        "handler": "add",
        "idempotencyKey": "k/1",
    }
    assert http.post("/restate/lookup", json=body).json() == {"invocationId": id_}
    assert http.post("/restate/attach", json=body).json() == 7
    assert http.post("/restate/output", json=body).json() == 7
    for op in ("attach", "output"):
        answer = http.get(f"/restate/invocation/Counter/{key}/add/k%2F1/{op}")
        assert (answer.json(), answer.headers["x-restate-id"]) == (7, id_)
    failed(http.get(f"/restate/invocation/Counter/{key}/add/other/output"), 404, "not found")


def test_targets_of_a_service(http: httpx.Client, key: str) -> None:
    accepted(http.post("/Greeter/greet/send", json="Ada", headers={"idempotency-key": key}))
    assert http.get(f"/restate/invocation/Greeter/greet/{key}/attach").json() == "Hello Ada"
    body = {"target": "idempotentInvocation", "service": "Greeter", "handler": "greet", "idempotencyKey": key}
    assert http.post("/restate/output", json=body).json() == "Hello Ada"


def test_targets_by_id(http: httpx.Client) -> None:
    id_ = accepted(http.post("/Greeter/greet/send", json="Ada"))
    body = {"target": "invocation", "invocationId": id_}
    assert http.post("/restate/lookup", json=body).json() == {"invocationId": id_}
    assert http.post("/restate/attach", json=body).json() == "Hello Ada"
    assert http.get(f"/restate/invocation/{id_}/attach").json() == "Hello Ada"
    assert http.get(f"/restate/invocation/{id_}/output").json() == "Hello Ada"


def test_targets_by_workflow(http: httpx.Client, key: str) -> None:
    id_ = accepted(http.post(f"/Trip/{key}/run/send", json="Oslo"))
    body = {"target": "workflow", "workflowName": "Trip", "workflowKey": key}
    assert http.post("/restate/lookup", json=body).json() == {"invocationId": id_}
    failed(http.post("/restate/output", json=body), 470, "not completed")
    failed(http.get(f"/restate/workflow/Trip/{key}/output"), 470, "not completed")
    http.post(f"/Trip/{key}/choose", json="1A")
    assert http.post("/restate/attach", json=body).json() == "Oslo 1A"
    assert http.get(f"/restate/workflow/Trip/{key}/attach").json() == "Oslo 1A"
    assert http.get(f"/restate/workflow/Trip/{key}/output").json() == "Oslo 1A"
    failed(http.get("/restate/workflow/Trip/never/output"), 404, "not found")


@pytest.mark.parametrize(
    "body",
    [
        {"target": "idempotentInvocation", "service": "Greeter", "handler": "greet", "idempotencyKey": "never"},
        {"target": "idempotentInvocation", "service": "Nobody", "handler": "greet", "idempotencyKey": "never"},
        {"target": "workflow", "workflowName": "Trip", "workflowKey": "never"},
    ],
)
def test_lookup_of_what_never_ran(http: httpx.Client, body: dict[str, str]) -> None:
    """lookup: 200, also for a target that never ran (the id it would have)."""
    answer = http.post("/restate/lookup", json=body)
    assert answer.status_code == 200
    InvocationId.parse(answer.json()["invocationId"])
    failed(http.post("/restate/output", json=body), 404, "not found")


def test_lookup_says_the_id_that_it_will_have(http: httpx.Client, key: str) -> None:
    body = {"target": "idempotentInvocation", "service": "Greeter", "handler": "greet", "idempotencyKey": key}
    wanted = http.post("/restate/lookup", json=body).json()["invocationId"]
    answer = http.post("/Greeter/greet", json="Ada", headers={"idempotency-key": key})
    assert answer.headers["x-restate-id"] == wanted


@pytest.mark.parametrize("op", ["attach", "output", "lookup"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nojson",
        b"[1]",
        b"[" * 100_000,
        b'{"target":"bla"}',
        b'{"target":"workflow","workflowName":"Trip"}',
        b'{"target":"workflow","workflowName":1,"workflowKey":"k"}',
        b'{"target":"workflow","workflowName":"Trip","workflowKey":"\\ud800"}',
        b"\xff",
    ],
)
def test_a_target_that_is_none(http: httpx.Client, op: str, content: bytes) -> None:
    failed(http.post(f"/restate/{op}", content=content), 400, f"invalid {op} body")


# -- what is refused


@pytest.mark.parametrize("path", ["/restate/call/Nobody/greet", "/Nobody/greet", "/restate/send/Nobody/k/greet"])
def test_unknown_service(http: httpx.Client, path: str) -> None:
    """unknown service or handler: 404 with its name in the message."""
    failed(http.post(path, json="Ada"), 404, "'Nobody'")


@pytest.mark.parametrize("path", ["/restate/call/Greeter/wave", "/Counter/k/wave/send", "/Greeter/@state"])
def test_unknown_handler(http: httpx.Client, path: str) -> None:
    """unknown service or handler: 404 with its name in the message."""
    name = "@state" if "@" in path else "wave"
    failed(http.post(path, json="Ada"), 404, f"'{name}'")


@pytest.mark.parametrize(
    "path", ["/restate/call/Counter/add", "/Counter/add", "/restate/call/Greeter/k/greet", "/restate/send/Trip/run"]
)
def test_a_key_too_many_or_too_few(http: httpx.Client, path: str) -> None:
    """object without key, service with key: 400."""
    failed(http.post(path, json=1), 400, "bad path")


@pytest.mark.parametrize("content_type", ["application/cbor", "text/plain", "application/x-www-form-urlencoded", None])
def test_wrong_or_missing_content_type(http: httpx.Client, content_type: str | None) -> None:
    """wrong or missing content type: 400."""
    headers = {} if content_type is None else {"content-type": content_type}
    failed(http.post("/Greeter/greet", content=b'"Ada"', headers=headers), 400, "input validation error")


def test_body_for_a_handler_without_input(http: httpx.Client) -> None:
    """body for a handler without input: 400."""
    failed(http.post("/Greeter/hello", json="Ada"), 400, "input validation error")


def test_no_body_where_one_is_wanted(http: httpx.Client) -> None:
    failed(http.post("/Greeter/greet", headers={"content-type": "application/json"}), 400, "input validation error")


@pytest.mark.parametrize("path", ["/Private/secret", "/Greeter/inner", "/restate/send/Private/secret"])
def test_private_service(http: httpx.Client, path: str) -> None:
    """private service: 400; other handlers reach it."""
    failed(http.post(path), 400, "not public")
    assert http.get("/Greeter/outer").json() == "inner"


@pytest.mark.parametrize("operation", ["attach", "output", "lookup"])
def test_targets_of_a_private_service(http: httpx.Client, operation: str) -> None:
    """private service: 400; lookup too, whose answer would open the other two."""
    for service, handler in (("Private", "secret"), ("Greeter", "inner")):
        target = {"target": "idempotentInvocation", "service": service, "handler": handler, "idempotencyKey": "k"}
        failed(http.post(f"/restate/{operation}", json=target), 400, "not public")


def test_idempotency_key_of_a_workflow(http: httpx.Client, key: str) -> None:
    """idempotency key on a workflow's run over HTTP: 400; its shared handlers take one."""
    headers = {"idempotency-key": "k"}
    failed(http.post(f"/Trip/{key}/run", json="Oslo", headers=headers), 400, "idempotency key")
    failed(http.post(f"/Trip/{key}/run/send", json="Oslo", headers=headers), 400, "idempotency key")
    ids = {http.post(f"/Trip/{key}/choose", json="1A", headers=headers).headers["x-restate-id"] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/Greeter/greet"),
        ("DELETE", "/restate/call/Greeter/greet"),
        ("HEAD", "/restate/health"),
        ("POST", "/restate/health"),
        ("GET", "/restate/attach"),
        ("GET", "/restate/lookup"),
        ("POST", "/restate/workflow/Trip/k/attach"),
        ("GET", "/restate/awakeables/sign_1x/resolve"),
    ],
)
def test_method_not_allowed(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["x-restate-error-source"] == "ingress"
    assert method not in answer.headers["allow"].split(", ")


@pytest.mark.parametrize("path", ["/restate/foo", "/restate/foo/bar", "/restate/workflow/Trip/k/foo"])
def test_unknown_path(http: httpx.Client, path: str) -> None:
    """path below /restate/ that does not exist: 404."""
    for method in ("GET", "POST"):
        failed(http.request(method, path), 404, "not found")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/restate/scope/s/call/Greeter/greet", {}),
        ("/restate/scope/s/send/Greeter/greet", {}),
        ("/restate/call/Greeter/greet?limit-key=k", {}),
        ("/Greeter/greet", {"x-restate-limit-key": "k"}),
    ],
)
def test_scopes(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    """Paths: with scopes 501."""
    failed(http.post(path, json="Ada", headers=headers), 501, "not supported")


def test_too_large(http: httpx.Client) -> None:
    headers = {"content-type": "application/octet-stream"}
    failed(http.post("/Greeter/echo", content=b"x" * 900_001, headers=headers), 413, "900000 bytes")
    failed(http.post("/Greeter/hello", headers={"x-long": "y" * 40_000}), 431, "bytes")


def test_health(http: httpx.Client) -> None:
    answer = http.get("/restate/health")
    assert answer.status_code == 200
    assert answer.json() == {"services": ["Counter", "Greeter", "Trip"]}


# -- workflows


def test_workflow_submitted_again(http: httpx.Client, key: str) -> None:
    """workflow submitted again: call 409 with the first x-restate-id; send 202 PreviouslyAccepted."""
    id_ = accepted(http.post(f"/Trip/{key}/run/send", json="Oslo"))
    assert accepted(http.post(f"/restate/send/Trip/{key}/run", json="Oslo"), "PreviouslyAccepted") == id_
    for _ in ("while it runs", "afterwards"):
        answer = http.post(f"/Trip/{key}/run", json="Oslo")
        failed(answer, 409, "", "invocation")
        assert answer.headers["x-restate-id"] == id_
        http.post(f"/Trip/{key}/choose", json="1A")
        assert http.get(f"/restate/workflow/Trip/{key}/attach").json() == "Oslo 1A"
    assert accepted(http.post(f"/Trip/{key}/run/send", json="Oslo"), "PreviouslyAccepted") == id_


def test_shared_workflow_handlers(http: httpx.Client, key: str) -> None:
    """shared workflow handlers: before, during and after run; a second completion of a promise: 409."""
    assert http.post(f"/Trip/{key}/choose", json="1A").status_code == 200
    assert http.get(f"/Trip/{key}/chosen").json() == "1A"
    assert http.post(f"/Trip/{key}/run", json="Oslo").json() == "Oslo 1A"
    assert http.get(f"/Trip/{key}/chosen").json() == "1A"
    failed(http.post(f"/Trip/{key}/choose", json="2B"), 409, "", "invocation")


# -- awakeables


def awakeable_of(http: httpx.Client, key: str) -> tuple[str, str]:
    """An invocation that waits, and what for."""
    id_ = accepted(http.post(f"/Counter/{key}/wait/send"))
    deadline = time.monotonic() + SECONDS
    while (name := http.get(f"/Counter/{key}/waits_for").json()) is None:
        assert time.monotonic() < deadline, "no awakeable"
    assert name.startswith("sign_1")
    return id_, name


@pytest.mark.parametrize("path", ["/restate/awakeables/{}/resolve", "/restate/a/{}/resolve"])
def test_awakeable_resolved(http: httpx.Client, key: str, path: str) -> None:
    """awakeable: resolve 202, also when already completed; the first wins."""
    id_, name = awakeable_of(http, key)
    for value in ("first", "second"):
        answer = http.post(path.format(name), json=value)
        assert (answer.status_code, answer.content) == (202, b"")
    assert attach(http, id_).json() == "first"
    assert http.post(path.format(name), json="third").status_code == 202


@pytest.mark.parametrize("path", ["/restate/awakeables/{}/reject", "/restate/a/{}/reject"])
def test_awakeable_rejected(http: httpx.Client, key: str, path: str) -> None:
    """awakeable: reject 202."""
    id_, name = awakeable_of(http, key)
    answer = http.post(path.format(name), content="sold out", headers={"content-type": "text/plain"})
    assert answer.status_code == 202
    failed(attach(http, id_), 500, "sold out", "invocation")


@pytest.mark.parametrize("id_", ["foo", "sign_1foo", "prom_1foo", "sign_1" + "A" * 39])
def test_malformed_awakeable(http: httpx.Client, id_: str) -> None:
    """awakeable: malformed id 400."""
    for op in ("resolve", "reject"):
        failed(http.post(f"/restate/awakeables/{id_}/{op}", json=1), 400, "bad awakeable id")


def test_awakeable_of_nobody(http: httpx.Client) -> None:
    answer = http.post(f"/restate/a/{awakeable_id(random_id('Nobody', None), 3)}/resolve", json=1)
    failed(answer, 404, "no registered service")
    answer = http.post(f"/restate/a/{awakeable_id(random_id('Greeter', None), 3)}/resolve", json=1)
    assert answer.status_code == 202


def test_errors_are_compact_json(http: httpx.Client) -> None:
    answer = http.post("/restate/foo")
    assert answer.text == json.dumps(answer.json(), separators=(",", ":"))
