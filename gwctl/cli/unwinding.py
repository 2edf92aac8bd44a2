"""Be ended by a signal as by Ctrl-C: everything that was begun is cleaned up on the way out."""

from __future__ import annotations

import signal


class Terminated(BaseException):
    """SIGTERM arrived, or SIGHUP where that is told apart; unwinds like Ctrl-C so that clean-up runs."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number
