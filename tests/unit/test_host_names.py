"""The names and addresses that a certificate may contain."""

from __future__ import annotations

import pytest

from gwctl.setting_values import parse_hosts as parse


def test_names_are_put_into_one_form() -> None:
    """Lower case, shortest address, no duplicates, and without what every certificate of ours contains."""
    said = " GWCTL.Trading.svc, gwctl, 10.0.0.7,fd00:0:0::7, gwctl.trading.svc, localhost, ::1,127.0.0.1, "
    assert parse(said) == ("gwctl.trading.svc", "gwctl", "10.0.0.7", "fd00::7")
    assert parse(["a.example"]) == ("a.example",)
    assert parse("") == ()


@pytest.mark.parametrize(
    "name",
    [
        *("*.example", "exa mple", "https://a.example", "a.example:5000", "-a.example", "a-.example", "a..example"),
        *(".example", "a.example.", "a_b.example", "é.example", "1.2.3", "10.0.0.0/8", "a" * 64, "a." * 127 + "aa"),
        *("0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0"),
    ],
)
def test_what_is_no_name_of_one_host_is_refused(name: str) -> None:
    """A certificate contains nothing that a client could read differently."""
    with pytest.raises(ValueError, match="a list of host names and addresses"):
        parse([name])


@pytest.mark.parametrize("raw", [7, None, {"a": "b"}, ["a", 1]])
def test_what_is_no_list_is_refused(raw: object) -> None:
    """A number or a table is not a name."""
    with pytest.raises(ValueError, match="a list of host names and addresses"):
        parse(raw)
