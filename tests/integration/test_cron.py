"""`* * * * * gwctl up --quiet` under Debian's cron, as a user with only a home and a settings file."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from cron_rig import BARE, CronUser, a_cron_user, cron
from rig import free_port, wait_for

from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, StandInConfig

pytestmark = [
    pytest.mark.needs("cron"),
    pytest.mark.real_gateway,
    pytest.mark.browser,
    pytest.mark.waits,
    # cron runs once a minute, and the test waits for two runs.
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="a user, a crontab and cron itself are root's to make"),
]

A_CALL_WITHIN_S = 100.0
"""A minute until cron's next call, and the time of the call itself on a busy machine."""


@contextmanager
def a_profile(user: CronUser, release_zip: Path) -> Iterator[RunningStandIn]:
    """Give the user an ordinary profile in the default place, whose IBKR is fake."""
    account = Account(username="reader01", password=f"canary{secrets.token_hex(12)}")
    release = shutil.copy(release_zip, user.home / "release.zip")
    os.chown(release, user.uid, user.gid)
    password = user.write("password", account.password)
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), account=account)) as stand_in:
        settings = {
            "username": account.username,
            "maintenance": [],
            "port": free_port(),
            "upstream": stand_in.url,
            "release": str(release),
            "password_command": ["cat", str(password)],
        }
        text = "[defaults]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        assert tomllib.loads(text)["defaults"] == settings
        user.write(".config/gwctl/config.toml", text)
        yield stand_in


def status(user: CronUser) -> dict[str, Any]:
    """Return the ``data`` of status, called as the user."""
    data: dict[str, Any] = json.loads(user.run([str(user.gwctl), "status", "--json"]).stdout)["data"]
    return data


def test_cron_is_enough(real_release_zip: Path, record_property: Callable[[str, object], None]) -> None:
    """The line in the crontab alone brings the session up, and adopts it silently after a `kill -9`."""
    with a_cron_user() as user, a_profile(user, real_release_zip) as stand_in:
        codes, said = user.home / "codes", user.home / "said"
        call = f'{user.gwctl} up --quiet >>{said} 2>&1; echo "$?" >>{codes}'

        def ended(calls: int) -> list[str]:
            lines = codes.read_text().splitlines() if codes.exists() else []
            return lines if len(lines) >= calls else []

        with cron(user.name, f"* * * * * {user.name} {call}"):
            assert wait_for(lambda: ended(1), A_CALL_WITHIN_S, "cron's first call has ended") == ["0"], said.read_text()
            first = status(user)
            check_first(user, first, stand_in)
            os.kill(first["supervisor"]["pid"], signal.SIGKILL)
            assert wait_for(lambda: ended(2), A_CALL_WITHIN_S, "cron's second call has ended") == ["0", "0"]
        second = status(user)
        assert second["ready"]
        assert second["supervisor"]["pid"] != first["supervisor"]["pid"]
        # Law 4: the same gateway with the same session, and no password was sent for it.
        assert second["gateway"]["pid"] == first["gateway"]["pid"]
        assert len(stand_in.state.desk.submits) == 1
        assert said.read_text() == ""


def check_first(user: CronUser, first: dict[str, Any], stand_in: RunningStandIn) -> None:
    """Assert that the session is up, as the user, with only cron's environment."""
    assert first["ready"]
    assert len(stand_in.state.desk.submits) == 1
    state = user.home / ".local/state/gwctl/profiles/default"
    assert (state / "supervisor.json").stat().st_uid == user.uid
    for who in ("supervisor", "gateway"):
        process = psutil.Process(first[who]["pid"])
        assert process.uids().real == user.uid
        variables = process.environ()
        assert variables["HOME"] == str(user.home)
        assert variables["PATH"].endswith(BARE["PATH"])
        assert not [name for name in variables if name.startswith("XDG_") or name in {"TERM", "DISPLAY"}]
    assert psutil.Process(first["supervisor"]["pid"]).terminal() is None
