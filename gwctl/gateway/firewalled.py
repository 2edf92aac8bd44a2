"""The firewall of a gateway's port (``gwctl.isolation.firewall``): loaded, looked for, removed; and its record.

The table is the kernel's and outlives us, so a record says from before it is loaded until after it is gone that it is
ours to remove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

from gwctl import process, state_file
from gwctl.errors import GwctlError
from gwctl.isolation.firewall import Firewall
from gwctl.paths import Paths
from gwctl.profile_registry import profile_at

_NFT_IN = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/run/current-system/sw/bin"
"""Where root's nft is: never in a folder that only a PATH names."""
_TIMEOUT_S = 10.0


def why_no_firewall(firewall: Firewall) -> str | None:
    """Return why the table cannot be loaded here, None if it can; the kernel is asked, and nothing is changed."""
    if sys.platform != "linux":
        return "only Linux has nftables"
    if os.geteuid() != 0:
        return "only root can load a firewall"
    return _nft("-c", fed=firewall.nft())


def is_loaded(firewall: Firewall) -> bool:
    """Return whether the table is there; only root can tell."""
    return _nft("list", "table", "inet", firewall.table) is None


def record_firewall(paths: Paths, firewall: Firewall) -> None:
    """Record the firewall that is loaded next; raise DiskTrouble."""
    state_file.write_json(paths.firewall_file, firewall.to_json())


def load_firewall(firewall: Firewall) -> str | None:
    """Load the table, in place of an earlier one, and return why that failed, None if it did not."""
    return _nft(fed=firewall.nft())


def unload_firewall(paths: Paths) -> None:
    """Remove the recorded table, unless a gateway listens behind it; what fails is left for the next time."""
    firewall = recorded_firewall(paths)
    if firewall is None:
        return
    holder = process.find_listener(firewall.port)
    if holder is not None and (name := profile_at(holder.cwd, paths)) is not None:
        if name != paths.profile:  # the port, and so the table, is another profile's by now
            paths.firewall_file.unlink(missing_ok=True)
        return
    if _nft(fed=firewall.nft_gone()) is None:
        with contextlib.suppress(OSError):
            paths.firewall_file.unlink(missing_ok=True)


def recorded_firewall(paths: Paths) -> Firewall | None:
    """Return the firewall that was loaded for the profile's gateway; a damaged record is set aside."""
    with contextlib.suppress(GwctlError):
        return Firewall.from_json(state_file.read_json(paths.firewall_file)[0])
    return None


def _nft(*arguments: str, fed: str = "") -> str | None:
    """Run nft, with ``fed`` as its rules, and return why it failed, None if it did not."""
    program = shutil.which("nft", path=_NFT_IN)
    if program is None:
        return "nft (nftables) is not installed"
    argv = [program, *arguments, *(["-f", "-"] if fed else [])]
    try:
        done = process.run(argv, timeout_s=_TIMEOUT_S, env={"LC_ALL": "C"}, fed=fed.encode())
    except (OSError, GwctlError) as error:
        return str(error)
    if done.exit_code == 0:
        return None
    return done.stderr.strip().partition("\n")[0] or f"nft: exit code {done.exit_code}"
