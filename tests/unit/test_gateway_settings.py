"""The profile's settings for its gateway."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.setting_values import network_of, parse_allow_ips, parse_upstream


@pytest.mark.parametrize(
    ("entry", "network"),
    [
        ("10.*", "10.0.0.0/8"), ("192.168.*", "192.168.0.0/16"), ("192.168.1.*", "192.168.1.0/24"),
        ("127.0.0.1", "127.0.0.1/32"), ("192.168.1.7/24", "192.168.1.0/24"), ("::1", "::1/128"),
        ("fd00::/8", "fd00::/8"), ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)  # fmt: skip
def test_addresses_and_networks(entry: str, network: str) -> None:
    """Addresses, networks and the patterns of the gateway's own list are understood."""
    assert parse_allow_ips([entry]) == (entry,)
    assert str(network_of(entry)) == network


@pytest.mark.parametrize("entry", ["*", "1.2.3.256", "1.2.3", "1.*.3.4", "1.2.3.4.*", "", "a.*", "1.2.3.0/33", "1..*"])
def test_what_is_no_network_is_refused(entry: str) -> None:
    """An entry that would silently do nothing is an error that says what to write."""
    with pytest.raises(ValueError, match="such as"):
        parse_allow_ips([entry])


@given(st.text(alphabet="0123456789.*/:a ", max_size=18))
def test_whatever_passes_is_a_network(entry: str) -> None:
    """What the setting takes, the door understands."""
    try:
        (checked,) = parse_allow_ips([entry])
    except ValueError as error:
        assert "such as" in str(error)  # noqa: PT017 - the property holds for either outcome
        return
    assert network_of(checked).num_addresses > 0


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
