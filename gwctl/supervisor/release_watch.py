"""Find out once a day whether there is a newer release or gwctl, and leave the answer for the verbs."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from gwctl import process
from gwctl.release import newer

if TYPE_CHECKING:
    from gwctl.supervisor.wiring import Order

log = logging.getLogger("gwctl.supervisor")

FIRST_LOOK_S = 30.0
"""After the start, which has better uses for the machine."""
LOOK_EVERY_S = 3600.0


async def watch(order: Order) -> None:
    """Look until cancelled; return at once in the sandbox and where nobody wants it. Raise nothing."""
    if order.sandbox or not newer.is_wanted(order.settings, order.environment):
        return
    paths = order.settings.paths
    argv = [sys.executable, "-P", "-m", "gwctl.release.newer", str(paths.releases_dir), str(paths.release_check_file)]
    env = process.environment_of(process.Child.ONLINE, order.environment.variables)
    pause_s = FIRST_LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = LOOK_EVERY_S
        try:
            if await asyncio.to_thread(newer.is_due, paths.release_check_file):
                done = await process.run_async(argv, timeout_s=newer.BOUND_S + 5.0, env=env)
                log.debug("looked for what is newer: %s", done.text.strip())
        except Exception:  # the session comes first
            log.debug("looked for what is newer", exc_info=True)
