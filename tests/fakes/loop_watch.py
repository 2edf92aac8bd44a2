"""Run gwctl and write down what its event loop's own thread writes to files: ``loop_watch.py REPORT gwctl's words``.

An audit hook sees each file that Python opens for writing, makes, renames, locks or removes; fsync has no audit event
and is wrapped. One line of JSON a finding, with the lines of gwctl that led to it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Protocol


class SupportsFileno(Protocol):
    """An open file, as far as os.fsync cares."""

    def fileno(self) -> int: ...


OPENS_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = frozenset(
    {
        "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
        "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move", "fcntl.flock", "fcntl.lockf",
    }
)  # fmt: skip
HARMLESS = ("/dev/null", "/proc/")


def in_the_loop() -> bool:
    """Say whether this is the main thread with its loop running: what blocks here blocks the supervisor."""
    return threading.current_thread() is threading.main_thread() and asyncio._get_running_loop() is not None


def watch(report: int) -> None:
    """Write to ``report``, from now on, what the loop's thread changes on a disk."""

    def found(event: str, what: object) -> None:
        frames = traceback.extract_stack()[:-2]
        ours = [
            f"{one.filename.rpartition('/gwctl/')[2]}:{one.lineno} {one.name}"
            for one in frames
            if "/gwctl/" in one.filename
        ]
        os.write(report, json.dumps({"event": event, "what": str(what), "by": ours[-6:]}).encode() + b"\n")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, int) or not flags & OPENS_TO_WRITE or str(path).startswith(HARMLESS):
                return
        elif event not in CHANGES:
            return
        if in_the_loop():
            found(event, args[0])

    real_fsync = os.fsync

    def fsync(fd: int | SupportsFileno) -> None:
        if in_the_loop():
            handle = fd if isinstance(fd, int) else fd.fileno()
            found("os.fsync", Path(f"/proc/self/fd/{handle}").readlink())
        real_fsync(fd)

    os.fsync = fsync
    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    sys.argv = ["gwctl", *sys.argv[2:]]
    from gwctl.cli.main import main

    main()
