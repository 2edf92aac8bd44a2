"""The profile's settings for its gateway."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.gateway.work_folder import admitted
from gwctl.setting_values import Unsuitable, parse_allow_ips, parse_upstream


@pytest.mark.parametrize("pattern", ["10.*", "192.168.*", "192.168.1.*", "127.0.0.1", "255.255.255.255"])
def test_patterns_the_gateway_knows_pass(pattern: str) -> None:
    """Patterns that the gateway can parse are passed on unchanged."""
    assert pattern in admitted(parse_allow_ips([pattern]))


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("*", "192.168.1.*"),
        ("0.0.0.0/0", "192.168.1.*"),
        ("10.0.0.0/8", "10.*"),
        ("172.17.0.0/16", "172.17.*"),
        ("192.168.1.0/24", "192.168.1.*"),
        ("172.16.0.0/12", "172.16.*"),
        ("192.168.1.4/30", "192.168.1.4, 192.168.1.5"),
        ("::1", "IPv4 only"),
        ("fd00::/8", "IPv4 only"),
        ("1.2.3.256", "allow_ips"),
        ("1.2.3", "allow_ips"),
        ("1.*.3.4", "allow_ips"),
        ("1.2.3.4.*", "allow_ips"),
        ("", "allow_ips"),
    ],
)
def test_patterns_the_gateway_ignores_are_refused_with_a_suggestion(pattern: str, hint: str) -> None:
    """An entry that would silently do nothing is an error that says what to write."""
    with pytest.raises(Unsuitable) as caught:
        parse_allow_ips([pattern])
    assert hint in caught.value.hint


def test_gwctl_itself_is_always_let_in() -> None:
    """127.0.0.1 is on the list unless a pattern covers it."""
    assert admitted(["10.*"]) == ("127.0.0.1", "10.*")
    assert admitted(["127.*"]) == ("127.*",)
    assert admitted([]) == ("127.0.0.1",)


@given(st.text(alphabet="0123456789.*/:a ", max_size=18))
def test_whatever_passes_is_a_pattern_the_gateway_parses(pattern: str) -> None:
    """Only the four known patterns get into conf.yaml."""
    try:
        checked = admitted(parse_allow_ips([pattern]))
    except Unsuitable as error:
        assert error.hint  # noqa: PT017 - the property holds for either outcome
        return
    assert all(re.fullmatch(r"(\d{1,3}\.){1,3}\*|(\d{1,3}\.){3}\d{1,3}", one) for one in checked)


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("https://api.ibkr.com", "https://api.ibkr.com"),
        ("https://api.ibkr.com/", "https://api.ibkr.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_an_upstream_is_scheme_host_and_port(upstream: str, expected: str) -> None:
    """A valid address passes."""
    assert parse_upstream(upstream) == expected


@pytest.mark.parametrize(
    "upstream",
    ["", "api.ibkr.com", "ftp://x", "https://", "https://x/path", "https://x?q", "https://u:p@x", "https://x:99999",
     "https://x#f", "https://a b", "https://[x"],
)  # fmt: skip
def test_any_other_upstream_is_refused_without_its_secrets(upstream: str) -> None:
    """A wrong address is reported before the gateway starts, and a password in it is not repeated."""
    with pytest.raises(ValueError, match=r"one line of text|an address scheme://host\[:port\]") as caught:
        parse_upstream(upstream)
    assert "u:p" not in str(caught.value)
