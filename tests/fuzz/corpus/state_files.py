"""Contents of state files; each is played as every kind of them. The last part are those that found a fault."""

from __future__ import annotations

_WIDE = b"[" + b"[]," * 300_000 + b"[]]"
_SELF_PATHS = (
    b"/dev/zero",
    b"/dev/stdin",
    b"/proc/self/mem",
    b"\\u0000abstract",
    b"a\\u0000b",
    b"x" * 4000,
    b"",
    b".",
    b"/",
)

INPUTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \n\t",
    "zeros, as after a power cut": b"\0" * 4096,
    "half": b'{"pid": 47',
    "two objects": b"{}{}",
    "mark before it": b'\xef\xbb\xbf{"port": 5000}',
    "UTF-16": '{"port": 5000}'.encode("utf-16"),
    "invalid UTF-8": b'{"text": "\xff\xfe\xc3("}',
    "overlong UTF-8": b'{"text": "\xc0\x80"}',
    "a surrogate": rb'{"text": "\ud800", "salt": "\udfff", "\ud800": 1}',
    "NUL in a text": b'{"text": "a\0b"}',
    "null": b"null",
    "a list": b"[1, 2]",
    "a text": b'"text"',
    "NaN": b"NaN",
    "empty object": b"{}",
    "a name twice": b'{"port": 1, "port": []}',
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "long digits": b'{"port": ' + b"9" * 5000 + b"}",
    "huge": b'{"text": "' + b"x" * 80_000_000 + b'"}',
    "wide": b'{"text": ' + _WIDE * 20 + b"}",
    "every field a list": b"{%s}"
    % b", ".join(
        b'"%s": []' % name
        for name in (
            *(b"pid", b"created_s", b"port", b"gateway_port", b"identity", b"java", b"shell", b"front", b"network"),
            *(b"control", b"instance", b"token", b"sandbox", b"salt", b"submits", b"block", b"worked_print", b"user"),
            *(
                b"at",
                b"at_s",
                b"text",
                b"steps",
                b"outcome",
                b"version",
                b"files",
                b"names",
                b"spent",
                b"told",
                b"open",
            ),
        )
    ),
    # Each found a fault.
}
