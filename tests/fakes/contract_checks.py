"""What the contract says of every answer and every call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from cli_fakes import Done, Home

HEAVY = (
    *("playwright", "cryptography", "yaml", "rich", "starlette", "uvicorn", "httpx", "tomlkit", "keyring"),
    # With GWCTL_HOME set and no settings file; together they are a sixth of the time that `status` may take.
    *("asyncio", "platformdirs", "tempfile", "tomllib", "difflib"),
)


def check_envelope(done: Done, command: str, exit_code: int) -> dict[str, Any]:
    """Assert that stdout is exactly one envelope of the contract and return it."""
    assert done.exit_code == exit_code, done
    assert done.stdout.count("\n") == 1
    envelope: dict[str, Any] = json.loads(done.stdout)
    assert list(envelope) == ["gwctl", "command", "exit_code", "data", "error"]
    assert (envelope["gwctl"], envelope["command"], envelope["exit_code"]) == (1, command, exit_code)
    if envelope["error"] is not None:
        assert list(envelope["error"]) == ["code", "message", "hint"]
        assert envelope["data"] is None
        assert re.fullmatch(r"[a-z0-9_]+", envelope["error"]["code"])
        assert envelope["error"]["message"]
    return envelope


def imported(home: Home, *argv: str) -> set[str]:
    """Return which of the large libraries a call imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gwctl", *argv],
        env=home.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "gwctl.cli.main" in names
    return {name for name in HEAVY if name in names}
