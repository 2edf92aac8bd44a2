"""``logs/gw.DATE.log`` in the working directory, in the gateway's own line format, without any secret."""

from __future__ import annotations

import datetime as dt
from pathlib import Path


class GatewayLog:
    """Append lines to the day's log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, level: str, source: str, message: str, thrown: str | None = None) -> None:
        """Append one line, and below it what was thrown; a log that cannot be written is not worth an error."""
        now = dt.datetime.now().astimezone()
        stamp = now.strftime("%H:%M:%S.") + f"{now.microsecond // 1000:03d}"
        line = f"{stamp} {level:<5} vert.x-eventloop-thread-0 {source:<20} : {message}\n"
        if thrown is not None:
            line += f"io.vertx.core.impl.NoStackTraceThrowable: {thrown}\n"
        try:
            self._folder.mkdir(exist_ok=True)
            with (self._folder / f"gw.{now:%Y-%m-%d}.log").open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            return
