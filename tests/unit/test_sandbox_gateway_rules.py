"""The fake gateway's reading of conf.yaml, its address rules and its cookie jar."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.errors import Configuration
from gwctl.sandbox.gateway_conf import AddressRules, read_conf
from gwctl.sandbox.gateway_upstream import CookieJar
from gwctl.sandbox.settings import fixture


@pytest.mark.parametrize(
    ("allow", "address", "allowed"),
    [
        (("127.0.0.1",), "127.0.0.1", True),
        (("127.0.0.1",), "127.0.0.2", False),
        (("10.*",), "10.1.2.3", True),
        (("10.*",), "100.1.2.3", False),
        (("10.1.*",), "10.1.9.9", True),
        (("10.1.*",), "10.2.9.9", False),
        (("10.1.2.*",), "10.1.2.255", True),
        (("10.0.0.0/8",), "10.1.2.3", False),
        (("0.0.0.0/0",), "127.0.0.1", False),
        (("::1",), "127.0.0.1", False),
    ],
)
def test_patterns_of_the_allow_list(allow: tuple[str, ...], address: str, *, allowed: bool) -> None:
    """The allow list knows exact addresses and trailing stars, and nothing else."""
    assert AddressRules(allow, ("0.0.0.1",)).allows(address) is allowed


def test_a_missing_list_allows_everybody() -> None:
    """Without either list, every address may connect."""
    assert AddressRules(("127.0.0.1",), None).allows("8.8.8.8")
    assert AddressRules(None, ("8.8.8.8",)).allows("8.8.8.8")


def test_deny_goes_before_allow() -> None:
    """A denied address is refused even if a pattern allows it."""
    rules = AddressRules(("10.*",), ("10.0.0.7",))
    assert (rules.allows("10.0.0.7"), rules.allows("10.0.0.8")) == (False, True)


def test_what_it_cannot_parse_in_deny_refuses_who_was_allowed() -> None:
    """An entry without dots matches with the last pattern parsed, so in `deny` it refuses an allowed address."""
    rules = AddressRules(("127.0.0.1",), ("::1",))
    assert (rules.allows("127.0.0.1"), rules.allows("127.0.0.1")) == (True, False)


def test_the_shipped_conf_is_as_open_as_the_real_one() -> None:
    """The sandbox release ships the settings that users must be protected from."""
    conf = read_conf(fixture("release/root/conf.yaml"))
    assert (conf.listen_port, conf.auth_delay_ms, conf.cors_origin) == (5000, 3000, "*")
    assert conf.allow == ("10.*", "192.*", "131.216.*", "127.0.0.1")
    assert [app.name for app in conf.web_apps] == ["demo"]


@pytest.mark.parametrize("text", ["listenPort: many", "ips: 7", "- a list", "a: [", "authDelay: true"])
def test_a_bad_value_is_an_error(tmp_path: Path, text: str) -> None:
    """A value of the wrong type is refused, with the name of its property if there is one."""
    (tmp_path / "conf.yaml").write_text(text)
    with pytest.raises(Configuration):
        read_conf(tmp_path / "conf.yaml")


def test_the_jar_keeps_known_cookies_by_path() -> None:
    """IBKR's known cookies and a client's two session cookies are kept; each is sent to its path."""
    jar = CookieJar()
    jar.capture_response(["JSESSIONID=one; Path=/sso; HttpOnly", "web=two; Path=/", "tracker=x; Path=/", "cp=; Path=/"])
    jar.capture_request("XYZAB=three; USERID=4; XYZAB_AM.LOGIN=five")
    on_api = dict(part.split("=", 1) for part in jar.header_for("/v1/api/tickle").split(";"))
    assert on_api == {"REGION": "", "USERID": "", "web": "two", "XYZAB": "three", "XYZAB_AM.LOGIN": "five"}
    assert "JSESSIONID=one" in jar.header_for("/sso/Login")
    jar.clear()
    assert "three" not in jar.header_for("/v1/api/tickle")
