"""The supervisor's loop writes nothing that can block: a disk may hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import loop_watch
from cli_fakes import Home, wait_for
from rig import delete

END_BOUND_S = 30.0


class Watched:
    """A supervisor in the foreground whose loop is observed."""

    def __init__(self, home: Home, *argv: str) -> None:
        self.home = home
        self.report = home.folder / "writes.jsonl"
        self.call = subprocess.Popen(
            [sys.executable, "-B", loop_watch.__file__, str(self.report), "up", "--sandbox", "--foreground", *argv],
            env=home.environment(),
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_ready(self, than: int | None = None) -> None:
        """Wait until it is ready, with a gateway other than pid ``than``."""
        wait_for((self.home.profile_dir / "supervisor.json").exists, 30, "the supervisor has begun")
        wait_for(lambda: (now := self.home.status())["ready"] and now["gateway"]["pid"] != than, 40, "ready")

    def end(self, *down: str) -> None:
        """Stop it."""
        self.home.gwctl("down", *down).check(0)
        self.call.wait(END_BOUND_S)

    def found(self) -> list[str]:
        """Return what the loop's thread wrote, each kind once."""
        lines = self.report.read_text().splitlines()
        return sorted({f"{one['event']} {one['what']} {one['by']}" for one in map(json.loads, lines)})


@contextmanager
def _watched(home: Home) -> Iterator[Watched]:
    watched = Watched(home)
    try:
        yield watched
    finally:
        watched.call.kill()
        watched.call.wait(10)


def _killed(home: Home) -> int:
    pid = int(home.status()["gateway"]["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


def _lost(home: Home) -> None:
    entries = len(home.journal())
    home.gwctl("sandbox", "do", "drop_session").check(0)
    wait_for(lambda: any(one.get("phase") == "ready" for one in home.journal()[entries:]), 40, "ready again")


def test_nothing_is_written_from_the_loop(home: Home) -> None:
    """From `up` through logins, a killed gateway, a lost session, commands and adoption to `down`."""
    with _watched(home) as first:
        first.wait_ready()
        first.wait_ready(_killed(home))
        _lost(home)
        home.gwctl("login").check(0)
        home.gwctl("restart").check(0)
        first.end("--keep-session")
    with _watched(home) as second:
        second.wait_ready()
        for name in ("gateway.json", "ledger.sandbox.json", "sandbox.json"):
            (home.profile_dir / name).write_text("damaged")
        home.status()
        second.wait_ready(_killed(home))
        _lost(home)
        second.end()
    assert first.found() == []


def test_nothing_is_written_from_the_loop_when_the_folder_is_deleted(home: Home) -> None:
    """The profile's folder is held again, and its records are written, outside the loop."""
    with _watched(home) as watched:
        watched.wait_ready()
        pid = home.status()["gateway"]["pid"]
        delete(home.profile_dir)
        watched.wait_ready(pid)
        watched.end()
    assert watched.found() == []
