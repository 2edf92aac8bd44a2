"""Made-up secrets go through the whole program on the real gateway, and are then looked for in all that it left."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyotp
import pytest
from canaries import Canaries, Watch
from cli_fakes import RealHome, a_real_home, free_port, wait_for
from door_rig import Doorway

from gwctl.login.codes import PERIOD_S
from gwctl.sandbox.settings import Account

pytestmark = [pytest.mark.needs("tesseract"), pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(240)]

USERNAME, PASSWORD = "magpieuser7", "Quail-Harbor-5521"
TOTP_SECRET = "GEZDGNBVGY3TQOJQHERONHERONHERON2"
RIGHT_CODE, WRONG_CODE = "73529146", "86420975"
ASKED = "Plover-Query-3317"
"""What a program sends through the door."""
SERVED = ("/", "/status", "/live", "/readyz", "/metrics")
TOKEN = "state/profiles/default/door.token"
PRINTED = (
    ["login", "--explain"],
    ["login", "--explain", "--json"],
    ["status", "--json"],
    ["history", "--json"],
    ["logs", "-n", "9999"],
    ["logs", "--supervisor", "-n", "9999"],
    ["secret", "check"],
)


class Hoard:
    """Secrets in files outside the home, as a person keeps them, and what the profile is told of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.password = self._keep(folder / "password", PASSWORD)
        self.totp_secret = self._keep(folder / "totp", TOTP_SECRET)
        self.code = self._keep(folder / "code", RIGHT_CODE)

    def _keep(self, file: Path, text: str) -> Path:
        file.write_text(f"{text}\n")
        file.chmod(0o600)
        return file

    def command(self, key: str, file: Path) -> str:
        """Return the profile's line for a program that prints what a file holds."""
        return f"{key} = {json.dumps(['cat', str(file)])}\n"


@contextmanager
def a_watched_home(folder: Path, release_zip: Path, account: Account) -> Iterator[tuple[RealHome, Watch]]:
    """Yield a real home and the watch over everybody in it."""
    with a_real_home(folder, release_zip, account) as real, Watch((real.home,)) as watch:
        yield real, watch


def fail_and_look(real: RealHome, watch: Watch, planted: Canaries, said: str) -> None:
    """Lose the session, wait for the login that then fails, and find nothing in all that is said, kept and bundled."""
    real.stand_in.state.act("drop_session", {})
    wait_for(lambda: list(real.profile_dir.glob("evidence/*/cause.json")), 60, f"a failed login: {real.journal()}")
    calls = [real.gwctl(*argv) for argv in PRINTED]
    served = [serve(f"{real.status()['supervisor']['health_url']}{path}") for path in SERVED]
    bundle = real.home.parent / "report.zip"
    # Before the end: what the supervisor says goes into it.
    real.gwctl("doctor", "--bundle", str(bundle))
    real.gwctl("down").check(0)
    with zipfile.ZipFile(bundle) as archive:
        assert [one for name in archive.namelist() for one in planted.in_bytes(archive.read(name))] == []
        assert b"failed_login" in archive.read("last.json")
    assert said in calls[0].stdout
    assert all(call.stdout for call in calls), calls
    for argv, call in zip(PRINTED, calls, strict=True):  # the username is a field of the status, for programs
        wanted = planted.without("username") if argv == ["status", "--json"] else planted
        assert wanted.in_bytes((call.stdout + call.stderr).encode()) == [], argv
    assert planted.without("username").in_bytes(b"".join(served)) == []
    assert all(served)
    # The door's own token, and what a program of the user's gets from the user's environment, which it wrote down.
    expected = {f"door token in {TOKEN}", "username in notified"} if "door token" in planted.secrets else set()
    assert set(planted.in_files(real.home)) == expected
    # The username is a setting, and here it is in the variables of whoever calls gwctl.
    assert planted.without("username").in_processes(watch.told) == []
    # What was searched was there.
    assert {file.name for file in real.profile_dir.glob("evidence/*/*")} >= {"page.png", "page.txt", "steps.json"}
    assert [file for file in real.home.rglob("gw.*.log") if file.stat().st_size]
    assert all(watch.saw(word) for word in ("--handed-over", "gwctl.login.worker", "--type=renderer", "GatewayStart"))


def serve(url: str) -> bytes:
    """Return what the supervisor serves there, whatever the status; of the stream that has no end, the first part."""
    with httpx.stream("GET", url, trust_env=False) as answer:
        return next(answer.iter_bytes()) if url.endswith("/live") else answer.read()


def use_door(doorway: Doorway) -> None:
    """Send secrets through the door, with the token and without it, by request and by WebSocket."""
    body = json.dumps({"secret": ASKED}).encode()
    assert doorway.client.ask("GET", f"/v1/api/tickle?{ASKED}")[0] == 200
    assert doorway.client.ask("POST", f"/v1/api/none?{ASKED}", body, Cookie=ASKED)[0] >= 400
    for fields in ({"Authorization": f"Bearer {ASKED}"}, {"Origin": f"https://{ASKED}.example"}):
        assert doorway.client.ask("POST", f"/v1/api/tickle?{ASKED}", body, **fields)[0] >= 400

    async def listen() -> None:
        connection = await doorway.client.listen(f"/v1/api/ws?{ASKED}")
        await connection.send(ASKED)
        await connection.close()

    asyncio.run(listen())
    assert doorway.log().count("\n") >= 5


def cookies(real: RealHome) -> dict[str, str]:
    """Return every cookie that IBKR has given out."""
    state = real.stand_in.state
    assert state.sessions.given
    return {f"cookie {n}": token for n, token in enumerate((*state.sessions.given, *state._warmed))}


@pytest.mark.wide
def test_a_code_of_a_command_is_nowhere(tmp_path: Path, real_release_zip: Path) -> None:
    """Law 8: password by file, code by command, a login that is let in and one whose code is refused: no trace."""
    hoard = Hoard(tmp_path / "hoard")
    account = Account(USERNAME, PASSWORD)
    with a_watched_home(tmp_path, real_release_zip, account) as (real, watch):
        asked = {"kind": "app", "code": RIGHT_CODE}
        real.stand_in.state.set_scenario("second_factor", on=True, parameters=asked)
        real.write_config(
            '[defaults]\nsecond_factor = "command"\n' + hoard.command("second_factor_command", hoard.code)
        )
        real.variables |= {
            "GWCTL_PASSWORD_FILE": str(hoard.password),
            "GWCTL_TOTP_SECRET_FILE": str(hoard.totp_secret),
        }
        real.gwctl("up", "-v").check(0)
        hoard.code.write_text(f"{WRONG_CODE}\n")
        planted = Canaries(
            {
                "username": USERNAME,
                "password": PASSWORD,
                "TOTP secret": TOTP_SECRET,
                "right code": RIGHT_CODE,
                "wrong code": WRONG_CODE,
                **cookies(real),
            }
        )
        fail_and_look(real, watch, planted, "IBKR refused the second factor")


def test_a_code_by_time_is_nowhere(tmp_path: Path, real_release_zip: Path) -> None:
    """Law 8: a door in use, notifications, a code by time, a login let in, one whose page names the user: no trace."""
    hoard = Hoard(tmp_path / "hoard")
    account = Account(USERNAME, PASSWORD, totp_secret=TOTP_SECRET)
    with a_watched_home(tmp_path, real_release_zip, account) as (real, watch):
        notified = real.home / "notified"
        notify = f"notify_command = {json.dumps(['sh', '-c', f'env >>{notified}'])}\n"
        real.write_config("[defaults]\n" + hoard.command("password_command", hoard.password) + notify)
        real.variables |= {
            "GWCTL_TOTP_SECRET_FILE": str(hoard.totp_secret),
            "GWCTL_DOOR": f"127.0.0.1:{free_port()}",
            "GWCTL_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        real.gwctl("up", "-v").check(0)
        real.gwctl("notify", "test").check(0)
        doorway = Doorway(real)
        doorway.wait_open()
        use_door(doorway)
        window_s = [submit.at_s for submit in real.stand_in.state.desk.submits if submit.outcome == "success"][-1]
        planted = Canaries(
            {
                "username": USERNAME,
                "password": PASSWORD,
                "TOTP secret": TOTP_SECRET,
                "door token": doorway.client.token,
                "sent through the door": ASKED,
                "code by time": pyotp.TOTP(TOTP_SECRET).at(int(window_s // PERIOD_S * PERIOD_S)),
                **cookies(real),
            }
        )
        text = f"{USERNAME.upper()} may not have {PASSWORD.swapcase()}"
        real.stand_in.state.set_scenario("login_error", on=True, parameters={"text": text})
        fail_and_look(real, watch, planted, "shows a text that gwctl does not know")
        assert "GWCTL_EVENT" in notified.read_text()
        assert watch.saw("gwctl.door")
