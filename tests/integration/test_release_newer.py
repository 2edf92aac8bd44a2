"""The notice of a newer release: the real child that asks a server on loopback, its record, and the verbs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cli_fakes import Home, a_home
from hypothesis import example, given
from hypothesis import strategies as st
from release_fakes import Answer, FaultyServer, Handler, release_zip, says, serving, silent
from rig import wait_for
from terminal import on_terminal

from gwctl.config import Settings, load
from gwctl.environment import Environment
from gwctl.paths import Paths
from gwctl.release import newer
from gwctl.release.newer import ASK_EVERY_S
from gwctl.release.served_file import ServedFile
from gwctl.release.store import ReleaseStore
from gwctl.state_file import write_json
from gwctl.supervisor import release_watch
from gwctl.supervisor.wiring import Order
from gwctl.version import VERSION

OLD, NEW = "Mon, 24 Apr 2023 20:00:00 GMT", "Tue, 01 Dec 2026 08:00:00 GMT"
FIRST_S = release_watch.FIRST_LOOK_S + 60


class Machine:
    """A home with a release from a server on loopback, and the child that asks that server."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.server = server
        self.paths = Paths.for_profile("default", folder)
        self.store = ReleaseStore(self.paths.releases_dir, self.paths.cache_dir)
        server.last_modified = OLD

    def install(self, query: str = "") -> None:
        self.store.install(self.server.url() + query)
        self.server.requests.clear()

    def publish(self) -> None:
        """Put another release at the server's address."""
        self.server.body = release_zip(conf=b"listenPort: 5001\n")
        self.server.etag, self.server.last_modified = '"two"', NEW

    def ask(self, **variables: str) -> str:
        """Return what the child says of the release, or that it asks nothing; with another metadata, of gwctl."""
        places = (str(self.paths.releases_dir), str(self.paths.release_check_file))
        argv = [sys.executable, "-P", "-m", "gwctl.release.newer", *places]
        env = {**os.environ, **variables}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    def record(self) -> dict[str, Any]:
        return dict(json.loads(self.paths.release_check_file.read_text()))

    def settings(self, **variables: str) -> tuple[Settings, Environment]:
        environment = Environment({"GWCTL_HOME": str(self.paths.config_dir), **variables})
        return load("default", environment=environment), environment

    def notice(self, **variables: str) -> newer.Notice | None:
        """Return the notice about the release."""
        found = [one for one in newer.notices_of(*self.settings(**variables)) if "Standard Release" in one.text]
        return found[0] if found else None

    def is_due(self) -> bool:
        return newer.is_due(self.paths.release_check_file)

    def another_day(self) -> None:
        """Have the record say that it is of yesterday."""
        write_json(self.paths.release_check_file, {**self.record(), "asked_at_s": time.time() - ASK_EVERY_S - 1})


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with serving(release_zip()) as server:
        yield Machine(tmp_path, server)


def with_headers(size_bytes: int = 5, **headers: str) -> Answer:
    return lambda handler: handler.head(200, Content_Length=str(size_bytes), **headers)


def same_size(**headers: str) -> Answer:
    return lambda handler: handler.head(200, Content_Length=str(len(handler.server.body)), **headers)


def no_headers(handler: Handler) -> None:
    handler.head(200)


def outcome(said: str) -> str:
    """Return in a word what the child said of the release."""
    (line,) = [one for one in said.splitlines() if one.startswith("release: ")]
    return "newer" if "'newer': True" in line else "same" if "'newer': False" in line else line


NEWER, SAME, NOTHING, NOT_DUE = "newer", "same", "release: None", "not due"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (with_headers(ETag='"two"', Last_Modified=NEW), NEWER),
        (with_headers(Last_Modified=NEW), NEWER),
        (with_headers(), NEWER),
        (same_size(ETag='"one"', Last_Modified=OLD), SAME),
        (same_size(ETag='W/"one"', Last_Modified=NEW), SAME),
        (same_size(ETag='"of another server"', Last_Modified=OLD), SAME),
        (with_headers(ETag='"an older one"', Last_Modified="Sun, 01 Jan 2023 08:00:00 GMT"), SAME),
        (with_headers(ETag='"two"', Last_Modified="soon"), NEWER),
        (same_size(), SAME),
        (no_headers, SAME),
        (says(404), ".*answered 404"),
        (says(405), ".*answered 405"),
        (says(503), ".*answered 503"),
        (with_headers(Content_Type="text/html", ETag='"two"'), ".*with a page"),
        (silent, ".*in time"),
        (says(302, Location="/elsewhere.zip"), SAME),
        (says(302, Location="http://192.0.2.1/x.zip"), ".*not followed"),
        (says(302, Location="https://user:word@192.0.2.1/x.zip"), ".*not followed"),
    ],
)
def test_each_answer_is_understood(machine: Machine, answer: Answer, said: str) -> None:
    """Another file is newer; the same one, an earlier one, and whatever is no answer are not; each is asked once."""
    machine.install()
    machine.server.answers = [answer]
    assert re.fullmatch(said, outcome(machine.ask()))
    assert (machine.notice() is not None) is (said == NEWER)
    asked = len(machine.server.asked)
    assert machine.ask() == NOT_DUE, "a server that did not answer is not asked again, either"
    assert len(machine.server.asked) == asked


@given(st.text(), st.text())
@example("Mon, 01 Jan 99999999999 00:00:00 GMT", OLD)
@example("Mon, 01 Jan 2023 00:00:00 +99999999", OLD)
@example("Mon, 24 Apr 2023 20:00:00 -0000", OLD)
def test_any_time_that_a_server_sends_is_compared(now: str, then: str) -> None:
    """Whatever it says, there is an answer: the same text is the same file."""
    one, two = ServedFile("https://x", None, then, 1), ServedFile("https://x", None, now, 1)
    assert two.is_newer_than(one) in {False, now != then}


def test_the_first_difference_is_the_etag_where_there_is_nothing_else(machine: Machine) -> None:
    """A server that says neither time nor size is understood by its ETag alone."""
    one, two = ServedFile("https://x", '"one"', None, None), ServedFile("https://x", '"two"', None, None)
    assert two.is_newer_than(one)
    assert not one.is_newer_than(one)
    assert not ServedFile("https://x", None, None, None).is_newer_than(one)


def test_offline_nothing_is_known_and_an_earlier_answer_holds(machine: Machine) -> None:
    """The notice of yesterday stays when nobody answers today."""
    machine.install()
    machine.publish()
    assert outcome(machine.ask()) == NEWER
    machine.another_day()
    machine.server.server_close()
    assert "cannot connect" in machine.ask()
    assert machine.notice() is not None
    assert not machine.is_due()


def test_the_request_has_nothing_of_a_person(machine: Machine) -> None:
    """A HEAD with the download's User-Agent; no cookie, no name, no token."""
    machine.install()
    machine.ask()
    (sent,) = machine.server.asked
    assert sent.keys() == {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent"}
    assert sent["User-Agent"] == f"gwctl/{VERSION}"


def test_an_installation_ends_the_notice(machine: Machine) -> None:
    """Also where the address has the same bytes with a new time: then there is nothing to install."""
    machine.install()
    machine.server.etag, machine.server.last_modified = '"two"', NEW
    assert outcome(machine.ask()) == NEWER
    notice = machine.notice()
    assert notice is not None
    assert notice.remedy == f"gwctl release install {machine.server.url()}"
    assert machine.store.install(machine.server.url()).outcome == "already_installed"
    assert machine.notice() is None
    machine.publish()
    machine.store.install(machine.server.url())
    assert machine.notice() is None


def test_another_release_in_use_has_no_notice(machine: Machine) -> None:
    """The answer is about the release that was asked for, not about one that was chosen since."""
    machine.install()
    old = machine.store.list()[0].version
    machine.publish()
    machine.store.install(machine.server.url())
    machine.store.use(old)
    assert outcome(machine.ask()) == NEWER
    assert machine.notice() is not None
    machine.store.use(machine.store.list()[0].version)
    assert machine.notice() is None


def test_what_came_from_no_address_is_not_asked_about(machine: Machine, tmp_path: Path) -> None:
    """Neither a release from a file, nor one from an address with a query, which may be a secret and is not kept."""
    assert machine.ask() == f"{NOTHING}\ngwctl: None"
    file = tmp_path / "a.zip"
    file.write_bytes(release_zip(conf=b"listenPort: 5003\n"))
    machine.store.install(str(file))
    machine.another_day()
    assert outcome(machine.ask()) == NOTHING
    machine.install("?signature=secret")
    machine.another_day()
    assert outcome(machine.ask()) == NOTHING
    assert machine.server.asked == []
    assert not any(b"signature" in one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())


def damaged(file: Path) -> None:
    write_json(file, {})
    file.write_text("{")


def from_the_future(file: Path) -> None:
    write_json(file, {"asked_at_s": time.time() + 86_400 * 365})


def of_a_day_ago(file: Path) -> None:
    write_json(file, {"asked_at_s": time.time() - ASK_EVERY_S - 1})


def odd(file: Path) -> None:
    write_json(file, {"asked_at_s": "soon", "release": {"newer": "yes", "version": 5, "installed": [1]}, "gwctl": 5})


@pytest.mark.parametrize("change", [damaged, from_the_future, of_a_day_ago, odd])
def test_a_record_that_says_nothing_is_asked_again(machine: Machine, change: Callable[[Path], None]) -> None:
    """Also one from before the clock was set back; meanwhile there is no notice and no error."""
    machine.install()
    machine.publish()
    change(machine.paths.release_check_file)
    assert machine.notice() is None
    assert machine.is_due()
    assert outcome(machine.ask()) == NEWER
    assert machine.notice() is not None
    assert not machine.is_due()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_record_is_not_believed(machine: Machine) -> None:
    """No notice, no request, no error, and the file stays."""
    machine.install()
    machine.publish()
    assert outcome(machine.ask()) == NEWER
    machine.another_day()
    os.chown(machine.paths.release_check_file, 65534, 65534)
    asked = len(machine.server.asked)
    assert machine.notice() is None
    assert machine.ask() == NOT_DUE
    os.chown(machine.paths.release_check_file, 0, 0)
    os.chown(machine.store.list()[0].path.parent / "served.json", 65534, 65534)
    assert machine.notice() is None
    assert outcome(machine.ask()) == NOTHING
    assert len(machine.server.asked) == asked


@pytest.mark.parametrize("url", ["http://192.0.2.1/x.zip", "ftp://x/y", "https://user:word@x/y", "file:///etc/passwd"])
def test_a_record_with_an_address_that_may_not_be_asked_is_none(machine: Machine, url: str) -> None:
    """Whoever could write the record could otherwise have gwctl send requests in the clear."""
    machine.install()
    file = machine.store.list()[0].path.parent / "served.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "url": url}))
    assert outcome(machine.ask()) == NOTHING


PAGE = "/gwctl/gwctl/releases"
"""The path of gwctl's page of releases, whose ``latest`` leads to that of a tag."""


@pytest.mark.parametrize(
    ("latest", "version"),
    [
        ("/tag/v99.1.0", "99.1.0"),
        ("/tag/99.1", "99.1"),
        (f"/tag/v{VERSION}", None),
        ("/tag/v0.0.9", None),
        ("/tag/v99.1.0rc1", "99.1.0rc1"),
        ("/tag/nightly", None),
        ("", None),
    ],
)
def test_a_newer_gwctl_is_told_of_once_it_is_published(machine: Machine, latest: str, version: str | None) -> None:
    """Its page of releases comes from the metadata of what is installed; without one, nobody is asked."""
    assert machine.ask() == f"{NOTHING}\ngwctl: None"
    assert machine.server.requests == []
    machine.another_day()
    metadata = machine.paths.config_dir / "installed" / "gwctl-0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    page = machine.server.url(PAGE)
    metadata.write_text(f"Metadata-Version: 2.4\nName: gwctl\nVersion: 0\nProject-URL: Releases, {page}/\n")
    machine.server.answers = [says(302, Location=f"{PAGE}{latest}")]
    machine.ask(PYTHONPATH=str(metadata.parents[1]))
    assert len(machine.server.asked) == 2
    told = newer.notices_of(*machine.settings(GWCTL_RELEASE_SHA256="1" * 64))
    assert told == (
        [] if version is None else [newer.Notice(f"gwctl {version} is available, and this is {VERSION}", page)]
    )


def test_an_answer_is_kept_although_the_next_server_hangs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child may be ended while it waits for the second answer."""
    machine.install()
    machine.publish()

    def ended() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(newer, "_look_at_page", ended)
    with pytest.raises(KeyboardInterrupt):
        newer.ask(machine.paths.releases_dir, machine.paths.release_check_file)
    assert machine.notice() is not None


WANTED: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"CI": "true"}, False),
    ({"CI": "0"}, True),
    ({"CI": "true", "GWCTL_CHECK_FOR_UPDATES": "yes"}, True),
    ({"GWCTL_CHECK_FOR_UPDATES": "no"}, False),
]
PINS: list[dict[str, str]] = [
    {"GWCTL_RELEASE_SHA256": "1" * 64},
    {"GWCTL_RELEASE": "20230424-a27ed421"},
    {"GWCTL_RELEASE": "/a.zip"},
]


@pytest.mark.parametrize("variables", PINS)
def test_a_profile_that_pins_its_release_has_no_notice(machine: Machine, variables: dict[str, str]) -> None:
    """It would not follow the command that the notice names."""
    machine.install()
    machine.publish()
    machine.ask()
    assert machine.notice() is not None
    assert machine.notice(**variables) is None


def answered(record: Path) -> bool:
    return record.exists() and "release" in json.loads(record.read_text())


@pytest.mark.parametrize(("variables", "wanted"), WANTED)
def test_who_does_not_want_it_neither_asks_nor_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    """In CI by default, where it is turned off, and always in the sandbox."""
    machine.install()
    machine.publish()
    monkeypatch.setattr(release_watch, "FIRST_LOOK_S", 0.0)
    settings, environment = machine.settings(**variables)

    async def watched(*, sandbox: bool) -> bool:
        """Return whether the watch goes on."""
        watch = asyncio.ensure_future(release_watch.watch(Order(settings, environment, sandbox=sandbox)))
        try:
            while not watch.done() and not answered(machine.paths.release_check_file):
                await asyncio.wait({watch}, timeout=0.05)
            return not watch.done()
        finally:
            watch.cancel()

    assert not asyncio.run(watched(sandbox=True))
    assert machine.server.asked == []
    assert asyncio.run(watched(sandbox=False)) is wanted
    assert len(machine.server.asked) == int(wanted)
    if not wanted:
        assert outcome(machine.ask()) == NEWER, "as another profile's supervisor does"
    assert (machine.notice(**variables) is not None) is wanted


def said_on_terminal(home: Home, *argv: str, **variables: str) -> str:
    child = on_terminal(home, *argv, **variables)
    child.expect(pexpect.EOF)
    child.close()
    return re.sub(r"\s+", " ", child.before or "")


@pytest.mark.timeout(300)
def test_the_verbs_of_a_running_profile_say_so(tmp_path: Path) -> None:
    """The supervisor asks by itself; then `up`, `release list` and `doctor` name the command, on a terminal only."""
    with serving(release_zip()) as server:
        server.last_modified = OLD
        name = {"GWCTL_USERNAME": "reader01", "GWCTL_PASSWORD": "Canary-Wren-4410", "GWCTL_RELEASE": server.url()}
        name["GWCTL_CHECK_FOR_UPDATES"] = ""
        with a_home(tmp_path, **name) as home:
            home.gwctl("up", "--paused", CI=None).check(0)
            server.body, server.etag, server.last_modified = release_zip(conf=b"listenPort: 5001\n"), '"two"', NEW
            record = home.home / "state" / "release-check.json"
            wait_for(lambda: answered(record), FIRST_S, "it has asked")
            (sent,) = server.asked
            assert not {"reader01", "Canary-Wren-4410"} & set(" ".join(sent.values()).split())
            assert record.stat().st_mode & 0o777 == 0o600

            line = (
                "a newer Standard Release than 20230424-a27ed421 is available; gwctl does not install it by itself; "
                f"to install it: gwctl release install {server.url()}"
            )
            verbs = (["up"], ["release", "list"])
            for verb in verbs:
                assert said_on_terminal(home, *verb).strip().endswith(line), verb
                for quiet in ("--quiet", "--json"):
                    assert "newer" not in said_on_terminal(home, *verb, quiet), (verb, quiet)
                assert "newer" not in said_on_terminal(home, *verb, CI="true"), verb
                assert "newer" not in said_on_terminal(home, *verb, GWCTL_CHECK_FOR_UPDATES="no"), verb
                done = home.gwctl(*verb, CI=None).check(0)
                assert "newer" not in done.stdout + done.stderr, verb
            findings = home.gwctl("doctor", "--json", CI=None).envelope["data"]["findings"]
            (found,) = [one for one in findings if "newer" in one["what"]]
            assert (found["check"], found["state"]) == ("release", "ok")
            assert found["remedy"] == f"gwctl release install {server.url()}"
            assert len(server.asked) == 1, "no verb asks"
            assert [one.version for one in ReleaseStore(home.home / "releases", home.home).list()] == [
                "20230424-a27ed421"
            ], "nothing was installed"

            home.gwctl("release", "install", server.url()).check(0)
            assert "newer" not in said_on_terminal(home, "up")
