"""Following the docs from the top in an empty folder works: their blocks are run unchanged.

tests/integration/test_service_* follow the pages for systemd and cron, where those exist.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from cli_fakes import Home, RealHome, a_real_home
from following import BLOCK, DOCS, MARK, USER, blocks, editor, follow
from rig import built_in_ports
from webhook import a_webhook

from gwctl.sandbox.settings import Account

pytestmark = [pytest.mark.browser, pytest.mark.timeout(320)]

ELSEWHERE = ("how-to/systemd.md", "unattended.md")
PASSWORD = "canary-of-a-reader"
ALERTS = DOCS.parent / "deploy" / "prometheus" / "alerts.yaml"


@pytest.fixture(autouse=True)
def ports() -> Iterator[None]:
    """Keep the ports of the pages, which are the built-in ones, from other tests."""
    with built_in_ports():
        yield


@pytest.fixture
def paper(tmp_path: Path, real_release_zip: Path) -> Iterator[RealHome]:
    """Yield a home for the pages' paper account, which is not set up; IBKR is fake."""
    with a_real_home(tmp_path, real_release_zip, Account(username=USER, password=PASSWORD)) as home:
        del home.variables["GWCTL_USERNAME"]
        yield home


def test_tutorial(paper: RealHome) -> None:
    """A session on the sandbox, broken and recovered, and one of a paper account on the real gateway."""
    said = follow(
        "tutorial.md", paper.folder, paper.environment(EDITOR=str(editor(paper.folder, {"ibkr-password": PASSWORD})))
    )
    for one in ("portfolio/accounts", "DU", "● default: ready", "uptime", "stopped"):
        assert one in said, one
    assert PASSWORD not in said
    assert paper.status()["ready"]
    assert paper.status()["sandbox"] is False
    assert [submit.outcome for submit in paper.stand_in.state.desk.submits] == ["success"]


def test_pause(home: Home) -> None:
    """The session is given away, which the status says, and is ready again."""
    home.gwctl("up", "--sandbox").check(0)
    said = follow("how-to/pause-and-standby.md", home.folder, home.environment())
    assert "trading in TWS" in said
    assert home.status()["ready"]


@pytest.mark.needs("npm")
def test_clients(home: Home) -> None:
    """Each recipe gets the accounts, a price or an order's fill, with the certificate verified."""
    packages = Path(sys.prefix) / "clients" / "node_modules"
    assert packages.is_dir(), "there are no packages of Node.js: run scripts/set-up --tests"
    (home.folder / "node_modules").symlink_to(packages)
    home.gwctl("up", "--sandbox").check(0)
    said = follow("how-to/clients.md", home.folder, home.environment())
    answers = dict(re.findall(r"^\+ (?:python|node) (\S+)\n(.*?)(?=^\+ |\Z)", said, re.DOTALL | re.MULTILINE))
    assert answers.keys() == {block.name for block in blocks("how-to/clients.md") if block.name}
    assert re.search(r"'31': '\d+\.\d+'", answers.pop("with_websockets.py"))
    for one in (r"'31': '\d+\.\d+'", r"'total': '[\d,.]+ USD'", r"^DU1234567 Filled at \d+\.\d+$"):
        assert re.search(one, answers["with_orders.py"], re.MULTILINE), one
    for name, answer in answers.items():
        assert "DU1234567" in answer, name
    [curl] = re.findall(r"^\+ curl .*\n(.*)", said, re.MULTILINE)
    assert "DU1234567" in curl


def test_pytest(home: Home) -> None:
    """The page's tests run unchanged and pass."""
    assert "2 passed" in follow("how-to/pytest.md", home.folder, home.environment())
    assert home.left() == []


def test_ci(home: Home) -> None:
    """The page's lines for any CI; each leaves nothing running."""
    (home.folder / "test_it.py").write_text("def test_it(): pass\n")
    own = home.environment(GWCTL_HOME=str(home.folder / ".gwctl"))
    said = follow("how-to/ci.md", home.folder, own)
    assert said.count("1 passed") == 2
    assert said.count('"DU') >= 1
    assert not list((home.folder / ".gwctl").glob("state/profiles/*/supervisor.json"))


def test_sandbox(home: Home) -> None:
    """The page's bot buys on a sandbox without a browser, with the fixture alone and in exec; nothing is left."""
    said = follow("sandbox.md", home.folder, home.environment(GWCTL_BROWSER="/nonexistent/browser"))
    assert said.count("2 passed") == 2
    assert home.left() == []


def test_several_accounts(home: Home) -> None:
    """Two profiles get separate ports, and are brought up, shown and stopped together."""
    try:
        said = follow("how-to/several-accounts.md", home.folder, home.environment(GWCTL_PORT=None))
    finally:
        home.gwctl("down", "--all", "--quiet")
    assert "2 of 2 ready" in said
    assert said.count('"DU1234567"') >= 1
    assert home.left() == []


def test_monitoring(paper: RealHome, tmp_path: Path) -> None:
    """The health server answers at the page's port; Prometheus accepts the page's configuration."""
    shutil.copy(ALERTS, tmp_path)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    known = {"GWCTL_USERNAME": USER, "GWCTL_PASSWORD_FILE": str(tmp_path / "password")}
    promtool = str(Path(sys.prefix) / "promtool") if (Path(sys.prefix) / "promtool").exists() else "promtool"
    said = follow("how-to/monitoring.md", tmp_path, paper.environment(**known), {"promtool": promtool})
    assert "gwctl_ready{" in said
    assert "7 rules found" in said


def test_notifications(home: Home) -> None:
    """A program and a webhook get notifications."""
    with a_webhook() as server:
        own = {"/home/me": str(home.folder), "https://hooks.example.com": server.url}
        home.home.mkdir(mode=0o700)
        said = follow("how-to/notifications.md", home.folder, home.environment(), own)
    assert "FAILED" not in said
    assert server.events == ["test"]
    assert [path for path, _, _ in server.requests] == ["/gwctl/SECRET"]
    assert (home.folder / "news").read_text().count("\n") == 1


def test_doctor(paper: RealHome) -> None:
    """Doctor finds nothing wrong with a healthy home, and writes its bundle."""
    said = follow("reference/doctor.md", paper.folder, paper.environment(GWCTL_USERNAME=USER))
    assert "\nfailed " not in said
    assert (paper.folder / "report.zip").stat().st_mode & 0o777 == 0o600


SYMPTOMS = (
    "drops when I open TWS",
    "`Access Denied`",
    "logs in every night at 1",
    "2FA on a live account",
    "works with `curl -k` only",
    "Port 5000 is taken, or answers `403 Forbidden` on a Mac",
)


def test_problems(home: Home) -> None:
    """What to ask first says nothing bad of a session that is well; each problem is listed at the top."""
    home.gwctl("up", "--sandbox").check(0)
    said = follow("how-to/troubleshooting.md", home.folder, home.environment())
    assert "● default: ready" in said
    page = (DOCS / "how-to" / "troubleshooting.md").read_text()
    listed, _, answers = page.partition("\n## ")
    assert listed.count("](#") == answers.count("\n### ") > 20
    for symptom in SYMPTOMS:
        assert symptom in answers


def test_live_account(tmp_path: Path, real_release_zip: Path) -> None:
    """The rehearsals in the sandbox end as the page says; a live account with a TOTP secret is set up and ready."""
    secret = pyotp.random_base32()
    account = Account(username="YOUR_LIVE_USER", password=PASSWORD, mode="live", totp_secret=secret)
    typed = {"ibkr-password": PASSWORD, "ibkr-totp": f"{secret[:4]} {secret[4:]}"}
    with a_real_home(tmp_path, real_release_zip, account) as home:
        del home.variables["GWCTL_USERNAME"]
        said = follow("live-account.md", home.folder, home.environment(EDITOR=str(editor(home.folder, typed))))
        assert home.status()["ready"]
        assert [submit.outcome for submit in home.stand_in.state.desk.submits] == ["second_factor_asked", "success"]
    rehearsed = said.partition("YOUR_LIVE_USER")[0]
    for one in (
        "approve it within 180 s",
        "IBKR refused the second factor",
        "cleared the refused logins",
        "● default: ready · LIVE",
    ):
        assert one in said, one
    assert rehearsed.count("\nstopped\n") == 2
    assert PASSWORD not in said
    assert secret not in said


def test_marked_blocks_are_found() -> None:
    """A mark without a block, or a page that no test follows, would leave commands untested."""
    followed = {
        *("live-account.md", "reference/doctor.md", "sandbox.md", "tutorial.md", "how-to/pause-and-standby.md"),
        *(f"how-to/{name}.md" for name in ("ci", "clients", "monitoring", "notifications", "pytest", "python")),
        *(f"how-to/{name}.md" for name in ("several-accounts", "troubleshooting")),
        *ELSEWHERE,
    }
    for page in DOCS.rglob("*.md"):
        text = page.read_text()
        assert len(MARK.findall(text)) == len(BLOCK.findall(text)), page
        assert bool(MARK.search(text)) == (str(page.relative_to(DOCS)) in followed), page


def test_python(home: Home) -> None:
    """The page's programs run unchanged, and so do its notebook's cells, one after the other in a running loop."""
    said = follow("how-to/python.md", home.folder, home.environment())
    for one in ("'DU", "/v1/api ready", "stopped", "True", "no username or password:"):
        assert one in said, one
    assert home.left() == []
    cells = re.findall(
        r"(?<!-->\n)^```python\n(.*?)^```", (DOCS / "how-to/python.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(cells) == 2
    lines = "\n".join(f"    {line}" for cell in cells for line in cell.splitlines())
    notebook = home.folder / "cells.py"
    notebook.write_text(f"import asyncio\nasync def cells():\n{lines}\nasyncio.run(cells())\n")
    done = subprocess.run(
        [sys.executable, str(notebook)], env=home.environment(), capture_output=True, text=True, check=True
    )
    assert "authenticated" in done.stdout
    assert home.left() == []
