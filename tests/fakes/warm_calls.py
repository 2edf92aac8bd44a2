"""Calls of gwctl from a process that has imported it already: each is a process of its own, at a third of the cost.

A process that has read the program forks for each call, and the fork gets the call's arguments, environment, folder and
streams. A call whose start itself matters runs the real program: with another locale, zone or variables of Python.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

PROGRAM = [sys.executable, "-m", "gwctl"]
_SEEN_AT_THE_START = ("LC_", "LANG", "PYTHON", "TZ", "HOME")
_LOADED = ("gwctl.cli", "gwctl.lifecycle", "gwctl.process")
"""Packages whose modules are imported before the first call, which is what the verbs of most tests import."""
_MESSAGE_BYTES = 1 << 20


def call(argv: tuple[str, ...], env: Mapping[str, str], cwd: Path | str, stdin: str, timeout_s: float) -> list[str]:
    """Run one call to its end; return its exit code, its output and its errors. Raise TimeoutExpired and kill it."""
    if any(
        env.get(name) != os.environ.get(name) for name in {*env, *os.environ} if name.startswith(_SEEN_AT_THE_START)
    ):
        done = subprocess.run(
            [*PROGRAM, *argv],
            env=env,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return [str(done.returncode), done.stdout, done.stderr]
    pipes = [os.pipe() for _ in range(4)]
    (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err), (ours_end, theirs_end) = pipes
    theirs = [theirs_in, theirs_out, theirs_err, theirs_end]
    try:
        message = json.dumps({"argv": argv, "env": dict(env), "cwd": str(cwd)}).encode()
        socket.send_fds(_server()[0], [message], theirs)
    finally:
        for fd in theirs:
            os.close(fd)
    texts = ["", ""]

    def read(number: int, fd: int) -> None:
        with os.fdopen(fd, encoding="utf-8", errors="surrogateescape") as stream:
            texts[number] = stream.read()

    readers = [threading.Thread(target=read, args=one) for one in ((0, ours_out), (1, ours_err))]
    for reader in readers:
        reader.start()
    with os.fdopen(ours_end) as end:
        pid = int(end.readline())
        killer = threading.Timer(timeout_s, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with contextlib.suppress(BrokenPipeError), os.fdopen(ours_in, "w", encoding="utf-8") as sending:
            sending.write(stdin)
        code = end.readline().strip()
        late = not killer.is_alive()
        killer.cancel()
    for reader in readers:
        reader.join()
    if late:
        raise subprocess.TimeoutExpired([*PROGRAM, *argv], timeout_s, *texts)
    return [code, *texts]


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Return the connection to this test process's server, which ends with it, and the server."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    return ours, server


def _serve(connection: socket.socket) -> None:
    """Return in each process that is to be a call; end when the test process has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the calls
    while True:
        message, fds, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 4)
        if not message:
            sys.exit()
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, end = fds
    if (pid := os.fork()) != 0:
        for fd in streams:
            os.close(fd)
        os.write(end, b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(end, b"%d\n" % code)
        os._exit(0)
    os.close(end)
    _become(json.loads(message), streams)


def _become(wanted: dict[str, object], streams: list[int]) -> None:
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)  # as Python itself does
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")
    os.chdir(str(wanted["cwd"]))
    os.environ.clear()
    os.environ.update(dict(wanted["env"]))  # type: ignore[call-overload]
    sys.argv = ["gwctl", *wanted["argv"]]  # type: ignore[misc]


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are no part of the program
    for package in _LOADED:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    importlib.import_module("gwctl.cli.main").main()
