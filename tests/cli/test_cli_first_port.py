"""The gateway's port: one that browsers open, and on a first start a free one."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import Home, a_home, one_line_with_hint, wait_for
from rig import built_in_ports

from gwctl.free_ports import port_is_free


@pytest.fixture
def unset(tmp_path: Path) -> Iterator[Home]:
    """Yield a home without a port setting; the built-in port and the next are shared by all tests."""
    with built_in_ports(), a_home(tmp_path) as home:
        del home.variables["GWCTL_PORT"]
        yield home


@contextlib.contextmanager
def held(port: int) -> Iterator[None]:
    """Make another process listen on a port, as AirPlay does on macOS; an existing listener is fine."""
    with contextlib.ExitStack() as stack:
        if port_is_free(port):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def port_of_a_foreground(home: Home, *more: str) -> int:
    """Run `up --foreground` until it is ready on a port that it chose, and return that port."""
    running = home.start("up", "--foreground", "--sandbox", *more)
    try:
        wait_for((home.profile_dir / "port.json").exists, 60, "the record of another port")
        wait_for(lambda: (home.profile_dir / "supervisor.json").exists() and home.status()["ready"], 60, "ready")
        return int(home.status()["gateway"]["port"])
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=30)


@pytest.mark.parametrize("how", ["flag", "variable", "profile"])
def test_a_port_that_no_browser_opens_is_refused_before_anything_starts(home: Home, how: str) -> None:
    """`--port 22` is an invalid setting (78) with a free port in the hint, not a browser failure."""
    argv = ["up", "--sandbox"]
    port: str | None = None
    if how == "flag":
        argv += ["--port", "22"]
    elif how == "variable":
        port = "6000"
    else:
        home.write_config("[profiles.default]\nport = 5060\n")
    text = one_line_with_hint(home.gwctl(*argv, GWCTL_PORT=port).check(78))
    assert "is not a port that browsers open" in text
    suggested = int(text.rpartition(" ")[2])
    assert suggested > 1023
    assert not (home.profile_dir / "gateway").exists()
    assert home.gwctl("profile", "create", "other", "--port", "25").exit_code == 78


def test_the_first_up_takes_another_port_where_the_built_in_one_is_in_use(unset: Home) -> None:
    """`up` reports the new port and keeps it for later calls, and every verb and client uses it."""
    with held(5000):
        done = unset.gwctl("up", "--sandbox").check(0)
        port = unset.status()["gateway"]["port"]
        assert port != 5000
        assert f"uses port {port} from now on" in done.stderr
        assert f"https://localhost:{port}/v1/api" in done.stdout
        unset.gwctl("api", "POST", "/tickle").check(0)
        unset.gwctl("down").check(0)
        env = unset.gwctl("env", "--json").check(0).envelope["data"]
        assert env["GWCTL_BASE_URL"] == f"https://localhost:{port}/v1/api"
    # Clients know the port now: it stays, even when the built-in one is free again.
    assert unset.gwctl("status", "--json").envelope["data"]["gateway"]["port"] == port
    shown = unset.gwctl("profile", "show", "--json").check(0).envelope["data"]
    assert "first gwctl up" in json.dumps(shown)
    again = unset.gwctl("up", "--sandbox", "--json").check(0).envelope["data"]
    assert again["gateway"]["port"] == port


@pytest.mark.wide
def test_a_damaged_record_of_the_port_is_said_and_another_is_taken(unset: Home) -> None:
    """A damaged record is reported: doctor finds it, and `up` sets it aside and chooses again."""
    with held(5000):
        unset.gwctl("up", "--sandbox").check(0)
        unset.gwctl("down").check(0)
        file = unset.profile_dir / "port.json"
        file.write_text("garbage", encoding="utf-8")
        assert "port.json is damaged" in " ".join(unset.gwctl("doctor").stdout.split())
        done = unset.gwctl("up", "--sandbox").check(0)
        assert "was damaged" in done.stderr
        assert "from now on" in done.stderr
        assert file.exists()


@pytest.mark.wide
def test_in_the_foreground_it_is_the_same(unset: Home) -> None:
    """The first start of a unit or container chooses another port too."""
    with held(5000):
        assert port_of_a_foreground(unset) != 5000


@pytest.fixture
def late(unset: Home, tmp_path: Path) -> Home:
    """Return a home whose calls find the first port that they try free: another process takes it a moment later."""
    folder = tmp_path / "late"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LATE)
    unset.variables["PYTHONPATH"] = str(folder)
    return unset


LATE = """
from gwctl import free_ports
calls, look = [], free_ports.port_is_free
free_ports.port_is_free = lambda port: not calls and not calls.append(port) or look(port)
"""


def test_a_first_start_chooses_again_if_its_port_is_taken_meanwhile(late: Home) -> None:
    """As by another first start at the same moment: it takes another port instead of failing, and keeps that."""
    with held(5000):
        done = late.gwctl("up", "--sandbox", "--fast").check(0)
        port = late.status()["gateway"]["port"]
        assert port != 5000
        assert f"uses port {port} from now on" in done.stderr
        late.gwctl("down").check(0)
        again = late.gwctl("up", "--sandbox", "--fast", "--json").check(0).envelope["data"]
        assert again["gateway"]["port"] == port


def test_a_first_start_in_the_foreground_chooses_again_too(late: Home) -> None:
    """Without a service manager, nobody else would start it again."""
    with held(5000):
        assert port_of_a_foreground(late, "--fast") != 5000


def test_a_port_that_was_set_is_not_left_if_it_is_taken_meanwhile(late: Home) -> None:
    """Clients know it: the error stays, and no other port is chosen."""
    with held(5000):
        done = late.gwctl("up", "--sandbox", "--fast", GWCTL_PORT="5000").check(69)
        assert "port 5000 is held by" in done.stderr
        assert not (late.profile_dir / "port.json").exists()


def test_several_first_starts_at_the_same_moment_all_get_a_port(tmp_path: Path) -> None:
    """Separate homes know nothing of each other, and no one of them fails."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(built_in_ports())
        homes = [stack.enter_context(a_home(tmp_path / name)) for name in ("one", "two", "three")]
        for home in homes:
            home.folder.mkdir()
            del home.variables["GWCTL_PORT"]
        started = [home.start("up", "--sandbox", "--fast") for home in homes]
        said = [one.communicate(timeout=90)[1] for one in started]
        assert [one.returncode for one in started] == [0, 0, 0], said
        assert len({home.status()["gateway"]["port"] for home in homes}) == 3


def test_a_port_that_was_set_is_never_left(unset: Home) -> None:
    """A busy port that a person set stays an error, from a flag and from the profile."""
    with held(5000):
        done = unset.gwctl("up", "--sandbox", "--port", "5000").check(69)
        assert "port 5000 is held by" in done.stderr
        unset.write_config("[defaults]\nport = 5000\n")
        unset.gwctl("up", "--sandbox").check(69)
