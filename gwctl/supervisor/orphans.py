"""Find what runs for a profile without a record: it was lost, damaged, or is not written yet (laws 3 and 10)."""

from __future__ import annotations

import os
from pathlib import Path

from gwctl.paths import Paths
from gwctl.process import Identity, has_open, inhabitants
from gwctl.state_file import write_json


def unrecorded_supervisors(paths: Paths) -> list[Identity]:
    """Return the processes that are provably a background supervisor of the profile, though no record says so.

    Proven are all three: it works in the profile's folder, it leads a session of its own, and it has the supervisor's
    lock open. A `gwctl down` has the lock open, too, but runs where its user stands.
    """
    return _leaders_with(paths, paths.supervisor_lock)


def unrecorded_stand_ins(paths: Paths) -> list[Identity]:
    """Return the processes that are provably the profile's stand-in for IBKR: known in the same way, by its log."""
    return _leaders_with(paths, paths.logs_dir / "sandbox.log")


def unrecorded_gateway(paths: Paths, port: int) -> list[Identity]:
    """Return who holds ``port`` and works in the profile's own gateway folder."""
    from gwctl.gateway.launch import find_unrecorded

    known = find_unrecorded(paths, port, paths.gateway_dir)
    return [] if known is None else [known.java]


def record_lost_gateway(paths: Paths, port: int) -> None:
    """Write the record of a running gateway anew where it was lost or damaged: it is adopted, not in our way (law 4).

    Who adopts it asks first whether it answers with our key. Raises DiskTrouble.
    """
    from gwctl import process
    from gwctl.gateway import launch

    if process.port_is_free(port) or launch.adopt(paths) is not None:
        return
    release_path = (paths.gateway_dir / "bin").resolve().parent
    lost = launch.find_unrecorded(paths, port, release_path)
    if lost is not None:
        write_json(paths.gateway_state_file, lost.to_json())


def _leaders_with(paths: Paths, file: Path) -> list[Identity]:
    return [one for one in inhabitants(paths.profile_dir) if _leads_session(one.pid) and has_open(one, file)]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False
