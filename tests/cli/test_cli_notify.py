"""Notifications from the outside: the real program, a real webhook server, the real Apprise."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from canaries import Canaries, Watch
from chaos.worlds import plain_release
from cli_fakes import Home, RealHome, a_real_home, one_line_with_hint, wait_for
from processes import words_of
from webhook import Webhook, a_webhook

from gwctl.integrations import notify

PATH_TOKEN, BEARER, APPRISE_TOKEN = "Plover-Path-3381", "Heron-Bearer-7719", "Curlew-Topic-5540"
CANARIES = Canaries({"path": PATH_TOKEN, "bearer": BEARER, "apprise": APPRISE_TOKEN})


class Addresses:
    """Secrets in files outside the home, and the variables that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)

    def keep(self, **secrets: str) -> dict[str, str]:
        """Write each secret to a file and return the variables that name the files."""
        for name, text in secrets.items():
            (self.folder / name).write_text(f"{text}\n")
            (self.folder / name).chmod(0o600)
        return {f"GWCTL_{name.upper()}_FILE": str(self.folder / name) for name in secrets}

    def all_of(self, webhook: Webhook) -> dict[str, str]:
        """Return the variables for a webhook with a token and for Apprise, all at one server."""
        return self.keep(
            notify_webhook=f"{webhook.url}/{PATH_TOKEN}",
            notify_webhook_token=BEARER,
            notify_urls=f"json://127.0.0.1:{webhook.port}/{APPRISE_TOKEN}",
        )


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    """Return a place for secrets."""
    return Addresses(tmp_path / "addresses")


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealHome]:
    """Yield an ordinary profile."""
    with a_real_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        yield home


# The verb.


def test_every_way_is_tried(home: Home, addresses: Addresses) -> None:
    """One message per way and its result; exit 0 if all were sent and 69 if one was not; no URL is printed."""
    home.write_config('[defaults]\nnotify_command = ["true"]\n')
    with a_webhook() as webhook:
        variables = addresses.all_of(webhook)
        told = home.gwctl("notify", "test", **variables).check(0)
        paths = {path for path, _, _ in webhook.requests}
        webhook.answers = [404]
        home.write_config('[defaults]\nnotify_command = ["false"]\n')
        del variables["GWCTL_NOTIFY_URLS_FILE"]
        failed = home.gwctl("notify", "test", "--json", **variables).check(69)
        shown = home.gwctl("profile", "show", **variables).check(0)
        checked = home.gwctl("secret", "check", "notify_webhook", **variables).check(0)
    assert [line.split(" (")[0] for line in told.stdout.splitlines()] == [
        "command: sent: notify_command exited with code 0",
        "webhook: sent: answered 200",
        "apprise: sent: sent to 1 of 1",
    ]
    assert paths == {f"/{PATH_TOKEN}", f"/{APPRISE_TOKEN}"}
    data = failed.envelope["data"]
    assert data["profile"] == "default"
    assert [(way["way"], way["ok"], way["said"]) for way in data["ways"]] == [
        ("command", False, "notify_command exited with code 1"),
        ("webhook", False, "answered 404"),
    ]
    assert [list(way) for way in data["ways"]] == [["way", "source", "ok", "said", "took_s"]] * 2
    assert checked.stdout == "notify_webhook: $GWCTL_NOTIFY_WEBHOOK_FILE\n"
    for done in (told, failed, shown, checked):
        assert CANARIES.in_bytes((done.stdout + done.stderr).encode()) == []


def test_an_address_in_a_program_s_arguments_is_masked(home: Home) -> None:
    """`profile show` prints no token from a command's arguments, in text and in JSON."""
    home.write_config(
        "[defaults]\n"
        f'notify_command = ["curl", "-d", "x", "https://ntfy.example/{PATH_TOKEN}"]\n'
        f'notify_urls_command = ["echo", "slack://{APPRISE_TOKEN}/a mailto://me:{BEARER}@example.com"]\n'
    )
    for done in (home.gwctl("profile", "show").check(0), home.gwctl("profile", "show", "--json").check(0)):
        assert CANARIES.in_bytes(done.stdout.encode()) == []
        assert "https://" in done.stdout
        assert "slack://" in done.stdout


def test_an_address_in_the_settings_file_is_refused(home: Home) -> None:
    """Law 8: config.toml is no place for a secret URL; the error says which places are."""
    home.write_config(f'[defaults]\nnotify_webhook = "https://example.com/{PATH_TOKEN}"\n')
    text = one_line_with_hint(home.gwctl("notify", "test").check(78))
    assert "gwctl secret set notify_webhook, or notify_webhook_command, or GWCTL_NOTIFY_WEBHOOK_FILE" in text
    assert PATH_TOKEN not in text


@pytest.fixture
def without_apprise(tmp_path: Path) -> dict[str, str]:
    """Return the variables for a Python that finds no Apprise."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['apprise'] = None\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_without_the_extra(home: Home, without_apprise: dict[str, str]) -> None:
    """Apprise URLs without Apprise: 78 and what to install, from `notify test` and before `up` starts."""
    variables = {"GWCTL_NOTIFY_URLS": f"slack://{APPRISE_TOKEN}", "GWCTL_USERNAME": "u", "GWCTL_PASSWORD": "p"}
    for argv in (["notify", "test"], ["up"]):
        text = one_line_with_hint(home.gwctl(*argv, **variables, **without_apprise).check(78))
        assert "notify_urls is set ($GWCTL_NOTIFY_URLS), but Apprise is not installed" in text
        assert text.endswith("pip install apprise")
    assert home.left() == []


# The supervisor.


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_somebody_is_told_of_the_end_and_of_what_comes_after(real: RealHome, addresses: Addresses) -> None:
    """A refused password ends the supervisor, which notifies first; a later supervisor reports the recovery.

    URLs and tokens are in no file of the home, in no output, and in no process's arguments or environment.
    """
    real.write_config("[defaults]\n")
    with a_webhook() as webhook, Watch((real.home,)) as watch:
        variables = addresses.all_of(webhook)
        refused = real.gwctl("up", "-v", GWCTL_PASSWORD="wrong-canary", **variables).check(77)
        wait_for(lambda: len(webhook.requests) == 2, 20, "both ways have told it")
        by_webhook = next(body for path, _, body in webhook.requests if path == f"/{PATH_TOKEN}")
        assert (by_webhook["event"], by_webhook["severity"]) == ("needs_person", "critical")
        assert by_webhook["text"].startswith(
            "default: the supervisor gave up: IBKR refused the username or the password"
        )
        wait_for(lambda: real.left() == [], 20, "it ends when it has told")
        # The same server now fails: the log reports that without its URL.
        webhook.answers = [404]
        real.gwctl("up", "-v", GWCTL_PASSWORD=real.account.password, **variables).check(0)
        wait_for(lambda: len(webhook.requests) >= 4, 20, "both ways are told again")
        assert webhook.requests[2][2].get("event", webhook.requests[3][2].get("event")) == "recovered"
        log = real.profile_dir / "logs" / "supervisor.log"
        wait_for(lambda: log.read_text().count("did not send recovered") == 2, 20, "the log says that it was not told")
        printed = [real.gwctl(*argv, **variables) for argv in (
            ["status", "--json"], ["history", "--json"], ["logs", "-n", "9999"], ["profile", "show", "--json"],
        )]  # fmt: skip
        real.gwctl("down").check(0)
    assert "webhook: sent needs_person" in log.read_text()
    assert (real.profile_dir / "news.json").stat().st_mode & 0o777 == 0o600
    assert CANARIES.in_files(real.home) == []
    assert CANARIES.in_bytes("".join(done.stdout + done.stderr for done in [refused, *printed]).encode()) == []
    assert watch.saw("notify_child")
    assert CANARIES.in_processes(watch.told) == []


def wait_ready(real: RealHome, entries: int) -> None:
    """Return once the session is ready again after that many journal entries."""

    def ready() -> bool:
        phases = [entry["phase"] for entry in real.journal()[entries:] if entry["kind"] == "phase"]
        return phases[-1:] == ["ready"]

    wait_for(ready, 60, "ready again")


def tellers(real: RealHome) -> list[psutil.Process]:
    """Return the processes that are sending to a webhook now."""
    return [one for one in real.processes() if "notify_child" in words_of(one)]


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_a_hanging_webhook_delays_no_cure_and_no_end(real: RealHome, addresses: Addresses) -> None:
    """While a webhook hangs, a killed gateway is replaced before the sender gives up; `down` does not wait."""
    ibkr = real.stand_in.state
    with a_webhook("hang") as webhook:
        variables = addresses.keep(notify_webhook=webhook.url)
        real.gwctl("up", GWCTL_PASSWORD=real.account.password, **variables).check(0)
        assert webhook.requests == []
        ibkr.set_scenario("second_factor", on=True, parameters={"kind": "push", "approve": "approved"})
        entries = len(real.journal())
        ibkr.act("drop_session", {})
        assert webhook.hanging.acquire(timeout=60)
        wait_ready(real, entries)
        # The same process hangs before the gateway is killed and after the session is back: nothing waited for it.
        hanging = tellers(real)
        entries = len(real.journal())
        os.kill(json.loads((real.profile_dir / "gateway.json").read_text())["java"]["pid"], signal.SIGKILL)
        wait_ready(real, entries)
        assert len(hanging) == 1
        assert hanging[0] in tellers(real), "the cure took as long as the process that hangs"
        assert set(webhook.events) == {"second_factor"}
        began_s = time.monotonic()
        real.gwctl("down").check(0)
        down_s = time.monotonic() - began_s
        assert real.left() == []
    assert down_s < notify.TIMEOUT_S / 2, "the child that hangs was waited for"
