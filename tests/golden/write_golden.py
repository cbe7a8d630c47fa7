"""Writes the golden records of a schema version that is about to be released: `python tests/golden/write_golden.py`.

Files that exist are left alone: they hold what a released version wrote.
"""

from __future__ import annotations

import json
from typing import Any

from test_golden import CODECS, RECORDS, described

from barnabas.contract.declarations import schemas
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind

ID = bytes(range(24))
OTHER_ID = bytes(range(100, 124))
LABEL = Label("Plane/3", bytes(range(16)), 300, 2, 1)
FAILURE = Failure(409, "Sitzplatz vergeben ✈", {"seat": "12A", "row": ""})

EXAMPLES: dict[str, list[Any]] = {
    "invocation": [
        Invocation(ID, "Plane", "depart", "N14228", b'{"delay": 4}'),
        Invocation(ID, "Carrier", "add", None, b""),
        Invocation(
            ID,
            "Airport",
            "landed",
            "JFK {\x00}",
            bytes(range(256)),
            {"content-type": "application/json", "traceparent": "00-1-2-01"},
            Caller(OTHER_ID, "Plane", "N14228", 7),
            ReplyTo("client-1", b"\x01\x02"),
            "order-1",
            1_763_875_200_000,
            LABEL,
            [Caller(OTHER_ID, "Plane", "N14228", 9), ReplyTo("client-2", b"")],
        ),
    ],
    "signal": [
        Signal(SignalKind.COMPLETION, ID, 7, OTHER_ID, b'"done"', None, LABEL),
        Signal(SignalKind.COMPLETION, ID, 200, OTHER_ID, None, FAILURE, LABEL),
        *(Signal(kind, ID) for kind in SignalKind),
        Signal(SignalKind.ATTACH, ID, label=LABEL, caller=Caller(OTHER_ID, "Plane", "N14228", 9)),
        Signal(SignalKind.ATTACH, ID, reply_to=ReplyTo("client-2", b"\x07")),
        Signal(SignalKind.RESOLVE, ID, 4, result=b"1"),
        Signal(SignalKind.RESTART, ID, 1, OTHER_ID, reply_to=ReplyTo("client-2", b"\x08")),
        Signal(SignalKind.RESOLVE, ID, failure=FAILURE, name="approved"),
    ],
    "reply": [
        Reply("client-1", b"\x01\x02", ID, b'"done"'),
        Reply("client-1", b"\x01\x02", ID, None, FAILURE),
    ],
    "dead-letter": [
        DeadLetter("undecodable", "the record's value is empty", "demo.Plane.invocations", 3, 17, 0, b"N14228", b""),
        DeadLetter(
            "undeliverable",
            "too large",
            "demo.replies",
            0,
            -1,
            1_763_875_200_000,
            None,
            None,
            [("a", b"\xff"), ("a", None)],
        ),
    ],
}


def write_golden() -> None:
    for name, examples in EXAMPLES.items():
        newest = schemas(name)[-1]
        file = RECORDS / f"{name}.v{newest.version}.json"
        if file.exists():
            continue
        encode, _ = CODECS[name]
        records = [{"bytes": encode(example).hex(), "value": described(example)} for example in examples]
        content = {"fingerprint": newest.fingerprint.hex(), "records": records}
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_golden()
