"""Which files gwctl trusts: a table of trees that another user could have written, and links in place of its own."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import gwctl
from gwctl.config import load, profile_names
from gwctl.environment import Environment
from gwctl.errors import DiskTrouble
from gwctl.history.journal import Journal
from gwctl.lifecycle.profile import Profile
from gwctl.ownership import Untrusted, open_ours, read_ours, require_ours
from gwctl.paths import Paths
from gwctl.state_file import make_private_dir, read_json, write_json

STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files to another user is root's to do")
Tree = Callable[[Path], object]


def given(path: str) -> Tree:
    """Return a change that gives a file or folder to a stranger."""
    return lambda top: os.lchown(top / path, STRANGER, STRANGER)


def open_to(path: str, mode: int) -> Tree:
    """Return a change of a mode."""
    return lambda top: (top / path).chmod(mode)


def of_group(path: str, mode: int, gid: int) -> Tree:
    """Return a change of the group and the mode."""

    def change(top: Path) -> None:
        os.chown(top / path, -1, gid)
        (top / path).chmod(mode)

    return change


def linked(path: str, target: str, *, by_stranger: bool = False) -> Tree:
    """Return a change that puts a link in a folder's place, to the same folder elsewhere."""

    def change(top: Path) -> None:
        place = top / path
        (top / target).parent.mkdir(parents=True, exist_ok=True)
        place.rename(top / target)
        place.symlink_to(os.path.relpath(top / target, place.parent))
        if by_stranger:
            os.lchown(place, STRANGER, STRANGER)

    return change


def both(*changes: Tree) -> Tree:
    """Return several changes as one."""

    def change(top: Path) -> None:
        for one in changes:
            one(top)

    return change


UNTRUSTED = {
    "the folder above": given("way"),
    "the home": given("way/home"),
    "the settings": given("way/home/config.toml"),
    "the state": given("way/home/state"),
    "the profiles": given("way/home/state/profiles"),
    "the profile": given("way/home/state/profiles/default"),
    "the gateway's folder": given("way/home/state/profiles/default/gateway"),
    "the logs": given("way/home/state/profiles/default/logs"),
    "the releases": given("way/home/releases"),
    "the authority": given("way/home/ca"),
    "the cache": given("way/home/cache"),
    "a folder above that all may write": open_to("way", 0o777),
    "a home that all may write": open_to("way/home", 0o707),
    "a home that strangers' group may write": of_group("way/home", 0o770, STRANGER),
    "a state that all may write": open_to("way/home/state", 0o757),
    "settings that all may write": open_to("way/home/config.toml", 0o646),
    "a link by a stranger": linked("way/home/state", "else/state", by_stranger=True),
    "a link to a stranger's folder": both(linked("way/home/state", "else/state"), given("else/state")),
    "a link through a stranger's folder": both(linked("way/home", "else/home"), given("else")),
    "a link in a folder that all may write": both(linked("way/home/state", "else/state"), open_to("else", 0o777)),
    "settings linked to a stranger's": both(linked("way/home/config.toml", "else/c.toml"), given("else/c.toml")),
}
TRUSTED: dict[str, Tree] = {
    "as gwctl makes it": lambda _top: None,
    "readable for all": open_to("way/home/config.toml", 0o644),
    "a sticky folder above": open_to("way", 0o1777),
    "of root's group": of_group("way/home", 0o775, 0),
    "a link of ours": linked("way/home/state", "else/state"),
    "settings in another folder of ours": linked("way/home/config.toml", "dotfiles/config.toml"),
    "a home by a link": linked("way/home", "else/home"),
}


def built(top: Path) -> Path:
    """Build a home as gwctl does; return it."""
    home = top / "way" / "home"
    for folder in ("releases", "ca", "cache", "state/profiles/default/gateway", "state/profiles/default/logs"):
        make_private_dir(home / folder)
    (home / "config.toml").write_text('[defaults]\npassword_command = ["touch", "ran"]\n')
    (home / "config.toml").chmod(0o600)
    return home


@as_root
@pytest.mark.parametrize("change", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_what_another_user_could_have_written_is_refused(tmp_path: Path, change: Tree) -> None:
    """Every reader of settings and of paths refuses the home, with a line that names the place and a remedy."""
    home = built(tmp_path)
    change(tmp_path)
    environment = Environment({"GWCTL_HOME": str(home)})
    for reader in (
        lambda: load("default", environment=environment),
        lambda: profile_names(environment),
        lambda: Profile(environment=environment).paths,
        lambda: Profile(environment=environment).settings(),
    ):
        with pytest.raises(Untrusted) as caught:
            reader()
        assert str(tmp_path) in caught.value.message
        assert caught.value.exit_code == 78
        assert caught.value.hint


@as_root
@pytest.mark.parametrize("change", TRUSTED.values(), ids=TRUSTED.keys())
def test_what_only_we_can_have_written_is_used(tmp_path: Path, change: Tree) -> None:
    """Usual arrangements of a careful user work."""
    home = built(tmp_path)
    change(tmp_path)
    environment = Environment({"GWCTL_HOME": str(home)})
    assert load("default", environment=environment)["password_command"] == ("touch", "ran")
    assert Profile(environment=environment).paths.profile_dir.is_dir()


@as_root
@pytest.mark.parametrize(
    ("gid", "listed", "members", "trusted"),
    [
        (4242, "reader", ["reader"], True),
        (4242, "reader", [], True),
        (4242, "reader", ["reader", "mallory"], False),
        (4242, "domain users", [], False),
        (4242, "", [], False),
        (4243, "staff", [], False),
        (4243, "", [], False),
    ],
)
def test_a_group_is_trusted_if_it_was_created_for_our_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gid: int, listed: str, members: list[str], trusted: bool
) -> None:
    """A user's own group, as Debian gives one to each, may write; no other, whose members may be listed nowhere."""
    me = pwd.struct_passwd(("reader", "x", os.geteuid(), 4242, "", "/", "/bin/sh"))

    def group_of(_gid: int) -> grp.struct_group:
        if not listed:
            raise KeyError
        return grp.struct_group((listed, "x", gid, members))

    monkeypatch.setattr("gwctl.ownership.pwd.getpwuid", lambda _uid: me)
    monkeypatch.setattr("gwctl.ownership.grp.getgrgid", group_of)
    monkeypatch.setattr("gwctl.ownership.os.getegid", lambda: 4242)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    os.chown(shared, 0, gid)
    if trusted:
        require_ours([shared])
    else:
        with pytest.raises(Untrusted, match="other users can write"):
            require_ours([shared])


@as_root
@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_a_folder_of_a_stranger_is_not_written_to(tmp_path: Path, mode: int) -> None:
    """A home that a stranger creates after the check, where one was missing, gets no record of ours."""
    tmp_path.chmod(0o1777)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    os.chown(home, STRANGER, STRANGER)
    for target in (home / "supervisor.json", home / "state" / "supervisor.json"):
        with pytest.raises(Untrusted, match="belongs to"):
            write_json(target, {"token": "secret"})
        assert not target.exists()


@as_root
def test_a_volume_that_everybody_in_a_container_may_write_to(tmp_path: Path) -> None:
    """GWCTL_TRUST_HOME uses such a home; without it the line names the variable."""
    home = built(tmp_path)
    home.chmod(0o777)
    with pytest.raises(Untrusted) as caught:
        load("default", environment=Environment({"GWCTL_HOME": str(home)}))
    assert "GWCTL_TRUST_HOME=1" in str(caught.value.hint)
    trusting = Environment({"GWCTL_HOME": str(home), "GWCTL_TRUST_HOME": "1"})
    assert load("default", environment=trusting)["password_command"] == ("touch", "ran")
    assert "default" in profile_names(trusting)
    assert Profile(environment=trusting).paths.profile_dir.is_dir()


def test_links_without_end_are_no_hang(tmp_path: Path) -> None:
    """A circle of links is an error."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(Untrusted, match="too many symbolic links"):
        require_ours([tmp_path / "one" / "home"])


@as_root
def test_a_folder_that_a_stranger_makes_first_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sticky folder, a stranger who creates the missing home a moment before us gets nothing from us."""
    tmp_path.chmod(0o1777)
    home = tmp_path / "home"
    mkdir = Path.mkdir

    def overtaken(self: Path, mode: int, *, exist_ok: bool) -> None:
        if self == home:
            mkdir(home)
            os.chown(home, STRANGER, STRANGER)
        mkdir(self, mode, exist_ok=exist_ok)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    with pytest.raises(Untrusted, match="belongs to"):
        make_private_dir(home / "state")
    assert list(home.iterdir()) == []


def test_no_file_of_ours_is_opened_through_a_link_or_a_pipe(tmp_path: Path) -> None:
    """A link, a pipe, a socket or a folder in a file's place is an error at once: nothing is followed or waited for."""
    victim = tmp_path / "victim"
    victim.write_text('{"a": 1}')
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        for name in ("link", "pipe", "folder", "socket"):
            with pytest.raises(OSError, match=r".") as caught:
                os.close(open_ours(tmp_path / name))
            assert caught.value.strerror
            with pytest.raises(OSError, match=r"."):
                os.close(open_ours(tmp_path / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
            with pytest.raises(DiskTrouble, match="cannot read"):
                read_json(tmp_path / name)
    assert read_ours(victim) == b'{"a": 1}'


@as_root
def test_no_file_of_a_stranger_is_read(tmp_path: Path) -> None:
    """A planted record counts for nothing, even in our own folder."""
    planted = tmp_path / "supervisor.json"
    write_json(planted, {"pid": 1})
    os.chown(planted, STRANGER, STRANGER)
    with pytest.raises(DiskTrouble, match="belongs to another user"):
        read_json(planted)


def test_a_journal_is_not_appended_to_through_a_link(tmp_path: Path) -> None:
    """A planted link in the journal's place leaves its target as it was, and the supervisor going."""
    paths = Paths.for_profile("default", tmp_path / "home")
    make_private_dir(paths.profile_dir)
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    paths.journal_file.symlink_to(victim)
    Journal(paths.journal_file).write("warning", code="x", text="y")
    assert victim.read_text() == "mine\n"


NOT_OURS = {
    "http_requests.py": "a folder, to name a socket in it",
    "login_ledger/ledger.py": "the system's boot ID",
    "supervisor/status_report.py": "an asset of the package",
    "state_file.py": "a folder, to flush it",
    "doctor/files.py": "units of systemd",
    "doctor/bundle.py": "a secret's file, to leave its content out",
    "gateway/work_folder.py": "a file that has just been seen to be no link",
    "gateway/ca_bundle.py": "the public roots, and what the environment trusts",
    "isolation/front.py": "the null device",
    "isolation/namespaces.py": "the system's tables of this process",
    "history/journal.py": "the system's boot ID; a folder, to flush it",
    "process/spawn.py": "the terminal",
    "process/stopping.py": "another process's environment",
    "process/identity.py": "the system's process table",
    "config.py": "the settings, which may be a link of the user's and were judged",
    "ownership.py": "the one place that opens files of ours",
    "release/store.py": "an archive that a person names; a file of a release that is no link",
    "release/archive.py": "a file that has just been unpacked",
    "credentials.py": "a secret's file, which may be a link of a service manager",
    "cli/main.py": "the null device",
    "cli/output.py": "the null device",
    "cli/log_verbs.py": "a chart that a person asks for",
    "cli/service_places.py": "units of systemd",
    "lifecycle/settings_file.py": "the settings",
    "login/browser.py": "Playwright's own list; a browser's program",
    "gateway/isolated.py": "the system's table of network cards",
    "supervisor/door_keeper.py": "a token's or an authority's file, which may be a link of a service manager",
    "testing/gateway.py": "a port in a test's folder",
}
METHODS = r"\.read_bytes\b|\.read_text\b|\.write_text\b|[a-z_\])]\.open\(\"|\bos\.open\(|\bcopyfile\("
OPENS = re.compile(METHODS + r"|(?<!def )(?<![.\w])open\(")


def test_every_file_of_ours_is_opened_in_one_way() -> None:
    """A module that opens files by itself is listed here with the reason why those are not ours."""
    package = Path(gwctl.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if not file.is_relative_to(package / "sandbox") and OPENS.search(file.read_text())
    }
    assert found == set(NOT_OURS)
