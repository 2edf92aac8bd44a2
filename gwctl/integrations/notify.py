"""Tell a person what is worth being told: by a program of the user's own, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from gwctl.errors import GwctlError
from gwctl.gateway import process

log = logging.getLogger("gwctl.supervisor")

TIMEOUT_S = 20.0
MOST_AT_ONCE = 4


class CommandNotifier:
    """Runs ``notify_command`` for each piece of news; a program that hangs or fails holds nobody up.

    It is told by its environment: ``GWCTL_EVENT`` (a code), ``GWCTL_TEXT`` (one line), ``GWCTL_PROFILE``.
    """

    def __init__(self, argv: Sequence[str], profile: str, environ: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._profile = profile
        self._environ = environ
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, code: str, text: str) -> None:
        """Begin to tell and return at once; where too many are under way, the news is in the log only."""
        if len(self._under_way) >= MOST_AT_ONCE:
            log.warning("nobody was notified of %s: too many notifications are under way", code)
            return
        task = asyncio.get_running_loop().create_task(self._run(code, text))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self, *, grace_s: float) -> None:
        """Leave what is under way ``grace_s`` to come to its end, then kill it: nothing of ours outlives us."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=grace_s)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, code: str, text: str) -> None:
        extra = {"GWCTL_EVENT": code, "GWCTL_TEXT": text, "GWCTL_PROFILE": self._profile}
        env = process.child_environment(extra, self._environ)
        try:
            done = await process.run_watched(self._argv, timeout_s=TIMEOUT_S, env=env)
            if done.exit_code != 0:
                log.warning("notify_command ended with exit code %d", done.exit_code)
        except OSError as error:
            log.warning("notify_command does not start: %s", error.strerror)
        except GwctlError as error:
            log.warning("notify_command: %s", error.message)
