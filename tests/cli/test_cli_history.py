"""`gwctl history`: what a person, a script and a picture get from the journal, at almost no cost."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # our own output

import pexpect
import pytest
from cli_fakes import PROGRAM, Home, one_line_with_hint, wait_for

from gwctl.times import utc_ms

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'gone <script>&"\x1b[31m\u202e'
SAFE = 'gone <script>&"[31m'


def line(n: int, at: str, kind: str, **fields: object) -> str:
    return json.dumps({"n": n, "at": at, "kind": kind, **fields}, separators=(",", ":")) + "\n"


WEEK = [
    line(1, "2026-03-02T10:00:00.000Z", "start", sandbox=False, last_seen=None),
    line(2, "2026-03-02T10:00:01.000Z", "gateway", pid=7, port=5000),
    line(3, "2026-03-02T10:00:08.000Z", "login", outcome="success", code="success", text="logged in", took_s=2.5),
    line(4, "2026-03-02T10:00:10.000Z", "phase", phase="ready", reason="authenticated", event="Checked"),
    line(5, "2026-03-03T04:45:00.000Z", "phase", phase="recovering", reason=NASTY, event="GatewayEnded"),
    line(6, "2026-03-03T04:45:01.000Z", "gateway", pid=8, port=5000),
    line(7, "2026-03-03T04:45:02.000Z", "cure", rung="resume", reason=NASTY, ok=True, took_s=0.1),
    line(8, "2026-03-03T04:45:02.500Z", "phase", phase="ready", reason="authenticated", event="Checked"),
    line(9, "2026-03-04T10:00:00.000Z", "phase", phase="stopping", reason="stopping", event="StopWanted"),
    line(10, "2026-03-04T10:00:01.000Z", "end", exit_code=0, code=None, text=None),
]


@pytest.fixture
def told(home: Home) -> Home:
    """Return a home whose journal covers three days in March 2026."""
    home.profile_dir.mkdir(parents=True)
    journal_of(home).write_text("".join(WEEK))
    return home


def journal_of(home: Home) -> Path:
    return home.profile_dir / "journal.jsonl"


def data_of(home: Home, *argv: str, **variables: str) -> dict[str, Any]:
    data: dict[str, Any] = home.gwctl("history", "--since", "all", "--json", *argv, **variables).envelope["data"]
    return data


def test_nothing_recorded_yet(home: Home) -> None:
    """A profile that never ran: one line on stderr, nothing on stdout, exit 0, no file created."""
    done = home.gwctl("history").check(0)
    assert (done.stdout, done.stderr) == ("", "no history yet; start with gwctl up\n")
    assert not home.home.exists()
    data = home.gwctl("history", "--json").check(0).envelope["data"]
    assert (data["state"], data["uptime"], data["days"], data["outages"]) == (None, None, [], [])


def test_columns_in_a_pipe(told: Home) -> None:
    """Through a pipe: days, outages with cause and recovery, logins and restarts, in printable columns."""
    done = told.gwctl("history", "--since", "2026-03-01", "--utc").check(0)
    assert done.stderr == ""
    assert all(sign.isprintable() or sign == "\n" for sign in done.stdout)
    assert re.search(r"2026-03-02 +- +- +- +- +1 +0$", done.stdout, re.MULTILINE)
    assert re.search(r"2026-03-03 +99\.99 % +2\.5 s +- +- +0 +1$", done.stdout, re.MULTILINE)
    assert re.search(r"2026-03-03 04:45:00 +2\.5 s +restart, resume +gone <script>&\"\[31m$", done.stdout, re.MULTILINE)
    assert re.search(r"2026-03-02 10:00:08 +2\.5 s +success$", done.stdout, re.MULTILINE)
    assert max(len(row) for row in done.stdout.splitlines()) <= 100


def test_days_of_this_machine_and_of_utc(told: Home) -> None:
    """Days and times are in the machine's time zone unless --utc is given; JSON is always in UTC."""
    auckland = data_of(told, TZ="Pacific/Auckland")
    assert [day["date"] for day in auckland["days"]][:3] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert auckland["days"][0]["logins"] == 1
    assert auckland["days"][0]["ready_s"] == 3600 - 10  # it is 11 p.m. there
    utc = data_of(told, "--utc", TZ="Pacific/Auckland")
    assert utc["days"][0]["ready_s"] == 14 * 3600 - 10
    assert auckland["outages"] == utc["outages"]
    assert utc["outages"][0]["began"] == "2026-03-03T04:45:00.000Z"
    local = told.gwctl("history", "--since", "all", TZ="Pacific/Auckland").check(0).stdout
    assert "2026-03-03 17:45:00" in local


def test_one_envelope_for_scripts(told: Home) -> None:
    """--json has every number of the table, exactly, and the split of the time."""
    data = data_of(told, "--utc")
    [outage] = data["outages"]
    assert outage == {
        "began": "2026-03-03T04:45:00.000Z",
        "ended": "2026-03-03T04:45:02.500Z",
        "length_s": 2.5,
        "unknown_s": 0.0,
        "cause": SAFE,
        "cure": "restart, resume",
        "cures": ["restart", "resume"],
        "maintenance": False,
        "sandbox": False,
    }
    assert data["restarts"] == [{"at": "2026-03-03T04:45:01.000Z", "reason": SAFE, "sandbox": False}]
    assert (data["state"], data["starting_s"], data["down_s"], data["unknown_s"]) == ("stopped", 0.0, 2.5, 0.0)
    assert data["ready_s"] == 2 * 86_400 - 10 - 2.5
    assert data["supervised_s"] == 2 * 86_400 - 10
    assert data["enough_data"] is True
    assert [(day["uptime"] is None, day["enough_data"]) for day in data["days"][:2]] == [(True, False), (False, True)]
    assert data["uptime"] == int(1e6 * data["ready_s"] / data["supervised_s"]) / 1e6
    assert {day["date"]: day["restarts"] for day in data["days"][:3]} == {
        "2026-03-02": 0,
        "2026-03-03": 1,
        "2026-03-04": 0,
    }


@pytest.mark.parametrize(
    ("since", "first"),
    [
        ("2026-03-03", "2026-03-03T00:00:00.000Z"),
        ("2026-03-03T04:00:00+01:00", "2026-03-03T03:00:00.000Z"),
        ("all", "2026-03-02T10:00:10.000Z"),
        ("900w", "2026-03-02T10:00:10.000Z"),
    ],
)
def test_since(told: Home, since: str, first: str) -> None:
    """--since accepts a date, a time, an age or all."""
    data = told.gwctl("history", "--since", since, "--utc", "--json").check(0).envelope["data"]
    assert data["began"] == first


def test_an_age_in_days_begins_at_midnight(told: Home) -> None:
    """Two days are today and yesterday, complete; twelve hours are exactly twelve hours."""
    data = told.gwctl("history", "--since", "2d", "--utc", "--json").check(0).envelope["data"]
    assert [data["began"][11:], len(data["days"])] == ["00:00:00.000Z", 2]
    data = told.gwctl("history", "--since", "12h", "--utc", "--json").check(0).envelope["data"]
    assert data["stopped_s"] == pytest.approx(12 * 3600, abs=1)


@pytest.mark.parametrize("since", ["soon", "", "5", "-1d", "2026-13-01", "9999999d"])
def test_since_that_means_nothing(told: Home, since: str) -> None:
    """Any other word is a usage error with a suggestion."""
    assert "gwctl history --since 7d" in one_line_with_hint(told.gwctl("history", "--since", since).check(2))


def test_a_terminal_gets_the_hours_of_each_day(told: Home) -> None:
    """On a terminal each day has a colored strip of its hours with a legend; with --no-color the signs suffice."""
    for argv, sign in (([], "\x1b[31mx\x1b[0m"), (["--no-color"], "x")):
        child = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], "history", "--utc", "--since", "2026-03-03", *argv],
            env=told.environment(TERM="xterm-256color", NO_COLOR=None, PYTHONUTF8="1"),
            dimensions=(50, 120),
            timeout=60,
            encoding="utf-8",
        )
        text = child.read()
        child.close()
        assert child.exitstatus == 0
        assert ("\x1b" in text) is (not argv)
        days = text.partition("outages:")[0]
        [row] = [row for row in days.splitlines() if row.strip().startswith("2026-03-03")]
        assert sign in row
        plain = re.sub(r"\x1b\[\d+m", "", days)
        assert re.search(r"2026-03-03 +99\.99 % +█{9}x█{38} +2\.5 s", plain)
        assert re.search(r"x down +\? unknown +▒ starting +█ ready +\. stopped", plain)


def test_the_picture(told: Home, tmp_path: Path) -> None:
    """--svg draws a row per day with hover texts, escaped and self-contained, replacing an older file."""
    file = tmp_path / "here" / "a picture.svg"
    file.parent.mkdir()
    file.write_text("old")
    (tmp_path / "another name").hardlink_to(file)
    done = told.gwctl("history", "--since", "2026-03-01", "--utc", "--svg", "a picture.svg", cwd=file.parent).check(0)
    assert done.stderr == "wrote a picture.svg\n"
    assert "2026-03-03" in done.stdout
    text = file.read_text()
    root = ET.fromstring(text)  # noqa: S314 - our own output
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    titles = {bar.get("class"): bar.findtext(f"{SVG}title") for bar in bars}
    assert titles["down"] == 'down: gone <script>&"[31m\n2026-03-03 04:45:00, 2.5 s'
    assert {"ready", "down", "stopped"} <= set(titles)
    assert float(next(str(bar.get("width")) for bar in bars if bar.get("class") == "down")) == 2.0
    assert all(96 <= float(str(bar.get("x"))) <= 916.01 for bar in bars)
    assert all(float(str(bar.get("x"))) + float(str(bar.get("width"))) <= 916.02 for bar in bars)
    rows = [entry.text for entry in root.iter(f"{SVG}text") if re.fullmatch(r"2026-\d\d-\d\d", entry.text or "")]
    assert rows[:3] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    words = {entry.text for entry in root.iter(f"{SVG}text")}
    assert {"ready", "starting", "down", "unknown", "stopped", "UTC"} <= words
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|href|url\((?!#)|@import", text)
    assert [one.name for one in file.parent.iterdir()] == ["a picture.svg"]
    assert (tmp_path / "another name").read_text() == "old"  # replaced, not written over


def test_the_picture_on_stdout(told: Home, home: Home) -> None:
    """--svg - prints only the picture, also for an empty journal."""
    assert ET.fromstring(told.gwctl("history", "--svg", "-").check(0).stdout).tag == f"{SVG}svg"  # noqa: S314 - our own
    journal_of(home).unlink()
    assert "no history yet" in home.gwctl("history", "--svg", "-").check(0).stdout


@pytest.fixture
def full_device(tmp_path: Path) -> Path:
    """Return a device that is always full; root gets a copy, so that a defect cannot replace the machine's."""
    if os.geteuid() != 0:
        return Path("/dev/full")
    device = tmp_path / "full"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    return device


def test_a_picture_that_cannot_be_written(told: Home, tmp_path: Path, full_device: Path) -> None:
    """A full device, a missing folder or an unwritable folder exits with 69 and one line; a folder as FILE with 2."""
    for file in (str(full_device), str(tmp_path / "nowhere" / "x.svg"), "/proc/x.svg"):
        assert file in one_line_with_hint(told.gwctl("history", "--svg", file).check(69))
    assert stat.S_ISCHR(full_device.stat().st_mode)
    one_line_with_hint(told.gwctl("history", "--svg", str(tmp_path)).check(2))
    error = told.gwctl("history", "--json", "--svg", str(full_device)).check(69).envelope["error"]
    assert error["code"] == "disk_trouble"


def test_what_is_no_file_is_never_replaced(told: Home, tmp_path: Path) -> None:
    """A pipe is written to; through a link, the target file is replaced and the link stays."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    call = told.start("history", "--svg", str(pipe))
    assert pipe.read_text().endswith("</svg>\n")
    call.communicate(timeout=60)
    assert call.returncode == 0
    assert pipe.is_fifo()
    (tmp_path / "link.svg").symlink_to(tmp_path / "real.svg")
    told.gwctl("history", "--svg", str(tmp_path / "link.svg")).check(0)
    assert (tmp_path / "link.svg").is_symlink()
    assert "<svg" in (tmp_path / "real.svg").read_text()


def test_damage_is_said(told: Home) -> None:
    """A torn last line costs that line; stderr reports it to a person, a number reports it to a script."""
    with journal_of(told).open("a") as file:
        file.write('{"n":11,"at":"2026-')
    assert "the journal has 1 damaged or lost lines" in told.gwctl("history").check(0).stderr
    data = data_of(told)
    assert (data["damaged_lines"], data["lost_lines"], data["state"]) == (1, 0, "stopped")


def test_a_journal_that_cannot_be_read(home: Home) -> None:
    """One clear line and 69."""
    journal_of(home).mkdir(parents=True)
    assert str(journal_of(home)) in one_line_with_hint(home.gwctl("history").check(69))


def test_nothing_heavy_is_loaded(told: Home) -> None:
    """The verb loads no browser, no cryptography, no YAML, no web framework, no HTTP library and no rich."""
    code = (
        "import sys\nfrom gwctl.cli.main import run\nrun(['history', '--quiet', '--svg', sys.argv[1]])\n"
        "heavy = {'playwright', 'yaml', 'cryptography', 'starlette', 'uvicorn', 'httpx', 'rich', 'psutil', 'asyncio'}\n"
        "sys.exit(' '.join(heavy & {name.partition('.')[0] for name in sys.modules}) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(told.folder / "x.svg")],
        env=told.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_journal_is_told_at_once(told: Home) -> None:
    """4 MB, the most before rotation, cost less than a second of one processor."""
    began_s = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    block = [json.loads(text) for text in WEEK[4:8]]
    entries = ({**block[n % 4], "n": n, "at": utc_ms(began_s + 60 * n)} for n in range(35_000))
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
    assert len(text) > 4_000_000
    journal_of(told).write_text(text)
    # CPU time, not wall time: the machine may be busy with other tests.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told.gwctl("history", "--since", "all").check(0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_a_real_run(home: Home) -> None:
    """The journal of real faults: supervisor killed and gateway adopted, then gateway killed, then down."""
    home.gwctl("up", "--sandbox").check(0)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: home.gwctl("status").exit_code != 0, 20, "the supervisor is gone")
    dead = data_of(home)
    assert (dead["state"], dead["outages"][0]["ended"]) == ("unknown", None)
    home.gwctl("up", "--sandbox").check(0)
    alive = data_of(home)
    assert alive["state"] == "ready"
    assert [(one["cause"], one["cure"]) for one in alive["outages"]] == [
        ("the supervisor ended unexpectedly", "adopted")
    ]
    assert len(alive["logins"]) == 1

    os.kill(home.status()["gateway"]["pid"], signal.SIGKILL)
    wait_for(lambda: [one for one in data_of(home)["outages"][1:] if one["ended"]], 60, "it is ready again")
    home.gwctl("down").check(0)
    data = data_of(home)
    killed = data["outages"][1]
    assert killed["cause"] == "the gateway ended"
    assert killed["cures"][0] == "restart"
    assert len(data["restarts"]) == 1
    assert data["state"] == "stopped"
    assert (data["damaged_lines"], data["lost_lines"]) == (0, 0)
    assert data["began"] == next(one["at"] for one in home.journal() if one.get("phase") == "ready")
    assert (data["uptime"], data["enough_data"]) == (None, False)
    assert "not enough data: ready " in home.gwctl("history").check(0).stdout
    whole_s = sum(data[f"{state}_s"] for state in ("ready", "starting", "down", "unknown", "stopped"))
    ended, began = (dt.datetime.fromisoformat(data[name]) for name in ("ended", "began"))
    assert whole_s == pytest.approx((ended - began).total_seconds(), abs=0.1)
