"""How the release package reads names, addresses and manifests, without a disk or a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.release import archive as shape
from gwctl.release.archive import is_safe
from gwctl.release.download import shown_url
from gwctl.setting_values import url_fault

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
    ["bin/run.sh", "root", "dist/ibgroup.web.core.iblink.router.clientportal.gw.jar", "root/ä ö.txt", "...", "a..b"],
)
def test_plain_names_are_taken(name: str) -> None:
    """The names in real releases are accepted."""
    assert is_safe(name)


@given(st.text())
def test_name_that_is_taken_stays_below_its_folder(name: str) -> None:
    """A safe name leads nowhere but down."""
    if is_safe(name):
        parts = name.split("/")
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


def test_stand_in_needs_no_libraries_and_a_release_does() -> None:
    """Only the marker makes the difference."""
    files = {"bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html", "dist/a.jar"}
    assert shape.missing_from(files) == ["build/lib/runtime/*.jar"]
    assert shape.missing_from(files | {shape.STANDIN_MARKER}) == []
    assert shape.missing_from(files | {"build/lib/runtime/b.jar"}) == []
    assert shape.missing_from({"dist/deep/a.jar", *files} - {"dist/a.jar"})[0] == "dist/*.jar"
