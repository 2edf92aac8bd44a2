"""Invented secrets are planted in failing logins, and then searched for in everything that such a login leaves."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import login_rig as rig
import pictures
import pyotp
import pytest
from canaries import Canaries, Watch
from failing_logins import PASSWORD, PLANTED, RIGHT_CODE, TOTP_SECRET, USERNAME, WAYS, WRONG_CODE, Way, standing

from gwctl.login.browser import started
from gwctl.login.codes import PERIOD_S
from gwctl.login.outcome import LoginOutcome, LoginReport
from gwctl.sandbox.ibkr import RunningStandIn

pytestmark = [pytest.mark.browser, pytest.mark.needs("tesseract")]

SANDBOX = "Sandbox: not Interactive Brokers"
COOKIE = "c0ffee5ca1ab1e0ddba11"


def handed_out(ibkr: RunningStandIn, login: rig.Login) -> Canaries:
    """Return what was planted, with this login's TOTP code and cookies."""
    found = {f"cookie {n}": token for n, token in enumerate((*ibkr.state.sessions.given, *ibkr.state._warmed))}
    if login.report.totp_window is not None:
        found["code by time"] = pyotp.TOTP(TOTP_SECRET).at(login.report.totp_window * PERIOD_S)
    return PLANTED.and_also(**found)


def told_by(login: rig.Login) -> bytes:
    """Return everything that a login reports to its parent, except the cookies, which the parent needs."""
    said: dict[str, object] = login.report.to_json() | {"cookies": [], "seen": [step.name for step in login.steps]}
    return json.dumps([said, repr(login.report), repr(login.questions)]).encode()


def words_in(report: LoginReport) -> str:
    """Return the text that can be read in the evidence's picture."""
    assert report.evidence is not None
    return pictures.read(Path(report.evidence) / "page.png")


@pytest.mark.parametrize(
    ("way", "variant"),
    [
        pytest.param(
            way,
            page,
            id=f"{way.name}-{page}".replace(" ", "_"),
            marks=pytest.mark.wide if way.for_soak or page != way.pages[0] else (),
        )
        for way in WAYS
        for page in way.pages
    ],
)
def test_a_failed_login_tells_nobody(way: Way, variant: str, tmp_path: Path) -> None:
    """Law 8: no secret, code or cookie is in what a failed login writes, reports, pictures or passes to a process."""
    with standing(tmp_path, way, variant) as (url, pin, ibkr), Watch() as watch:
        login = way.log_in(url, pin, tmp_path)
    assert login.report.outcome is way.outcome, login.report
    planted = handed_out(ibkr, login)
    assert ("code by time" in planted.secrets) is ("totp_secret" in way.job)
    assert bool(ibkr.state.sessions.given) is (way.name == "login forgotten")
    assert planted.in_files(tmp_path) == []
    assert planted.in_bytes(told_by(login)) == []
    assert planted.in_processes(watch.told) == []
    words = words_in(login.report)
    assert planted.in_picture(words) == [], words
    # The search had something to search: an empty picture, or unseen processes, would hide a secret just as well.
    assert SANDBOX in words
    assert watch.saw("gwctl.login.worker")
    assert watch.saw("--type=renderer")


TELLTALE = f"""<!DOCTYPE html><title>{USERNAME}</title><body><h1>{SANDBOX}</h1><input name=other>
<p>Hello <b>{USERNAME[:6]}</b><i>{USERNAME[6:]}</i></p><p id=jar></p>
<iframe srcdoc="<input value={PASSWORD}><p>{PASSWORD}"></iframe>
<script>
document.cookie = "XYZAB={COOKIE}; path=/";
jar.textContent = document.cookie;
fetch("/sso/here;jsessionid={COOKIE}?token={COOKIE}");
fetch("/sso/{USERNAME}/{"".join(f"%{char:02X}" for char in PASSWORD.encode())}");
console.log(document.cookie);
console.log("{"x" * 292}{PASSWORD}");
</script>"""


def test_a_page_that_tells_all_it_knows(tmp_path: Path) -> None:
    """Law 8: a page that puts secrets into paths, its console, its frames and its text does not get one kept."""
    key = rig.make_key(tmp_path)
    way = Way("telltale", LoginOutcome.PAGE_UNKNOWN)
    with rig.serve(lambda _port: rig.PageServer(TELLTALE), key) as url, Watch() as watch:
        login = way.log_in(url, key.pin, tmp_path)
    assert login.report.outcome is way.outcome, login.report
    # A cut-off piece of a secret counts too.
    planted = PLANTED.and_also(cookie=COOKIE, half=PASSWORD[:8])
    words = words_in(login.report)
    assert SANDBOX in words
    assert planted.in_files(tmp_path) + planted.in_picture(words) + planted.in_processes(watch.told) == []


def test_the_search_finds_what_lies_about(tmp_path: Path) -> None:
    """A planted secret in a file, a file's name, packed or encoded, in other letters: each is found."""
    (tmp_path / "plain").write_text(f"x{PASSWORD.swapcase()}y")
    (tmp_path / f"log-{USERNAME}").write_text("nothing")
    (tmp_path / "log.gz").write_bytes(gzip.compress(PASSWORD.encode()))
    (tmp_path / "wide").write_bytes(b"\0" + USERNAME.encode("utf-16-le"))
    for shift in range(3):
        (tmp_path / f"base64-{shift}").write_bytes(base64.b64encode(b"_" * shift + TOTP_SECRET.encode() + b"more"))
    odd = Canaries({"odd": "pass/word 5+5"})
    (tmp_path / "quoted").write_text(f"GET /{quote('pass/word 5+5', safe='').lower()}/ HTTP/1.1")
    code = Canaries({"code": "135790"})
    (tmp_path / "numbers").write_text("0.135790 1135790 135790ab34 T135790Z")
    (tmp_path / "innocent").write_text("0.135790 1135790 135790ab34 Username, Password; quail, magpie")
    assert PLANTED.in_files(tmp_path) == [
        "TOTP secret in base64-0",
        "TOTP secret in base64-1",
        "TOTP secret in base64-2",
        f"username in the name of log-{USERNAME}",
        "password in log.gz",
        "password in plain",
        "username in wide",
    ]
    assert odd.in_files(tmp_path) == ["odd in quoted"]
    assert code.in_files(tmp_path) == ["code in numbers"]


def test_the_search_finds_what_a_process_was_told() -> None:
    """A planted secret in the arguments or the environment of a child process is found."""
    with Watch() as watch:
        process = subprocess.Popen(
            [sys.executable, "-c", "input()", f"--password={PASSWORD}"],
            env={**os.environ, "CODE": RIGHT_CODE},
            stdin=subprocess.PIPE,
        )
        watch.look()
        process.communicate(b"\n", timeout=30)
    found = PLANTED.in_processes(watch.told)
    assert sorted(text.partition(f" of {process.pid} ")[0] for text in found) == [
        "password in the cmdline",
        "right code in the environ",
    ]


def test_the_search_reads_what_a_picture_shows(tmp_path: Path) -> None:
    """Photographed without the mask, the same pages show the content of their fields and their errors."""
    way = next(way for way in WAYS if way.name == "code refused")

    async def photograph(url: str, pin: str) -> None:
        async with started(rig.browser(), pin, tmp_path / "browser", deadline_s=30.0, headless=True) as context:
            page = context.pages[0]
            await page.goto(url)
            await page.click("label[for=toggle1]")
            await page.fill("#xyz-field-username", USERNAME)
            await page.fill("#xyz-field-password", PASSWORD)
            await page.screenshot(path=tmp_path / "form.png")
            await page.press("#xyz-field-password", "Enter")
            await page.fill("#xyz-field-silver-response", WRONG_CODE)
            await page.screenshot(path=tmp_path / "code.png")
            await page.press("#xyz-field-silver-response", "Enter")
            await page.wait_for_selector(".xyz-errormessage:visible")
            await page.screenshot(path=tmp_path / "error.png")

    with standing(tmp_path, way, "current") as (url, pin, _ibkr):
        asyncio.run(photograph(url, pin))
    assert PLANTED.in_picture(pictures.read(tmp_path / "form.png")) == ["username"]
    assert PLANTED.in_picture(pictures.read(tmp_path / "code.png")) == ["wrong code"]
    assert PLANTED.in_picture(pictures.read(tmp_path / "error.png")) == ["username", "password", "wrong code"]
