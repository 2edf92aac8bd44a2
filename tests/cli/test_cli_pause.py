"""`pause`, `resume`, `up --paused` and login hours, as a person uses them: the real program on the sandbox."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time

import psutil
import pytest
from cli_fakes import Home, a_home
from rig import wait_for

pytestmark = pytest.mark.browser

HOURS = "login_hours"


def closed_hours() -> str:
    """Return login hours that begin in two hours."""
    now = dt.datetime.now(dt.UTC)
    begin, end = (now + dt.timedelta(hours=hours) for hours in (2, 4))
    return f"{begin:%H:%M}-{end:%H:%M} UTC"


def works(pid: int) -> bool:
    """Return whether a process does anything; one that ended may wait for its parent to notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(180)
def test_a_pause_gives_the_session_away_and_takes_it_back(home: Home) -> None:
    """Nothing of ours is logged in meanwhile; every view says so; `up` respects it, `exec` does not run."""
    home.gwctl("up", "--sandbox").check(0)
    gateway = home.status()["gateway"]["pid"]
    assert works(gateway)
    said = home.gwctl("pause", "--for", "2h", "--reason", "trading by hand").check(0)
    assert said.stdout.startswith("paused until ")
    assert said.stdout.strip().endswith(": trading by hand; gwctl resume takes the session back")
    assert not works(gateway)
    assert "is paused until" in home.gwctl("api", "GET", "/tickle").check(75).stderr
    sessions = home.gwctl("sandbox", "show").check(0).stdout
    assert '"sso": []' in sessions

    status = home.gwctl("status", "--json").check(150).envelope["data"]
    assert (status["phase"], status["ready"]) == ("paused", False)
    assert status["paused"]["reason"] == "trading by hand"
    assert not status["session"]["authenticated"]
    assert status["next"]["what"] == "pause_end"
    assert 7000 < status["next"]["in_s"] <= 7200
    assert "paused until" in home.gwctl("status", "--all").stdout
    assert home.gwctl("up", "--sandbox").check(0).stdout == said.stdout
    from_cron = home.gwctl("up", "--sandbox", "--quiet").check(0)
    assert (from_cron.stdout, from_cron.stderr) == ("", "")
    [session] = [
        one for one in home.gwctl("doctor", "--json").envelope["data"]["findings"] if one["check"] == "session"
    ]
    assert session["state"] == "ok"
    assert session["what"].endswith("gwctl resume ends the pause")
    for verb in (["exec", "--sandbox", "--", "true"], ["wait", "--timeout", "5"], ["restart"], ["login"]):
        refused = home.gwctl(*verb).check(75)
        assert "is paused until" in refused.stderr, verb
        assert refused.stderr.rstrip().endswith("try: gwctl resume"), verb

    assert home.gwctl("resume").check(0).stdout.startswith("● default: ready · SANDBOX · https://")
    status = home.status()
    assert (status["phase"], status["paused"]) == ("ready", None)
    submits = home.gwctl("sandbox", "show").stdout.count('"mode": "paper"')
    assert submits == 3, "one for the account, one for each of the two logins"
    assert home.gwctl("history", "--json").envelope["data"]["outages"] == []


@pytest.mark.timeout(180)
def test_a_pause_survives_a_killed_supervisor_and_ends_by_itself(home: Home) -> None:
    """`up` after `kill -9` stays paused; when the time is over, the session comes back without anybody."""
    home.gwctl("up", "--sandbox").check(0)
    until = (dt.datetime.now().astimezone() + dt.timedelta(seconds=25)).isoformat(timespec="seconds")
    home.gwctl("pause", "--until", until).check(0)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    assert home.gwctl("up", "--sandbox").check(0).stdout.startswith("paused until")
    assert home.status()["gateway"]["pid"] is None
    wait_for(lambda: home.status()["ready"], 60, "the pause is over and the session ready")
    assert time.time() >= dt.datetime.fromisoformat(until).timestamp()
    assert not (home.profile_dir / "pause.json").exists() or home.status()["paused"] is None


@pytest.mark.timeout(120)
def test_a_standby_waits_until_it_is_told(home: Home) -> None:
    """`up --paused` starts no gateway and logs in nowhere; `resume` makes it the active one; a stop keeps the pause."""
    said = home.gwctl("up", "--sandbox", "--paused").check(0)
    assert said.stdout == "paused; gwctl resume takes the session back\n"
    assert home.status()["gateway"]["pid"] is None
    home.gwctl("down").check(0)
    assert home.gwctl("status", "--json").check(3).envelope["data"]["paused"]["until"] is None
    assert "paused" in home.gwctl("status").stdout
    assert home.gwctl("up", "--sandbox").check(0).stdout == said.stdout
    assert home.gwctl("resume").check(0).stdout.startswith("● default: ready · SANDBOX · https://")
    assert home.status()["ready"]


def test_a_pause_without_a_supervisor_holds_for_the_next_one(home: Home) -> None:
    """It is a file; `resume` removes it, says that nothing runs, and what to type."""
    assert home.gwctl("pause").check(0).stdout == "paused; gwctl resume ends the pause\n"
    for was in ("has no pause any more", "is not paused"):
        said = home.gwctl("resume").check(75).stderr
        assert f"profile 'default' {was}, and is not running" in said
        assert said.rstrip().endswith("try: gwctl up")
    assert home.gwctl("status", "--json").envelope["data"]["paused"] is None


@pytest.mark.timeout(120)
def test_a_pause_ends_the_session_of_a_gateway_without_a_supervisor(home: Home) -> None:
    """After `down --keep-session` the session lives; `pause` logs out and stops that gateway, too."""
    home.gwctl("up", "--sandbox", "--fast").check(0)
    gateway = home.status()["gateway"]["pid"]
    home.gwctl("down", "--keep-session").check(0)
    assert works(gateway)
    home.gwctl("pause").check(0)
    assert not works(gateway)
    status = home.gwctl("status", "--json").check(3).envelope["data"]
    assert status["paused"] is not None
    assert home.gwctl("up", "--sandbox", "--fast").check(0).stdout.startswith("paused; ")


@pytest.mark.timeout(120)
def test_a_pause_that_cannot_be_kept_does_not_begin(home: Home) -> None:
    """A disk that takes no file is 69, with and without a supervisor: it must be cured; the session stays."""
    home.gwctl("up", "--sandbox", "--fast").check(0)
    file = home.profile_dir / "pause.json"
    file.mkdir()
    (file / "in the way").touch()  # a folder with something in it is not replaced by a file, for root either
    for running in (True, False):
        refused = home.gwctl("pause", "--json").check(69).envelope["error"]
        assert refused["code"] == "disk_trouble"
        assert f"cannot write {file}" in refused["message"]
        assert refused["hint"].startswith("check the free space and the owner of")
        assert home.status()["ready"] is running
        home.gwctl("down").check(0)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--for", "soon"], "--for 'soon' is not a time"),
        (["--for", "0m"], "is not a time"),
        (["--for", "2h", "--until", "14:00"], "cannot be combined"),
        (["--until", "25:00"], "is not a time"),
        (["--until", "2020-01-01"], "has passed"),
        (["--until", "9999999"], "is not a time"),
        (["--until", "9999-12-31"], "is not a time"),
        (["--for", "2000000d"], "is not a time"),
    ],
)
def test_a_time_that_is_none_is_named(home: Home, argv: list[str], why: str) -> None:
    """A usage error, and no pause."""
    refused = home.gwctl("pause", *argv).check(2)
    assert why in refused.stderr
    assert not (home.profile_dir / "pause.json").exists()


@pytest.mark.timeout(180)
def test_outside_the_login_hours_nobody_is_asked(home: Home) -> None:
    """`up` says when it logs in and ends with 75 at once; a person may log in; the session then goes on."""
    home.write_config(f'[defaults]\n{HOURS} = "{closed_hours()}"\n')
    began_s = time.monotonic()
    refused = home.gwctl("up", "--sandbox").check(75)
    assert "outside the login hours, gwctl logs in at " in refused.stderr
    assert refused.stderr.rstrip().endswith("try: gwctl login, to log in now")
    assert time.monotonic() - began_s < 60
    status = home.status()
    assert status["phase"] == "backoff"
    assert status["next"]["what"] == "login"
    assert status["next"]["in_s"] > 6000
    assert status["planned"]["logins_from"] is not None
    assert '"submits": []' in home.gwctl("sandbox", "show").stdout
    home.gwctl("login").check(0)
    assert home.status()["ready"]
    assert "no login by itself before" in home.gwctl("status").stdout


def test_paused_at_a_session_of_the_other_kind_changes_nothing(home: Home) -> None:
    """`up --paused` without --sandbox says what runs, and what to type; the sandbox's session goes on."""
    home.gwctl("up", "--sandbox").check(0)
    refused = home.gwctl("up", "--paused").check(75)
    assert "is already running the sandbox" in refused.stderr
    assert "or to go on with it: gwctl up --sandbox" in refused.stderr
    assert home.status()["ready"]
    assert home.status()["paused"] is None


def test_a_wait_without_a_supervisor_is_over_at_once(home: Home) -> None:
    """The gateway runs alone after `kill -9` of its supervisor: nothing but a call starts another."""
    home.gwctl("up", "--sandbox").check(0)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    refused = home.gwctl("wait", "--timeout", "100").check(75)
    assert "the gateway runs without a supervisor" in refused.stderr
    home.gwctl("up", "--sandbox").check(0)


@pytest.mark.timeout(120)
def test_the_portfolio_alone_neither_competes_nor_logs_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With `ready_when = "portfolio"`, another client may have the brokerage session: gwctl stays ready and quiet."""
    with a_home(tmp_path_factory.mktemp("portfolio"), GWCTL_READY_WHEN="portfolio", GWCTL_PUSH="no") as home:
        home.gwctl("up", "--sandbox").check(0)
        home.gwctl("sandbox", "do", "drop_brokerage").check(0)
        home.gwctl("sandbox", "on", "competing").check(0)
        wait_for(
            lambda: not home.status()["session"]["authenticated"] or home.status()["session"]["competing"], 30, "it"
        )
        status = home.status()
        assert status["ready"]
        assert status["session"]["sso"]
        assert '"listeners": 0' in home.gwctl("sandbox", "show").stdout
        journal = (home.profile_dir / "journal.jsonl").read_text()
        assert '"kind":"cure"' not in journal.replace(" ", "")
        assert journal.count('"outcome"') == 1


@pytest.mark.timeout(120)
def test_wait_for_the_portfolio_needs_no_brokerage_session(home: Home) -> None:
    """With the default, `wait --for portfolio` returns where `wait` would go on: another client has the session."""
    home.gwctl("up", "--sandbox").check(0)
    home.gwctl("sandbox", "on", "competing").check(0)
    wait_for(lambda: not home.status()["ready"], 30, "another client has it")
    home.gwctl("wait", "--for", "portfolio", "--timeout", "20").check(0)
    home.gwctl("wait", "--timeout", "0").check(75)
