"""ibind from PyPI as it is, against the real gateway jar: what `gwctl env` sets is all it needs, and it verifies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest
from rig import Rig

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

PROGRAM = Path(__file__).parents[1] / "fakes" / "ibind_client.py"
QUIET = {"IBIND_LOG_TO_FILE": "false", "IBIND_LOG_TO_CONSOLE": "false"}


def told(rig: Rig, *what: str) -> dict[str, Any]:
    """Return what the program says that `gwctl exec` runs."""
    done = rig.gwctl("exec", "--", sys.executable, str(PROGRAM), *what, **QUIET)
    assert done.exit_code == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@pytest.mark.wide
def test_ibind(rig: Rig) -> None:
    """Its REST and WebSocket clients are told all is well and verify our certificate; with other roots they refuse."""
    rig.gwctl("up").check(0)
    asked = told(rig, "ask")
    assert asked["base_url"] == f"https://localhost:{rig.port}/v1/api/"
    assert asked["verified_by"] == str(rig.home / "ca" / "ca.pem")
    assert (asked["healthy"], asked["authorised"]) == (True, True)
    assert asked["tickle"]["iserver"]["authStatus"]["authenticated"]
    assert asked["status"]["connected"]
    assert asked["validate"]["RESULT"]
    account = asked["accounts"][0]["id"]
    assert account.startswith("DU")
    assert asked["brokerage"]["accounts"] == [account]
    assert told(rig, "listen") == {"authenticated": True}

    foreign = certifi.where()
    refused = rig.gwctl("exec", "--", "env", f"IBIND_CACERT={foreign}", sys.executable, str(PROGRAM), "ask", **QUIET)
    assert refused.exit_code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in told(rig, "listen", foreign)["error"]
    assert rig.submits() == 1
