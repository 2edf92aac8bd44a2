"""What a password command may print. The last part are those that found a fault."""

from __future__ import annotations

INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "a line end": b"\n",
    "blanks": b"  \t \n",
    "Windows line ends": b"hunter2\r\nnote\r\n",
    "old line ends": b"hunter2\rnote",
    "a mark before it": b"\xef\xbb\xbfhunter2\n",
    "a mark alone": b"\xef\xbb\xbf\n",
    "NUL": b"hunt\0er2\n",
    "zeros": b"\0" * 4096,
    "colors": b"\x1b[32mhunter2\x1b[0m\n",
    "quotes": b'"hunter2"\n',
    "a form feed": b"hunter2\x0cnote\n",
    "a line separator": "hunter2\u2028note\n".encode(),
    "another plane": "\U0001f40e\U0010ffff\n".encode(),
    "a long line": b"x" * 100_000,
    "many lines": b"x\n" * 400_000,
    # Each found a fault.
    "UTF-16": "hunter2\n".encode("utf-16"),
    "Latin-1": "pässword\n".encode("latin-1"),
    "no UTF-8": b"\xff\xfe\xc3(\n",
    "a surrogate": b"\xed\xa0\x80\n",
}
