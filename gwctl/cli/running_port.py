"""The port a profile really uses: a flag of its `up` is not in the settings of the next call."""

from __future__ import annotations

from gwctl.config import Settings
from gwctl.state_file import read_json


def port_of(settings: Settings) -> int:
    """Return the running gateway's port, or the settings' one."""
    raw, _ = read_json(settings.paths.supervisor_state_file)
    port = (raw or {}).get("gateway_port")
    return int(port) if isinstance(port, int) else int(settings["port"])
