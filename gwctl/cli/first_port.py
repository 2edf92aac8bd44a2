"""The port of a profile's first gateway: where none is set and the built-in one is in use, the next free one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gwctl.cli.call import Call
from gwctl.config import BUILT_IN, Settings


def settle_port(call: Call, settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """Return the settings with the port that the profile has from now on, and say so where it is another one.

    A port that somebody set stays, and so does that of a profile which had a gateway before: clients may know it. The
    choice is kept in the profile's folder, where every later call finds it. Raises GwctlError.
    """
    from gwctl.gateway import process
    from gwctl.state_file import read_json, write_json

    setting, paths = settings.values["port"], settings.paths
    _, lost = read_json(paths.chosen_port_file)
    if lost is not None:
        call.say(f"the file with the profile's port was damaged, and is now {lost}")
    had_a_gateway = paths.gateway_state_file.exists() or (lost is None and paths.gateway_served_file.exists())
    known = setting.source != BUILT_IN or had_a_gateway
    if known or process.port_is_free(setting.value):
        return settings
    holder = process.find_listener(setting.value)
    if holder is not None and holder.cwd == os.path.realpath(paths.gateway_dir):
        return settings
    from gwctl.roster import free_port_beside

    port = free_port_beside(paths, process.port_is_free)
    write_json(paths.chosen_port_file, {"port": port})
    who = "somebody" if holder is None else holder.describe()
    call.say(f"port {setting.value} is held by {who}: profile {call.profile_name!r} has port {port} from now on")
    return call.settings(flags)
