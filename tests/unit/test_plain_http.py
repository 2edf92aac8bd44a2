"""Attacks on the rule that unencrypted HTTP is for this machine alone, in every spelling that may fool a parser.

Whoever is on the way of an unencrypted connection to IBKR reads the password and trades with the session.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.cli.main import run
from gwctl.credentials import Found, Secret
from gwctl.errors import Configuration
from gwctl.integrations.notify import find_secrets
from gwctl.known_words import Unsuitable
from gwctl.setting_values import parse_release, parse_upstream, url_fault

THIS_MACHINE = [
    "localhost", "LOCALHOST", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "127.8.8.8", "127.255.255.255", "[::1]",
    "[::1]:8080",
]  # fmt: skip
ELSEWHERE = [
    # names and addresses of others, and names that begin or end as ours do
    "api.ibkr.com", "10.0.0.1", "0.0.0.0", "[::]", "[::2]", "localhost.evil.com", "127.0.0.1.nip.io",
    "evil-localhost", "localhost-", "127.0.0.1.", "localhost.", "localhost..", "localhost.localdomain", "128.0.0.1",
    # spellings of 127.0.0.1 that some programs read so, and others as a name that a DNS server may answer
    "127.1", "127.0.1", "0x7f000001", "0x7f.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.01",
    "127.0.0.256", "127.0.0.1.1", "127..0.1", "127.0.0", "127",
    # other scripts, which lower-case or fold to ours
    "loca\u017fhost", "\uff4cocalhost", "127\u30020.0.1", "\uff11\uff12\uff17.0.0.1", "\u0661\u0662\u0667.0.0.1",
    # a user, and characters that some programs take for a separator
    "127.0.0.1@evil.com", "localhost:80@evil.com", "evil.com\\@127.0.0.1", "127.0.0.1\\@evil.com",
    "127.0.0.1\\.evil.com", "127.0.0.1;evil.com", "127.0.0.1,evil.com", "127.0.0.1%00.evil.com", "127.0.0.1%2eevil.com",
    "127.0.0.1&evil.com", "127.0.0.1:80:evil.com", "127.0.0.1 evil.com",
    # IPv6: text around the brackets, zones, mapped addresses
    "[::1]evil.com", "[::1].evil.com", "evil.com[::1]", "[::1%25lo]", "[::1%lo]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1", "::1",
]  # fmt: skip
"""What stands after http:// and must not be taken for this machine."""


@pytest.mark.parametrize("netloc", THIS_MACHINE)
def test_plain_http_reaches_this_machine(netloc: str) -> None:
    """A stand-in for IBKR on this machine needs no certificate."""
    assert parse_upstream(f"http://{netloc}").lower() == f"http://{netloc.lower()}"
    assert parse_release(f"http://{netloc}/a.zip")


@pytest.mark.parametrize("netloc", ELSEWHERE)
def test_plain_http_reaches_nothing_else(netloc: str) -> None:
    """No spelling makes gwctl send a session, a release or a notification through the network unencrypted."""
    with pytest.raises(Unsuitable) as upstream:
        parse_upstream(f"http://{netloc}")
    assert upstream.value.hint
    with pytest.raises(Unsuitable):
        parse_release(f"http://{netloc}/a.zip")
    assert url_fault(f"http://{netloc}/a.zip", loopback_allowed=True) is not None
    webhook = Found(Secret(f"http://{netloc}/hook"), "a test")
    with pytest.raises(Configuration, match="notify_webhook"):
        find_secrets({"notify_webhook": webhook}.get)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/\\evil", "http://127.0.0.1\n.evil.com/", "http://\t127.0.0.1/a", "http:\\\\127.0.0.1"]
)
def test_an_address_that_programs_read_differently_is_not_fetched(url: str) -> None:
    """Python drops line breaks and tabs from an address, and browsers take a backslash for a slash."""
    assert url_fault(url, loopback_allowed=True) is not None


@pytest.mark.parametrize("netloc", ["[::1]evil.com", "evil.com[::1]", "evil.com\\.a", "a\u3002b", "u@evil.com"])
def test_an_https_upstream_is_not_another_host_than_it_says(netloc: str) -> None:
    """The gateway gets the host that a person reads in the setting."""
    with pytest.raises(Unsuitable):
        parse_upstream(f"https://{netloc}")


@pytest.mark.parametrize("netloc", ["evil.com", "localhost.evil.com", "127.1", "127.0.0.1@evil.com", "localhost."])
@pytest.mark.parametrize("verb", [["up"], ["exec", "--", "true"], ["env"]], ids=" ".join)
def test_verbs_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: list[str], netloc: str
) -> None:
    """Exit 78 with one line and a hint, before anything is written."""
    monkeypatch.setenv("GWCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GWCTL_UPSTREAM", f"http://{netloc}")
    assert run(["--no-input", *verb]) == Configuration.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[: len("  try: ")] for line in err.splitlines()] == [err[: len("  try: ")], "  try: "]
    assert "upstream = " in err
    assert not (tmp_path / "home").exists()
