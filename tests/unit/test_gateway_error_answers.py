"""Tickle and auth/status in every shape that was seen, and in others, against a simple model of their meaning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from chaos.catalogue import ANSWERS
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.gateway.responses import (
    LONGEST_CHARS,
    SessionAnswer,
    judge_auth_status,
    judge_opening,
    judge_tickle,
    refuses_method,
    tidy,
    words_in,
)
from gwctl.session_status import Verdict

FLAGS = ("authenticated", "connected", "competing")
SECRET = "9fe1c272dc44e023a3aefe52b71d42bd"
STATUSES = {401: Verdict.NO_SESSION, 429: Verdict.RATE_LIMITED} | {
    fault.parameters["status"]: fault.verdict for fault in ANSWERS.values() if "status" in fault.parameters
}
"""What a status means whatever its body is; any other is IBKR's trouble."""


@dataclass(frozen=True)
class Body:
    """A body, its meaning, and the words in it that a person should see."""

    value: Any
    verdict: Verdict
    words: str | None = None


def meaning(flags: dict[str, Any]) -> Verdict:
    """Return the meaning of the three fields for a careful reader; a missing field or a non-boolean says nothing."""
    authenticated, connected, competing = (flags.get(name) for name in FLAGS)
    if not isinstance(authenticated, bool):
        return Verdict.UPSTREAM_ILL
    if competing is True:
        return Verdict.COMPETING
    if authenticated is False:
        return Verdict.NOT_AUTHENTICATED
    return Verdict.READY if connected is True else Verdict.BROKERAGE_GONE


booleans = st.booleans()
odd: st.SearchStrategy[Any] = st.sampled_from(["true", "false", 1, 0, None, [], {}])
flags = st.fixed_dictionaries(
    {}, optional={name: booleans if name == "authenticated" else booleans | odd for name in FLAGS}
) | st.fixed_dictionaries(dict.fromkeys(FLAGS, booleans | odd))
texts = st.sampled_from(["", "Failed to connect to CCP", "Server is   being restarted", "Login\r\nfrom\telsewhere"])
noise = st.fixed_dictionaries(
    {},
    optional={
        "session": st.just(SECRET),
        "ssoExpires": st.integers(0, 600_000) | odd,
        "collission": booleans,
        "userId": st.just(132329622) | odd,
        "hmds": st.just({"error": "no bridge"}),
        "MAC": st.just("F4:03:43:DC:B4:60"),
        "serverInfo": st.just({"serverName": "JifZ34060"}) | odd,
        "hardware_info": st.just("2486818e|F4:03:43:DC:B4:60"),
        "error": st.none() | st.just(""),
    },
)


@st.composite
def statuses(draw: st.DrawFn) -> Body:
    """Draw the object that tickle and auth/status share."""
    said = draw(flags)
    message, fail = draw(texts), draw(texts)
    value: dict[str, Any] = {**draw(noise), **said}
    value |= {"message": message} if draw(booleans) else {}
    value |= {"fail": fail} if draw(booleans) else {}
    shown = [" ".join(value[name].split()) for name in ("fail", "message") if value.get(name)]
    return Body(value, meaning(said), "; ".join(dict.fromkeys(shown)) or None)


@st.composite
def errors(draw: st.DrawFn) -> Body:
    """Draw an object that says in words what is wrong."""
    words, verdict = draw(
        st.sampled_from(
            [
                ("no session", Verdict.NO_SESSION),
                ("not authenticated", Verdict.NO_SESSION),
                ("No Bridge", Verdict.BROKERAGE_GONE),
                ("something new", Verdict.UPSTREAM_ILL),
            ]
        )
    )
    value = {**draw(noise), "error": words}
    value |= {"statusCode": 500} if draw(booleans) else {}
    value |= {"authenticated": True, "connected": True} if draw(booleans) else {}
    return Body(value, verdict, words)


@st.composite
def tickles(draw: st.DrawFn) -> Body:
    """Draw a tickle: flat, with ``iserver.authStatus``, with ``iserver.error``, or an error."""
    shape = draw(st.sampled_from(["flat", "nested", "iserver error", "error", "iserver beside"]))
    if shape == "error":
        return draw(errors())
    body = draw(statuses())
    if shape == "flat":
        return body
    around = draw(noise)
    if shape == "nested":
        # Fields at the top level next to an authStatus do not count.
        around |= draw(flags) if draw(booleans) else {}
        return Body({**around, "iserver": {"authStatus": body.value}}, body.verdict, body.words)
    if shape == "iserver error":
        return Body({**around, **draw(flags), "iserver": {"error": "no bridge"}}, Verdict.BROKERAGE_GONE, "no bridge")
    beside: Any = draw(st.sampled_from([7, None, [], {}, "down", {"authStatus": None}, {"error": None}, {"error": ""}]))
    return Body({**body.value, "iserver": beside}, body.verdict, body.words)


def written(value: Any, style: int) -> bytes:
    """Return the JSON as one of the servers writes it: dense or wide, with a BOM or white space around it."""
    text = json.dumps(value, indent=2 if style & 1 else None, ensure_ascii=not style & 2)
    return (b"\xef\xbb\xbf" if style & 4 else b"") + text.encode() + (b"\r\n" if style & 8 else b"")


def agrees(said: SessionAnswer, body: Body) -> None:
    assert said.verdict is body.verdict
    assert said.is_ready == (body.verdict is Verdict.READY)
    assert said.message == body.words
    assert SECRET not in str(said)


@settings(max_examples=400)
@given(tickles(), st.integers(0, 15))
def test_every_tickle_means_what_a_person_reads_in_it(body: Body, style: int) -> None:
    """In any shape, the three fields or the error decide, and IBKR's words are kept."""
    agrees(judge_tickle(200, written(body.value, style)), body)


@settings(max_examples=300)
@given(statuses() | errors(), st.integers(0, 15))
def test_every_status_means_what_a_person_reads_in_it(body: Body, style: int) -> None:
    """Auth/status and the answer of ``ssodh/init`` are the same object at the top level."""
    agrees(judge_auth_status(200, written(body.value, style)), body)
    opened = judge_opening(200, written(body.value, style))
    assert opened.verdict is body.verdict


@given(
    st.integers(100, 599),
    tickles().map(lambda body: written(body.value, 0)) | st.sampled_from([b"", b"<html>", b"Access Denied"]),
)
def test_no_status_but_200_is_a_session(status: int, body: bytes) -> None:
    """With an error status even the best body is no session, and each status has one of the listed meanings."""
    for judge in (judge_tickle, judge_auth_status):
        said = judge(status, body)
        if status == 200:
            continue
        assert not said.is_ready
        expected = STATUSES.get(status, Verdict.UPSTREAM_ILL)
        if status == 404 and b"Access Denied" in body:
            expected = Verdict.ACCESS_DENIED
        if status == 400 and b"no bridge" in body.lower():
            expected = Verdict.BROKERAGE_GONE
        assert said.verdict is expected


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (405, b"", True),
        (400, b"Bad Request", True),
        (400, b'{"error":"Bad Request","statusCode":400}', True),
        (400, b'{"error":"Bad Request: no bridge"}', False),
        (401, b"", False),
        (404, b"Access Denied", False),
        (500, b"", False),
        (200, b"", False),
    ],
)
def test_way_of_asking_is_refused_by_400_and_405_alone(status: int, body: bytes, refused: bool) -> None:  # noqa: FBT001 - parametrised
    """A lost brokerage session is a 400 too, and another method would not help."""
    assert refuses_method(status, body) is refused


# IBKR's own words.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", None),
        (b"  \n", None),
        (b'{"error":"Please query /accounts first","statusCode":500}', "Please query /accounts first"),
        (b'{"error":"no","message":"no"}', "no"),
        (b'{"error":"no","message":"not now"}', "no; not now"),
        (b'{"error":7,"statusCode":500}', None),
        (b'"a string"', "a string"),
        (b"[1]", None),
        (b'{"error":', None),
        (b"Bad Gateway", "Bad Gateway"),
        (
            b"<html><head><title>x</title><style>p{}</style></head><body><h1>Down &amp; out</h1><p>back soon</body>",
            "Down & out back soon",
        ),
        (b"<html><script>var a = 1;", None),
        (b"\xff\xfe\x00", "��"),
        (b'{"message":"a\\u0000b\\u202ec\\ud800d\\u001b[2J"}', "abc\ufffdd[2J"),
        (b'{"message":"Cookie: XYZAB=ab12; x"}', "Cookie: …; x"),
        (b'{"message":"session=abc refused, session expired"}', "session=… refused, session expired"),
        (f'{{"message":"key {SECRET} is unknown"}}'.encode(), "key … is unknown"),
        (b"key abcdefghijklmnopqrstuvwxyzABCDEF is unknown", "key … is unknown"),
        (b"Authorization: Bearer abcdefghij failed", "Authorization: Bearer … failed"),
        (b"pwd=hunter failed", "pwd=… failed"),
        (b"no route to /iserver/marketdata/history/portfolio", "no route to /iserver/marketdata/history/portfolio"),
        (
            b'{"message":"see https://www.interactivebrokers.com/portal"}',
            "see https://www.interactivebrokers.com/portal",
        ),
    ],
)
def test_words_of_an_error_are_one_tidy_line(body: bytes, words: str | None) -> None:
    """IBKR's words are shown as plain text, without terminal control characters and without possible keys."""
    assert words_in(body) == words


@given(st.text() | st.text("\x00\x1b[2J\n ab\u202e\ud800=") | st.text(min_size=300))
def test_any_words_are_printable_and_bounded(text: str) -> None:
    """No input makes a second line, a long one, or one that cannot be written to a file."""
    line = tidy(text)
    assert line is None or (0 < len(line) <= LONGEST_CHARS and line.isprintable() and line.encode())
    assert tidy(line or "") == line


@given(
    st.text("abcdef0123456789", min_size=24, max_size=64).filter(lambda key: any(c.isdigit() for c in key)), st.data()
)
def test_no_key_is_among_the_words(key: str, data: st.DataObject) -> None:
    """A session's key is removed anywhere in a line, even where the line is cut."""
    before = data.draw(st.text("xy .", max_size=2 * LONGEST_CHARS)) + " "
    line = tidy(before + key + " end") or ""
    assert key[:20] not in line
