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
from typing import Any

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
        return run([*PROGRAM, *argv], env, cwd, stdin, timeout_s)
    pipes = [os.pipe() for _ in range(4)]
    (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err), (ours_end, theirs_end) = pipes
    theirs = [theirs_in, theirs_out, theirs_err, theirs_end]
    try:
        message = json.dumps({"argv": argv, "env": dict(env), "cwd": str(cwd)}).encode()
        socket.send_fds(_server()[0], [message], theirs)
    finally:
        for fd in theirs:
            os.close(fd)
    said = [b"", b""]

    def read(number: int, fd: int) -> None:
        with os.fdopen(fd, "rb") as stream:
            said[number] = stream.read()

    # As subprocess.run, this waits for the end of the output, too, which a program in the background may hold open.
    readers = [threading.Thread(target=read, args=one, daemon=True) for one in ((0, ours_out), (1, ours_err))]
    for reader in readers:
        reader.start()
    code, late = "", False
    with os.fdopen(ours_end) as end:
        pid = int(end.readline())
        killer = threading.Timer(timeout_s, os.kill, (pid, signal.SIGKILL))
        killer.daemon = True
        killer.start()
        try:
            with contextlib.suppress(BrokenPipeError), os.fdopen(ours_in, "w", encoding="utf-8") as sending:
                sending.write(stdin)
            code = end.readline().strip()
        finally:
            late = not killer.is_alive()
            killer.cancel()
            if not code:  # interrupted: until its end is told, the pid is the call's
                os.kill(pid, signal.SIGKILL)
    if late:
        raise subprocess.TimeoutExpired([*PROGRAM, *argv], timeout_s)
    for reader in readers:
        reader.join()
    return [code, *(text.decode().replace("\r\n", "\n") for text in said)]


def run(command: list[str], env: Mapping[str, str], cwd: Path | str, stdin: str, timeout_s: float) -> list[str]:
    """Run a program from its start to its end; return and raise what ``call`` does."""
    done = subprocess.run(
        command, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return [str(done.returncode), done.stdout, done.stderr]


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Return the connection to this test process's server, which ends with it, and the server."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # The last word is for who looks for processes of gwctl that a test left.
        argv = [sys.executable, __file__, str(theirs.fileno()), "gwctl"]
        server = subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd="/")
    return ours, server


def _serve(connection: socket.socket) -> None:
    """Return in each process that is to be a call; end when the test process has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the calls
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which stop things with further calls
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
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _become(json.loads(message), streams)


def _become(wanted: dict[str, Any], streams: list[int]) -> None:
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    # As Python itself does, with what the locale says, which is the server's.
    sys.stdin = os.fdopen(0, closefd=False, encoding=sys.stdin.encoding, errors=sys.stdin.errors)
    sys.stdout = os.fdopen(1, "w", closefd=False, encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = [str(Path(importlib.import_module("gwctl").__file__ or "").with_name("__main__.py")), *wanted["argv"]]


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are no part of the program
    for package in _LOADED:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    importlib.import_module("gwctl.cli.main").main()
