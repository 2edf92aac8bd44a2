"""``gwctl status --web``: the supervisor's page in the browser of whoever asks."""

from __future__ import annotations

import webbrowser
from urllib.parse import urlsplit

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome
from gwctl.config import secrets_out_of_reach
from gwctl.lifecycle.manual_login import has_display


def open_page(call: Call, url: str) -> Outcome:
    """Open ``url`` where a browser can be shown, and print it in any case; from elsewhere it takes a tunnel."""
    opened = False
    if has_display(call.environment) or call.environment.get("BROWSER"):
        # The program that is started to show it inherits our environment (law 8).
        with secrets_out_of_reach():
            opened = webbrowser.open(url)
    if not opened:
        port = urlsplit(url).port
        call.say(f"no browser can be shown here; from another machine: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
    return Outcome({"url": url, "opened": opened}, url)
