"""A notification about an outage while it lasts: the real gateway, and an IBKR that fails."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from cli_fakes import a_real_home, wait_for
from webhook import a_webhook

from gwctl.history.alerts import LONG_OUTAGE_S
from gwctl.supervisor.service import HOUSEKEEPING_S

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.waits, pytest.mark.timeout(180)]


def test_an_outage_is_told_of_while_it_lasts(tmp_path: Path, real_release_zip: Path) -> None:
    """A supervisor that finds the outage's start in news.json notifies once, and again after the recovery."""
    with a_webhook() as webhook, a_real_home(tmp_path, real_release_zip) as home:
        address = tmp_path / "webhook"
        address.write_text(webhook.url)
        address.chmod(0o600)
        variables = {"GWCTL_PASSWORD": home.account.password, "GWCTL_NOTIFY_WEBHOOK_FILE": str(address)}
        home.gwctl("up", **variables).check(0)
        home.stand_in.state.set_scenario("http_503", on=True, parameters={})
        wait_for(lambda: not home.status()["ready"], 60, "IBKR is ill")
        news = home.profile_dir / "news.json"
        wait_for(news.exists, 10, "the outage's start is in the file")
        os.kill(json.loads((home.profile_dir / "supervisor.json").read_text())["pid"], signal.SIGKILL)
        # Instead of waiting half an hour, the outage began that much earlier.
        kept = json.loads(news.read_text())
        assert time.time() - 60 < kept["away_s"] < time.time()
        news.write_text(json.dumps({**kept, "away_s": kept["away_s"] - LONG_OUTAGE_S}))
        home.gwctl("up", "--timeout", "1", **variables).check(75)
        assert webhook.events == []
        wait_for(lambda: webhook.events, HOUSEKEEPING_S + 20, "it is told")
        assert webhook.events == ["long_outage"]
        told = webhook.bodies[0]
        assert told["text"].startswith("default: no session for 3")
        assert told["text"].endswith(". Next: gwctl status")
        assert told["severity"] == "warning"
        home.stand_in.state.set_scenario("http_503", on=False, parameters={})
        wait_for(lambda: webhook.events[1:], 60, "the session is back")
        assert webhook.events == ["long_outage", "recovered"]
        assert "ready again after 3" in webhook.bodies[1]["text"]
