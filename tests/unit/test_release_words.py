"""How the release package reads names, addresses, headers and manifests, without a disk or a network."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.release import archive as shape
from gwctl.release import download as headers
from gwctl.release.archive import name_fault
from gwctl.release.download import DownloadPolicy
from gwctl.release.source import is_loopback, shown_url, url_fault

NOW = dt.datetime(2026, 11, 22, 21, 0, 0, tzinfo=dt.UTC)
# The end of the real jar's manifest, with its folded lines.
REAL_MANIFEST = (
    "Manifest-Version: 1.0\r\nUser-Dir: /export/homea/thgit/web.core/clientportal.g\r\n w\r\n"
    "When-Built: 2023-04-24T15:42:44-0400\r\nGit-Origin-Url: gitsrv100:/web.core/clientportal.gw\r\n"
    "Git-Commit: a27ed42161ad96c53e715ca5c5e3e3fa4cff5262+[working tree dif\r\n fs]\r\n\r\nName: common\r\n"
)


@pytest.mark.parametrize(
    ("manifest", "build"),
    [
        (REAL_MANIFEST, "20230424-a27ed421"),
        ("Git-Com\n mit: a27ed42161ad\n", "a27ed421"),
        ("When-Built: 2023-04-24\n", "20230424"),
        ("When-Built: yesterday\nGit-Commit: ../../x\n", None),
        ("", None),
    ],
)
def test_build_is_read_from_the_jars_manifest(manifest: str, build: str | None) -> None:
    """A version consists of the build's day and commit, as far as the manifest has them."""
    assert shape.build_of(manifest) == build


@given(st.text())
def test_build_is_always_fit_for_a_folders_name(manifest: str) -> None:
    """From any manifest, the version has only digits, hexadecimal letters and a dash."""
    build = shape.build_of(f"When-Built: {manifest}\nGit-Commit: {manifest}")
    assert build is None or set(build) <= set("0123456789abcdef-")


@pytest.mark.parametrize(
    "name",
    ["bin/run.sh", "root/", "dist/ibgroup.web.core.iblink.router.clientportal.gw.jar", "root/ä ö.txt", "...", "a..b"],
)
def test_plain_names_are_taken(name: str) -> None:
    """The names in real releases are accepted."""
    assert name_fault(name) is None


@given(st.text())
def test_name_that_is_taken_stays_below_its_folder(name: str) -> None:
    """A name without a fault leads nowhere but down."""
    if name_fault(name) is None:
        parts = name.removesuffix("/").split("/")
        assert not {"", ".", ".."} & set(parts)
        assert not {"\\", ":", "\0", "\n"} & set(name)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://download2.interactivebrokers.com/portal/clientportal.gw.zip", True),
        ("https://127.0.0.1:8443/x.zip", True),
        ("http://127.0.0.1:8080/x.zip", True),
        ("http://127.8.8.8/x.zip", True),
        ("http://[::1]:8080/x.zip", True),
        ("http://LOCALHOST/x.zip", True),
        ("http://0.0.0.0/x.zip", False),
        ("http://10.0.0.1/x.zip", False),
        ("http://localhost.evil.example/x.zip", False),
        ("http://127.0.0.1@evil.example/x.zip", False),
        ("https://me@example.com/x.zip", False),
        ("https://example.com:port/x.zip", False),
        ("https:///x.zip", False),
        ("ftp://localhost/x.zip", False),
        ("//localhost/x.zip", False),
        ("", False),
    ],
)
def test_only_https_and_loopback_are_fetched(url: str, allowed: bool) -> None:  # noqa: FBT001 - a table's column
    """An address is https, or http on loopback, and has no user."""
    assert (url_fault(url, loopback_allowed=True) is None) is allowed


def test_https_may_not_lead_to_plain_loopback() -> None:
    """A redirect from https to http is not followed, not even on this machine."""
    assert url_fault("http://127.0.0.1/x.zip", loopback_allowed=False) == "is not https"


def test_shown_address_holds_no_secret() -> None:
    """User, password, query and fragment are not printed."""
    assert shown_url("https://me:pw@example.com:1/a/b.zip?sig=x#y") == "https://example.com:1/a/b.zip?…"
    assert is_loopback(None) is False


@pytest.mark.parametrize(
    ("text", "asked_s"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Sun, 22 Nov 2026 21:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 20:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 21:00:30 -0000", 30.0),
        ("soon", None),
        ("-7", None),
        ("99999999999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, asked_s: float | None) -> None:
    """Both forms of the header are understood, and nothing else."""
    assert headers.retry_after_s(text, NOW) == asked_s


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("bytes 10-19/20", (10, 20)),
        ("bytes 10-19/*", (10, None)),
        ("bytes */20", (None, 20)),
        ("items 1-2/3", (None, None)),
        ("bytes \u0661-\u0662/\u0663", (None, None)),
        ("", (None, None)),
    ],
)
def test_content_range_is_taken_apart(text: str, given: tuple[int | None, int | None]) -> None:
    """Start and length are read; unknown values are None."""
    assert headers.content_range({"Content-Range": text}) == given


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ETag": '"a"', "Last-Modified": "then"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "then"}, "then"),
        ({"ETag": 'W/"a"'}, None),
        ({}, None),
    ],
)
def test_weak_validators_do_not_vouch_for_bytes(given: dict[str, str], text: str | None) -> None:
    """Only a strong ETag or a date may join two parts of a file."""
    assert headers.validator(given) == text


@given(st.integers(1, 60), st.floats(0, 1))
def test_pauses_are_bounded_and_never_nothing(failures: int, jitter: float) -> None:
    """A pause is between half its step and its step, and never above the limit."""
    policy = DownloadPolicy()
    pause_s = policy.pause_s(failures, jitter)
    whole = min(policy.longest_pause_s, policy.first_pause_s * 2 ** (failures - 1))
    assert whole / 2 <= pause_s <= whole


def test_stand_in_needs_no_libraries_and_a_release_does() -> None:
    """Only the marker makes the difference."""
    files = {"bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html", "dist/a.jar"}
    assert shape.missing_from(files) == ["build/lib/runtime/*.jar"]
    assert shape.missing_from(files | {shape.STANDIN_MARKER}) == []
    assert shape.missing_from(files | {"build/lib/runtime/b.jar"}) == []
    assert shape.missing_from({"dist/deep/a.jar", *files} - {"dist/a.jar"})[0] == "dist/*.jar"
