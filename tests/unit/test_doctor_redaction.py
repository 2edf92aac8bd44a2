"""The words that the redactor removes from a text, and those that it keeps."""

from __future__ import annotations

import time

import pytest

from gwctl.doctor.redaction import MASK, Redactor

REDACTOR = Redactor(
    ["Quail-Harbor-5521", "abc", "  ", ""],
    words=["alice"],
    folders={"/srv/alice": "~", "/": "never"},
    keep=["20230424-a27ed421", "17.0.15.1", "6"],
)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("quail-harbor-5521!", "•••!"),
        ("abc, abcdef", "•••, abcdef"),
        ("Alice at /srv/alice/x, /srv/aliceson", "••• at ~/x, /srv/aliceson"),
        ("Cookie: a=b; c=d", "Cookie: •••"),
        ("x-token=abcdef password: hunter2", "x-token=••• password: •••"),
        ("DU1234567 U7654321 F12345", "••• ••• •••"),
        ("wren@kestrel.example", "•••@•••"),
        ("https://corp.example:8443/x", "https://•••:8443/x"),
        ("192.168.7.8 10.1.* fe80::1:2 2001:db8:0:0:1:2:3:4", "••• ••• ••• •••"),
        ("0123456789abcdef0123", "•••"),
        ("code 73529146", "code •••"),
        ("nginx (pid 12, user bob in /x y)", "nginx (pid 12, user •••)"),
        ("/home/bob/x", "/home/•••/x"),
    ],
)
def test_what_is_secret_or_personal_is_taken_out(text: str, redacted: str) -> None:
    """It removes known secrets in any case, short ones and names on their own, folders, and words that look secret."""
    assert REDACTOR.text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25 23:41:01,221 INFO ready: authenticated after 0.046 s (pid 19218)",
        "https://api.ibkr.com/sso https://localhost:5000 http://127.0.0.1:1 0.0.0.0 ::1",
        "release 20230424-a27ed421 by Java 17.0.15.1",
        "chromium-headless-shell never_authenticated second_factor_needed",
        "exit code 77, port 15111, 118 MB",
    ],
)
def test_what_explains_a_fault_is_left(text: str) -> None:
    """It keeps what a report is for: times, phases, pids, IBKR's own hosts, this machine's loopback and versions."""
    assert REDACTOR.text(text) == text


def test_json_keeps_its_shape() -> None:
    """Objects and lists stay, names are redacted too, numbers stay except those that identify somebody."""
    value = {"user_id": 132329622, "rss_bytes": 118000000, "Quail-Harbor-5521": [True, None, {"token": "x", "a": 1.5}]}
    expected = {"user_id": MASK, "rss_bytes": 118000000, MASK: [True, None, {"token": MASK, "a": 1.5}]}
    assert REDACTOR.value(value) == expected


@pytest.mark.parametrize("unit", ["z", "z1", "a.", "a:", "1.2.", "u@", "token= ", "/home/", "cookie", "ab "])
def test_a_long_line_takes_no_long_time(unit: str) -> None:
    """Any quarter of a megabyte without a line end takes only seconds of CPU time."""
    began_s = time.process_time()
    REDACTOR.text((unit * 262_144)[:262_144])
    assert time.process_time() - began_s < 10
