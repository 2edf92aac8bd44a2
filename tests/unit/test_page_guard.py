"""Which of a browser's requests the front of an isolated gateway passes on, and that other programs are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.isolation.page_guard import HEAD_BYTES, Guard, Refused

OWN, OTHER = "https://localhost:5000", "https://evil.example"


def head(first: str, **fields: str) -> bytes:
    """Return a request's head; ``_`` in a field's name stands for ``-``."""
    given_fields = {"host": "localhost:5000", **{name.replace("_", "-"): value for name, value in fields.items()}}
    return "\r\n".join(
        [f"{first} HTTP/1.1", *(f"{name}: {value}" for name, value in given_fields.items()), "", ""]
    ).encode()


CROSS = {"sec_fetch_site": "cross-site"}
NAVIGATION = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
PASSED = {
    "a program": head("POST /v1/api/iserver/account/DU1/orders", content_length="0"),
    "a program by another name": head("GET /v1/api/tickle", host="host.containers.internal:5000"),
    "an address typed by a person": head("GET /v1/api/tickle", sec_fetch_site="none", **NAVIGATION),
    "a page of the gateway": head("GET /sso/x.js", sec_fetch_site="same-origin", referer=f"{OWN}/sso/Login"),
    "the login form": head("POST /sso/Authenticator", origin=OWN, sec_fetch_site="same-origin", content_length="0"),
    "an IPv4 address": head("GET /", host="127.0.0.1:5000", sec_fetch_site="none", **NAVIGATION),
    "an IPv6 address": head("GET /", host="[::1]:5000", origin="https://[::1]:5000"),
    "capital letters in the name": head("GET /", host="LocalHost:5000", origin="https://LOCALHOST:5000"),
    "a forwarded port": head("POST /sso/Authenticator", host="localhost:8443", origin="https://localhost:8443"),
    "no port": head("GET /", host="localhost", origin="https://localhost"),
    "the login page, typed": head("GET /sso/Login?forwardTo=22", sec_fetch_site="none", **NAVIGATION),
    "an old client's WebSocket": head("GET /v1/api/ws", origin="http://localhost:5000", upgrade="websocket"),
    "a program that fetches": head("POST /v1/api/tickle", sec_fetch_mode="cors", transfer_encoding="chunked"),
    "the WebSocket of a page of ours": head("GET /v1/api/ws", origin=OWN, upgrade="websocket"),
    "the WebSocket of a program": head("GET /v1/api/ws", upgrade="websocket"),
    "a program that names a page of ours": head("GET /v1/api/tickle", referer=f"{OWN}/"),
}
REFUSED = {
    "a redirect of a typed address to /clear": head("GET /clear", sec_fetch_site="none", **NAVIGATION),
    "a redirect of a typed address that acts": head("GET /v1/api/logout", sec_fetch_site="none", **NAVIGATION),
    "a typed address in a frame": head("GET /", sec_fetch_site="none", sec_fetch_dest="iframe"),
    "a typed address by POST": head("POST /", sec_fetch_site="none", **NAVIGATION),
    "a link to the login": head("GET /", **CROSS, **NAVIGATION),
    "a page's WebSocket without TLS": head(
        "GET /v1/api/ws", origin="http://localhost:5000", upgrade="websocket", user_agent="Mozilla/5.0"
    ),
    "an image of /clear": head(
        "GET /clear", sec_fetch_site="cross-site", sec_fetch_mode="no-cors", sec_fetch_dest="image"
    ),
    "a link to /clear": head("GET /clear", **CROSS, **NAVIGATION),
    "a link to an entrance by POST": head("POST /", **CROSS, **NAVIGATION),
    "an entrance in a frame": head(
        "GET /", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe"
    ),
    "a form": head("POST /v1/api/iserver/account/DU1/orders", origin=OTHER, **CROSS),
    "a form of a page without an origin": head("POST /v1/api/logout", origin="null", sec_fetch_site="same-origin"),
    "a WebSocket": head("GET /v1/api/ws", origin=OTHER, upgrade="websocket"),
    "a WebSocket to another path": head("GET /v1/api/logout", origin=OWN, upgrade="websocket"),
    "another port of this machine": head("GET /v1/api/tickle", origin="https://localhost:5001"),
    "our name without TLS": head("GET /v1/api/tickle", origin="http://localhost:5000", user_agent="Mozilla/5.0"),
    "a site with the same registered name": head("GET /v1/api/tickle", sec_fetch_site="same-site"),
    "an unknown word": head("GET /v1/api/tickle", sec_fetch_site="other"),
    "rebinding": head("GET /v1/api/tickle", host="evil.example:5000", origin="https://evil.example:5000"),
    "rebinding without an origin": head("GET /v1/api/tickle", host="evil.example:5000", sec_fetch_site="same-origin"),
    "rebinding to another port": head("GET /v1/api/tickle", host="localhost:5000", origin="https://localhost"),
    "an old browser's image": head("GET /clear", referer=f"{OTHER}/page"),
    "a longer name that begins as ours": head("GET /clear", referer="https://localhost:5000.evil.example/"),
    "capital letters": head("GET /clear", **{"Sec-Fetch-Site": "cross-site"}),
    "a field twice": head("GET /clear", sec_fetch_site="none").replace(
        b"\r\n\r\n", b"\r\nSec-Fetch-Site: none\r\n\r\n"
    ),
    "a folded field": head("GET /clear", sec_fetch_site="none").replace(b"\r\n\r\n", b"\r\n cross-site\r\n\r\n"),
    "a bare line feed": head("GET /clear", sec_fetch_site="none", x="a\nsec-fetch-site: cross-site"),
    "a body of unclear length": head("POST /x", origin=OWN, transfer_encoding="chunked"),
    "a body of no length": head("POST /x", origin=OWN, content_length="-5"),
    "a body of other digits": head("POST /x", origin=OWN, content_length="٣"),
    "a whole address as the path": head("GET https://evil.example/", sec_fetch_site="none"),
}


@pytest.mark.parametrize("request_", PASSED.values(), ids=PASSED)
def test_requests_that_pass(request_: bytes) -> None:
    """Programs, people and the gateway's own pages get through, unchanged."""
    assert Guard().feed(request_) == request_


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_requests_that_are_refused(request_: bytes) -> None:
    """What another site's page can send, and what no browser sends, is answered in place of the gateway."""
    with pytest.raises(Refused) as refused:
        Guard().feed(request_)
    assert refused.value.answer.startswith(b"HTTP/1.1 40")


@pytest.mark.parametrize("last", REFUSED.values(), ids=REFUSED)
def test_every_request_of_a_browser_is_judged(last: bytes) -> None:
    """A browser reuses a connection: a bad request after good ones, bodies included, is refused and does not pass."""
    body = REFUSED["a form"]
    good = head("POST /sso/Authenticator", origin=OWN, content_length=str(len(body))) + body
    guard = Guard()
    assert guard.feed(good * 3) == good * 3
    with pytest.raises(Refused):
        guard.feed(last)


def test_an_endless_head_is_refused() -> None:
    """A head that does not end is given up, not kept."""
    guard = Guard()
    guard.feed(b"x" * (HEAD_BYTES - 1))
    with pytest.raises(Refused, match="too large"):
        guard.feed(b"x")


REQUESTS = st.lists(st.sampled_from([*PASSED.values(), *REFUSED.values()]), max_size=4).map(b"".join)


@given(st.one_of(REQUESTS, st.binary(max_size=300)), st.lists(st.integers(1, 60), max_size=40))
def test_pieces_are_judged_as_the_whole(content: bytes, sizes: list[int]) -> None:
    """However the bytes arrive, the same are refused, and without a refusal the same pass; never more than came."""
    (whole, refused), (passed, refused_too) = played([content]), played(pieces(content, sizes))
    assert refused == refused_too
    assert content.startswith(passed)
    assert passed == whole or (refused and passed.startswith(whole))


def pieces(content: bytes, sizes: list[int]) -> list[bytes]:
    """Cut ``content`` into pieces of the given sizes, and the rest."""
    found, at = [], 0
    for size in sizes:
        found.append(content[at : at + size])
        at += size
    return [*found, content[at:]]


def played(parts: list[bytes]) -> tuple[bytes, bool]:
    """Return what passes until the end or a refusal, and whether there was one."""
    guard, passed = Guard(), b""
    for part in parts:
        try:
            passed += guard.feed(part)
        except Refused:
            return passed, True
    return passed, False
