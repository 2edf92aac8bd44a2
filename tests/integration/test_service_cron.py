"""`gwctl service … --cron` with Debian's real crontab, as a user with other lines in it."""

from __future__ import annotations

import os
import subprocess

import pytest
from cron_rig import BARE, CronUser, a_cron_user
from following import blocks

pytestmark = [
    pytest.mark.needs("cron"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a user and its crontab are root's to make"),
]

THEIRS = b'# \xe9crit \xe0 la main, \xffnot UTF-8\nMAILTO="me"\n\n\t 5 4 * * *   date  +\\%s\t\n#*/5 * * * * gwctl up\n'


def crontab(user: CronUser) -> bytes:
    """Return the user's crontab, byte for byte; empty if there is none."""
    return subprocess.run(["crontab", "-u", user.name, "-l"], capture_output=True, check=False).stdout


def put(user: CronUser, content: bytes) -> None:
    subprocess.run(["crontab", "-u", user.name, "-"], input=content, check=True)


def service(user: CronUser, verb: str, *argv: str, exit_code: int = 0) -> str:
    done = user.run([str(user.gwctl), "service", verb, "--cron", *argv]).check(exit_code)
    return done.stdout + done.stderr


def test_crontab_gets_a_line_and_loses_nothing() -> None:
    """The line is added, not doubled, kept after an edit, and removed; every other byte stays."""
    with a_cron_user() as user:
        try:
            check_lines(user)
            check_first_and_last(user)
            check_page(user)
        finally:
            subprocess.run(["crontab", "-u", user.name, "-r"], capture_output=True, check=False)


def check_lines(user: CronUser) -> None:
    put(user, THEIRS)
    service(user, "install", "--sandbox")
    installed = crontab(user)
    line = f"*/5 * * * * {user.gwctl} --profile default up --quiet --sandbox\n".encode()
    assert installed.startswith(THEIRS)
    assert installed.count(line) == 1
    assert "already installed" in service(user, "install")
    assert crontab(user) == installed
    # A second profile has its own line, removed without the first one's.
    service(user, "install", "--profile", "other")
    assert crontab(user).startswith(installed)
    service(user, "uninstall", "--profile", "other")
    assert crontab(user) == installed
    # Lines around the block stay; lines inside the block are the user's once edited.
    put(user, installed + b"@daily true # \xfe\n")
    service(user, "uninstall")
    assert crontab(user) == THEIRS + b"@daily true # \xfe\n"
    put(user, installed.replace(b"*/5 * * * * /", b"*/2 * * * * /"))
    edited = crontab(user)
    assert "edited by hand" in service(user, "install", exit_code=78)
    assert "edited by hand" in service(user, "uninstall", exit_code=78)
    assert crontab(user) == edited
    service(user, "install", "--force")
    assert crontab(user) == installed
    service(user, "uninstall")
    assert crontab(user) == THEIRS
    assert "not installed" in service(user, "uninstall")


def check_first_and_last(user: CronUser) -> None:
    """In an empty crontab the block is all there is; cron's command finds gwctl, its home and its file."""
    put(user, b"")
    password = user.write("pass word 5%", "canary")
    odd = user.home / "odd 100% home"
    done = user.run(
        ["env", f"GWCTL_HOME={odd}", str(user.gwctl), "service", "install", "--cron", "--password-file", str(password)]
    )
    done.check(0)
    lines = crontab(user).decode().splitlines()
    assert "canary" not in "".join(lines)
    # As cron does: sh runs the command up to the first unescaped per cent sign.
    command = next(line for line in lines if line.startswith("*/5")).removeprefix("*/5 * * * * ").replace("\\%", "%")
    called = user.run(["/bin/sh", "-c", command])
    assert called.exit_code == 78
    assert "has no username" in called.stderr
    user.run(["env", f"GWCTL_HOME={odd}", str(user.gwctl), "service", "uninstall", "--cron"]).check(0)
    gone = subprocess.run(["crontab", "-u", user.name, "-l"], capture_output=True, text=True, check=False)
    assert gone.returncode == 1


def check_page(user: CronUser) -> None:
    """Follow docs/unattended.md: write the line, show it, and remove it."""
    put(user, THEIRS)
    seen = []
    for block in blocks("unattended.md"):
        done = user.run(["env", f"PATH={user.gwctl.parent}:{BARE['PATH']}", "sh", "-eu", "-c", block.text]).check(0)
        seen.append((f"{user.gwctl} --profile default up --quiet" in done.stdout, crontab(user) == THEIRS))
    assert seen == [(True, False), (False, True)]
