"""Lines of a journal, beside those of every state file. The last part are those that found a fault."""

from __future__ import annotations

INPUTS: dict[str, bytes] = {
    "no kind": b'{"n": 5, "at": "2026-11-28T08:00:09.000Z"}',
    "no time": b'{"n": 5, "kind": "phase"}',
    "time is a number": b'{"n": 5, "at": 5, "kind": "phase"}',
    "no such time": b'{"n": 5, "at": "2026-99-99T99:99:99Z", "kind": "phase"}',
    "time before the first": b'{"n": 5, "at": "0001-01-01T00:00:00+23:59", "kind": "phase"}',
    "two entries in a line": b'{"n":1,"at":"a","kind":"b"},{"n":1,"at":"a","kind":"b"}',
    "half a list": b'],[{"n":1}',
    "carriage returns": b'\r\r{"n":1}\r',
    "a line separator": '{"n":1,"at":"a","kind":"\u2028"}'.encode(),
    "escape sequences": b'{"n":1,"at":"\\u001b[2J","kind":"\\u001b]0;x\\u0007"}',
    "a long line": b'{"n":1,"at":"a","kind":"' + b"x" * 200_000 + b'"}',
    # Each found a fault.
}
