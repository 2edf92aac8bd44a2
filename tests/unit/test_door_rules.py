"""What passes the door: who asks, from where, for which path, how often."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.door.rules import API, MOST_A_SECOND, READS, Pace, Refusal, Rules, digest_of, names_of, reads, shown
from gwctl.setting_values import network_of

TOKEN = "a-token-of-this-test-only"
BEARER = {"authorization": f"Bearer {TOKEN}"}
HOST = {"host": "gateway.lan:5443"}
UPGRADE = {"upgrade": "websocket", "connection": "Upgrade"}


def rules(*, read_only: bool = False, networks: tuple[str, ...] = ()) -> Rules:
    """Return the rules of a door with two names."""
    names = names_of(("gateway.lan", "fd00::7"))
    return Rules(digest_of(TOKEN), names, tuple(map(network_of, networks)), read_only)


def judged(method: str, path: str, fields: dict[str, str] | None = None, *, read_only: bool = False) -> int | None:
    """Return the status with which a request is refused, None if it passes."""
    named = HOST | BEARER | (fields or {})
    refusal = rules(read_only=read_only).judge(method, path, named, is_websocket=named.get("upgrade") == "websocket")
    return None if refusal is None else refusal.status


def basic(text: str) -> str:
    """Return a field that holds a user and a password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "passes"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (basic(f"gwctl:{TOKEN}"), True),
        (basic(f":{TOKEN}"), True),
        ("", False),
        (TOKEN, False),
        ("Bearer", False),
        ("Bearer ", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Digest {TOKEN}", False),
        (basic(TOKEN), False),
        (basic("a:b"), False),
        ("Basic ====", False),
        ("Basic \xff", False),
        (f"Bearer {TOKEN}, Bearer x", False),
        ("Bearer \xe9", False),
    ],
)
def test_the_token_decides(authorization: str, passes: bool) -> None:  # noqa: FBT001 - a column of the table
    """The token passes as Bearer and as a password, and nothing else does."""
    refusal = rules().judge("GET", f"{API}tickle", HOST | {"authorization": authorization})
    assert refusal is None if passes else refusal is not None and refusal.status == 401


def test_a_client_certificate_takes_the_tokens_place() -> None:
    """TLS has checked the certificate by then."""
    assert Rules(None, names_of(())).judge("GET", f"{API}tickle", {"host": "localhost"}) is None


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:5443", "[::1]", "gateway.lan", "[fd00::7]:5443"]
)
def test_names_of_the_certificate_are_served(host: str) -> None:
    """A published port differs from the door's own, so any port will do."""
    assert judged("GET", f"{API}tickle", {"host": host}) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "gateway.lan.evil.example", "evil.example:5443", "[::2]", "x@localhost"]
)
def test_other_names_are_not_served(host: str) -> None:
    """A name that was rebound to this machine is no name of ours."""
    assert judged("GET", f"{API}tickle", {"host": host}) == 421


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"origin": "https://gateway.lan:5443"}, None),
        ({"sec-fetch-site": "same-origin"}, None),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://gateway.lan:5443", "user-agent": "Mozilla/5.0"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"referer": "https://evil.example/"}, 403),
        ({"origin": "https://localhost:5443"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(fields: dict[str, str], status: int | None) -> None:
    """A browser that keeps the token, as a password for this site, must not lend it to another site's page."""
    assert judged("POST", f"{API}iserver/account/DU1/orders", fields) == status
    assert judged("GET", "/v1/api/ws", UPGRADE | fields) == status


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/demo",
        "/clear",
        "/sso/Login",
        "/sso/Dispatcher",
        "/v1",
        "/v1/api",
        "/v1/api/",
        "/v2/api/tickle",
        "/V1/api/tickle",
        "/v1/api//tickle",
        "//v1/api/tickle",
        "/v1/api/../../clear",
        "/v1/api/./tickle",
        "/v1/api/%2e%2e/x",
        "/v1/api/%2E./x",
        "/v1/api/a%2fb",
        "/v1/api/a%5cb",
        "/v1/api/a\\b",
        "/v1/api/%00",
        "/v1/api/a%0d%0ab",
        "/v1/api/%25",
        "/v1/api/a%3fb",
        "/v1/api/a%23b",
        "/v1/api/tickle;/..",
        "/v1/api/..;/clear",
        "/v1/api/%2e%2e;a=b/x",
        "/v1/api/a%3bb",
        "/v1/api/%ff",
        "/v1/api/tickle#x",
        "https://x/v1/api/tickle",
        "*",
        "",
    ],
)
def test_other_paths_do_not_pass(path: str) -> None:
    """The login, the demo and what two servers might read in two ways stay inside."""
    assert judged("GET", path) == 404


def test_a_websocket_passes_in_one_place() -> None:
    """The gateway forwards any path with an upgrade, whatever its list says."""
    assert judged("GET", "/v1/api/ws", UPGRADE) is None
    assert judged("GET", "/v1/api/ws") == 404
    assert judged("GET", "/v1/api/logout", UPGRADE) == 404
    assert judged("GET", "/v1/api/tickle", {"upgrade": "h2c"}) == 400


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "X"])
def test_other_methods_do_not_pass(method: str) -> None:
    """What IBKR's interface does not use stays outside."""
    assert judged(method, f"{API}tickle") == 405


ACTS = [
    ("POST", "iserver/account/DU1/orders"),
    ("POST", "iserver/account/DU1/order/7"),
    ("DELETE", "iserver/account/DU1/order/7"),
    ("POST", "iserver/reply/1"),
    ("POST", "logout"),
    ("GET", "logout"),
    ("POST", "iserver/auth/ssodh/init"),
    ("POST", "iserver/reauthenticate"),
    ("GET", "iserver/reauthenticate"),
    ("POST", "iserver/account"),
    ("POST", "iserver/watchlist"),
    ("DELETE", "iserver/watchlist"),
    ("POST", "iserver/account/DU1/alert"),
    ("POST", "fyi/settings/x"),
    ("PUT", "fyi/deliveryoptions/email"),
    ("POST", "iserver/account/orders"),
    ("DELETE", "tickle"),
    ("PUT", "tickle"),
    ("GET", "ssodh/init"),
    ("POST", "portfolio/accounts"),
]


@pytest.mark.parametrize(("method", "path"), ACTS)
def test_a_read_only_door_lets_nothing_act(method: str, path: str) -> None:
    """No order, no logout, no change of settings; without read_only each passes."""
    assert judged(method, API + path, read_only=True) == 403
    assert judged(method, API + path) is None


def test_a_read_only_door_lets_read() -> None:
    """Each path of the table passes, with a word in the place of each star."""
    for method, patterns in READS.items():
        for pattern in patterns:
            assert judged(method, API + pattern.replace("*", "DU1234567"), read_only=True) is None


@given(
    st.sampled_from(sorted(READS)), st.lists(st.text(string.ascii_lowercase + "*", max_size=9), min_size=1, max_size=5)
)
def test_only_what_is_listed_reads(method: str, parts: list[str]) -> None:
    """A path reads if, and only if, a pattern of as many parts agrees with each of its parts."""
    agreeing = [one for one in READS[method] if len(one.split("/")) == len(parts)]
    agreeing = [one for one in agreeing if all(a in {"*", b} for a, b in zip(one.split("/"), parts, strict=True))]
    assert reads(method, API + "/".join(parts)) == bool(agreeing) or parts[0] == "" or parts[-1] == ""


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ("tic", True),
        ("ech+hb", True),
        ('smd+265598+{"fields":["31"]}', True),
        ("umd+265598+{}", True),
        ("sor+{}", True),
        ("spl+{}", True),
        ("", False),
        ("tic\n", False),
        ('{"session":"x"}', False),
        ("sxx+1", False),
        ("smd+1+{}\nord+1", False),
        ("ord+1", False),
        (b"tic", False),
    ],
)
def test_what_a_read_only_websocket_may_say(message: str | bytes, passes: bool) -> None:  # noqa: FBT001 - as above
    """Subscriptions and heartbeats."""
    assert rules(read_only=True).lets_say(message) is passes
    assert rules().lets_say(message)


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("192.168.1.7", True),
        ("::ffff:192.168.1.7", True),
        ("fd00::9", True),
        ("127.0.0.1", True),
        ("192.168.2.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("?", False),
        ("", False),
    ],
)
def test_where_clients_may_be(address: str, admitted: bool) -> None:  # noqa: FBT001 - as above
    """IPv4, also inside IPv6, and IPv6."""
    there = rules(networks=("127.0.0.1", "192.168.1.*", "fd00::/8"))
    assert there.admits(address) is admitted
    assert rules().admits("10.0.0.1")


@given(st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200))
def test_no_second_has_more_than_its_share(pauses: list[float]) -> None:
    """Whatever the pauses, any window of a second holds at most what IBKR takes from gwctl's clients."""
    pace, now_s, passed = Pace(), 0.0, []
    for pause_s in pauses:
        now_s += pause_s / 20
        if pace.lets_pass(now_s):
            passed.append(now_s)
    for begin_s in passed:
        assert sum(begin_s <= at < begin_s + 1.0 for at in passed) <= MOST_A_SECOND
    assert passed


@given(st.text(max_size=300))
def test_a_line_of_the_log_stays_a_line(path: str) -> None:
    """No path can forge a line or a field, or name an account."""
    line = shown(path)
    assert line.isascii()
    assert " " not in line
    assert line.isprintable()
    assert "DU1234567" not in shown("/v1/api/portfolio/DU1234567/summary")
    assert len(line) <= 200


def test_refusals_do_not_repeat_what_was_sent() -> None:
    """A wrong token is not in the answer."""
    refusal = rules().judge("GET", f"{API}tickle", HOST | {"authorization": "Bearer canary"})
    assert isinstance(refusal, Refusal)
    assert "canary" not in refusal.why
