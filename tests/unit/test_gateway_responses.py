"""How answers are judged, without a gateway."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.gateway.responses import SessionAnswer, judge_auth_status, judge_tickle, judge_validate
from gwctl.session_status import Verdict

_AUTH = {
    "authenticated": True,
    "competing": False,
    "connected": True,
    "message": "",
    "MAC": "F4:03:43:DC:B4:60",
    "serverInfo": {"serverName": "JifZ34060", "serverVersion": "Build 10.33.1f, Feb 5, 2025 10:21:09 AM"},
}


def _tickle(**auth: Any) -> bytes:
    body = {
        "session": "9fe1c272dc44e023a3aefe52b71d42bd",
        "ssoExpires": 444936,
        "collission": False,
        "userId": 132329622,
        "hmds": {"error": "no bridge"},
        "iserver": {"authStatus": _AUTH | auth},
    }
    return json.dumps(body).encode()


def test_a_ready_tickle_fills_the_session_object() -> None:
    """Ready means authenticated and connected and not competing, and every field of the contract is read."""
    assert judge_tickle(200, _tickle()) == SessionAnswer(
        Verdict.READY, 200, True, True, False, 132329622, 444.936, "JifZ34060", None
    )


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, _tickle(authenticated=False), Verdict.NOT_AUTHENTICATED),
        (200, _tickle(connected=False), Verdict.BROKERAGE_GONE),
        (200, _tickle(competing=True), Verdict.COMPETING),
        (200, _tickle(authenticated=False, competing=True), Verdict.COMPETING),
        (200, _tickle(authenticated="yes"), Verdict.UPSTREAM_ILL),
        (200, b'{"error":"no session"}', Verdict.NO_SESSION),
        (200, b'{"error":"something new"}', Verdict.UPSTREAM_ILL),
        (200, b'{"session":"s","iserver":{"error":"no bridge"}}', Verdict.BROKERAGE_GONE),
        (200, b'{"iserver":7}', Verdict.UPSTREAM_ILL),
        (400, b'{"error":"Bad Request: no bridge"}', Verdict.BROKERAGE_GONE),
        (401, b"", Verdict.NO_SESSION),
        (401, b"Access Denied", Verdict.NO_SESSION),
        (404, b"Access Denied", Verdict.ACCESS_DENIED),
        (404, b"", Verdict.UPSTREAM_ILL),
        (429, b"", Verdict.RATE_LIMITED),
        (500, b"<html>", Verdict.UPSTREAM_ILL),
        (503, b"", Verdict.UPSTREAM_ILL),
        (302, b"", Verdict.UPSTREAM_ILL),
        (200, b"<html>maintenance</html>", Verdict.UPSTREAM_ILL),
        (200, b'{"iserver":', Verdict.UPSTREAM_ILL),
        (200, b"[]", Verdict.UPSTREAM_ILL),
        (200, b"[" * 100_000, Verdict.UPSTREAM_ILL),
    ],
)
def test_each_thing_a_tickle_may_say_has_its_verdict(status: int, body: bytes, verdict: Verdict) -> None:
    """The answers in the facts are distinguished, and nothing else passes for a session."""
    assert judge_tickle(status, body).verdict is verdict


def test_auth_status_is_judged_by_its_fields() -> None:
    """Auth status, an error and a refusal are distinguished."""
    assert judge_auth_status(200, json.dumps(_AUTH).encode()).is_ready
    assert judge_auth_status(200, json.dumps(_AUTH | {"authenticated": False}).encode()).verdict is (
        Verdict.NOT_AUTHENTICATED
    )
    assert judge_auth_status(401, b"").verdict is Verdict.NO_SESSION
    assert judge_auth_status(200, b'{"error":"no bridge"}').verdict is Verdict.BROKERAGE_GONE


def test_validate_names_the_client_and_the_kind_of_login() -> None:
    """A valid login shows who holds it; an invalid one shows nothing."""
    facts = judge_validate(200, b'{"USER_ID":1,"LOGIN_TYPE":2,"CLIENT_APP":"TWS","EXPIRES":1000,"RESULT":true}')
    assert facts is not None
    assert (facts.login_type, facts.client_app, facts.expires_s) == (2, "TWS", 1.0)
    assert judge_validate(200, b'{"RESULT":false}') is None
    assert judge_validate(401, b"") is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["iserver", "authStatus", "error", "authenticated", "connected", "competing", "ssoExpires", "userId"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.integers(), st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_no_answer_whatever_raises(status: int, body: bytes) -> None:
    """Any status with any bytes gets a verdict, and only three real booleans make it ready."""
    for judge in (judge_tickle, judge_auth_status):
        answer = judge(status, body)
        if answer.is_ready:
            assert (answer.authenticated, answer.connected) == (True, True)
            assert answer.competing is not True
    judge_validate(status, body)
