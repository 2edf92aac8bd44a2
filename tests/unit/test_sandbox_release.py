"""The sandbox release's archive, and the sandbox's page in docs/."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

from gwctl.sandbox.fake_ibkr import StandIn
from gwctl.sandbox.market.contracts import CONTRACTS
from gwctl.sandbox.market.feed import KINDS
from gwctl.sandbox.market.market_data import fields_of
from gwctl.sandbox.market.prices import Prices
from gwctl.sandbox.market_routes import MarketApi
from gwctl.sandbox.settings import (
    ACTIONS,
    SANDBOX_PASSWORD,
    SANDBOX_USERNAME,
    SCENARIOS,
    Account,
    StandInConfig,
    build_standin_release,
)

DOCS = Path(__file__).parents[2] / "docs" / "sandbox.md"


def test_the_archive_has_the_standard_shape(tmp_path: Path) -> None:
    """The archive has no top folder, everything that a Standard Release needs, and our marker."""
    target = build_standin_release(tmp_path / "standin.zip")
    with zipfile.ZipFile(target) as archive:
        names = set(archive.namelist())
        assert json.loads(archive.read("gwctl-standin.json"))["version"]
        jar = zipfile.ZipFile(io.BytesIO(archive.read("dist/gwctl-standin.jar")))
    assert names >= {"bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html"}
    assert "dist/main.txt" not in names
    assert not [name for name in names if name.startswith("/") or ".." in name or "__pycache__" in name]
    assert jar.namelist() == ["__main__.py"]


def test_the_archive_is_the_same_each_time(tmp_path: Path) -> None:
    """Two builds have the same bytes, so the same address never looks like a new release."""
    one, two = (build_standin_release(tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert one == two


def test_the_demo_page_has_the_hard_coded_port(tmp_path: Path) -> None:
    """Both files of the demo page name port 5000, as in the real release, to test the rewriting."""
    with zipfile.ZipFile(build_standin_release(tmp_path / "standin.zip")) as archive:
        assert b"https://localhost:5000/v1/api" in archive.read("root/webapps/demo/index.html")
        assert b"wss://localhost:5000/v1/api/ws" in archive.read("root/webapps/demo/gateway.demo.js")


def test_the_docs_list_every_scenario_and_action() -> None:
    """docs/sandbox.md has a line with name, parameters and sentence for each scenario and action, and no others."""
    lines = DOCS.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `") and not line.startswith("| `/")]
    expected = [
        f"| `{name}` | {', '.join(f'`{key}`' for key in entry.parameters) or 'none'} | {entry.summary} |"
        for table in (SCENARIOS, ACTIONS)
        for name, entry in table.items()
    ]
    assert rows == expected


def test_the_play_account_is_paper() -> None:
    """The sandbox's built-in account is a paper account with the documented name, and prints no password."""
    account = Account()
    assert (account.username, account.password) == (SANDBOX_USERNAME, SANDBOX_PASSWORD)
    assert account.account_id.startswith("DU")
    assert account.login_type == 2
    assert "password" not in repr(account)


def test_the_docs_list_what_is_served() -> None:
    """docs/sandbox.md names every path and every WebSocket topic of the market, and how many fields a snapshot has."""
    page = DOCS.read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    paths = {path for path, _, _ in MarketApi(StandIn(StandInConfig(admin_token="t"))).table()}
    assert {path.rstrip("/") for path in paths} - named == set()
    assert {f"{action}{kind}" for action in "su" for kind in KINDS} - named == set()
    fields = fields_of(Prices(1, 0.0), CONTRACTS[265598], 1.0)
    assert f"{len(fields)} [fields]" in page
