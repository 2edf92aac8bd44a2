"""A lock whose program ends its child when the lock is lost: what `consul lock [-shell=false] PREFIX CHILD…` does.

It stands in for Consul, of which Debian has no package any more. The server is a folder, in ``CONSUL_HTTP_ADDR``;
without it, the server is gone. Whoever overwrites the file PREFIX/.lock in it ends the holder's session. From Consul's
page of the command (TERM, KILL after 5 s, CONSUL_LOCK_HELD) and its source, command/lock/lock.go and api/lock.go:

- The signals go to the child alone, not to what that has started. Without ``-shell=false`` it is $SHELL -c "CHILD…".
- TERM and INT are passed on to the child, and then end it as the loss of the lock does.
- A lock is free as soon as the child has ended. If its session ended otherwise, or is not renewed, it is free after
  15 s (`lock-delay`, the session's TTL).
- The exit code says nothing of the child's, nor of the loss.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KILLS_AFTER_S = 5
HELD_BACK_S = 15
KILLED = "killing the child"


class Key:
    """The lock in the server's folder; OSError says that the server is gone."""

    def __init__(self, server: Path, prefix: str) -> None:
        self._server = server
        self._file = server / prefix / ".lock"
        self._session = str(os.getpid())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._server, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def take(self) -> bool:
        """Take the lock if it is free, and return whether it was."""
        with self._alone():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.exists() and time.time() - self._file.stat().st_mtime < HELD_BACK_S:
                return False
            self._file.write_text(self._session)
            return True

    def renew(self) -> bool:
        """Keep the session alive; return whether it still has the lock."""
        with self._alone():
            if self._file.read_text() != self._session:
                return False
            os.utime(self._file)
            return True

    def release(self) -> None:
        """Let the next one take the lock, if it is still ours."""
        with self._alone():
            if self._file.read_text() == self._session:
                self._file.unlink()


def main(argv: list[str]) -> int:
    """Hold the lock while the child runs."""
    assert argv.pop(0) == "lock"
    in_shell = argv[0] != "-shell=false"
    prefix, *child = argv[0 if in_shell else 1 :]
    key = Key(Path(os.environ["CONSUL_HTTP_ADDR"]), prefix)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    try:
        while not key.take():
            if asked:
                return 1
            time.sleep(0.1)  # until another process lets go: a lock file tells nobody
        _run([os.environ.get("SHELL", "/bin/sh"), "-c", " ".join(child)] if in_shell else child, key, asked)
        key.release()
    except OSError as error:
        sys.stderr.write(f"the server is gone: {error}\n")
        return 1
    return 0


def _run(argv: list[str], key: Key, asked: list[int]) -> None:
    """Run the child to its end, or end it when the lock is lost."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={**os.environ, "CONSUL_LOCK_HELD": "true"}) as child:
        try:
            while key.renew() and not asked:
                if child.poll() is not None:
                    return
                time.sleep(0.1)  # as Consul looks: at its lock and its child, in turn
        finally:
            child.terminate()
            try:
                child.wait(KILLS_AFTER_S)
            except subprocess.TimeoutExpired:
                sys.stderr.write(f"{KILLED}\n")
                child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
