"""Tell the service manager how the supervisor is, as sd_notify(3) says: a datagram a word, and nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger("gwctl.supervisor")

_STATUS_CHARACTERS = 200


class ServiceManager:
    """Whoever listens at ``NOTIFY_SOCKET``.

    READY means that the supervisor holds the profile and its loop turns, not that the session is ready: a night of
    maintenance at IBKR must not fail a start. A socket that is gone or full costs the word, never the loop.
    """

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        # A leading @ stands for the zero byte of an abstract socket, which no variable can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._has_begun = self._is_stopping = False

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> ServiceManager | None:
        """Return who is to be told, None if nobody asked for it. A watchdog for another process is not obeyed."""
        address = variables.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        watchdog_s = None
        if variables.get("WATCHDOG_PID") in {None, str(os.getpid())}:
            with contextlib.suppress(KeyError, ValueError):
                watchdog_s = int(variables["WATCHDOG_USEC"]) / 1e6
        return cls(address, watchdog_s)

    def witness(self, entry: dict[str, Any]) -> None:
        """Pass on what a journal entry means for the service manager."""
        match entry:
            case {"kind": "phase", "phase": phase, "reason": reason}:
                self._say_phase(str(phase), str(reason))
            case {"kind": "end"}:
                self.say_stopping()

    def _say_phase(self, phase: str, reason: str) -> None:
        status = f"STATUS={' '.join(f'{phase}: {reason}'.split())[:_STATUS_CHARACTERS]}"
        if phase == "stopping":
            self.say_stopping(status)
        elif self._has_begun:
            self._send(status)
        else:
            # The first phase is the first turn of the loop. Until it has arrived, READY goes along with each word.
            self._has_begun = self._send(f"READY=1\n{status}")

    def say_stopping(self, *more: str) -> None:
        """Say that the end has begun, once."""
        words = [*([] if self._is_stopping else ["STOPPING=1"]), *more]
        if words:
            self._is_stopping = self._send("\n".join(words))

    async def keep_watch(self, is_live: Callable[[], bool]) -> None:
        """Ping the watchdog at half of its time, while the loop turns; without a watchdog return at once."""
        while self._watchdog_s:
            if is_live():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, text: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("the service manager could not be told: %s", error.strerror)
            return False
        return True
