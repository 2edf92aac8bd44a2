"""A real supervisor and a real notification socket: which messages it sends, and when it sends none."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import Home
from rig import wait_for

WATCHDOG_S = 0.6
HEARD_WITHIN_S = 60.0


class ListeningManager:
    """A service manager that only listens."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.file))
        self.heard: list[str] = []

    def listen_until(self, word: str, timeout_s: float = HEARD_WITHIN_S) -> str:
        """Return the first datagram that contains ``word``."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                text = self._socket.recv(4096).decode()
            except TimeoutError:
                break
            self.heard.append(text)
            if word in text:
                return text
        raise AssertionError(f"{word} was not heard within {timeout_s} s: {self.heard}")

    def forget(self) -> None:
        """Discard what has arrived so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self.heard.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            pass

    def is_silent_for(self, length_s: float) -> bool:
        """Return whether nothing arrives for that long."""
        self._socket.settimeout(length_s)
        try:
            self.heard.append(self._socket.recv(4096).decode())
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[ListeningManager]:
    """Yield a listening service manager; a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="gwctl-") as folder:
        listening = ListeningManager(Path(folder))
        yield listening
        listening.close()


def stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


@pytest.mark.browser
def test_supervisor_tells_the_service_manager(home: Home, manager: ListeningManager) -> None:
    """READY and STATUS arrive, WATCHDOG only while it does not hang, STOPPING at the end; children send nothing."""
    asked = {"NOTIFY_SOCKET": str(manager.file), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    with home.start("up", "--foreground", "--sandbox", **asked) as supervisor:
        try:
            assert manager.listen_until("READY=1").splitlines()[1].startswith("STATUS=starting: ")
            for _ in range(3):
                manager.listen_until("WATCHDOG=1")
            # The gateway, the sandbox and the browser's worker run by now, and none may send messages for us.
            manager.listen_until("STATUS=logging_in: ")
            children = psutil.Process(supervisor.pid).children(recursive=True)
            assert len(children) > 1
            for child in children:
                assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(child.environ())
            supervisor.send_signal(signal.SIGSTOP)
            wait_for(lambda: stopped(supervisor.pid), 10, "it hangs")
            manager.forget()
            assert manager.is_silent_for(3 * WATCHDOG_S)
            supervisor.send_signal(signal.SIGCONT)
            manager.listen_until("WATCHDOG=1")
            supervisor.send_signal(signal.SIGTERM)
            manager.listen_until("STOPPING=1")
            assert supervisor.wait(timeout=60) == 143
        finally:
            supervisor.send_signal(signal.SIGCONT)
            supervisor.kill()
    assert sum("READY=1" in text for text in manager.heard) == 1
    assert sum("STOPPING=1" in text for text in manager.heard) == 1
    home.gwctl("down").check(0)


def test_only_the_foreground_speaks_to_a_service_manager(home: Home, manager: ListeningManager) -> None:
    """A background supervisor is not a service, even if its `up` had a manager's variables."""
    with home.start("up", "--sandbox", NOTIFY_SOCKET=str(manager.file), WATCHDOG_USEC="200000") as up:
        wait_for(lambda: any(entry["kind"] == "gateway" for entry in home.journal()), 60, "the loop turns")
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=60) == 143
    home.gwctl("down", NOTIFY_SOCKET=str(manager.file)).check(0)
    manager.forget()
    assert manager.heard == []


def test_final_code_is_zero_for_a_manager_that_knows_no_final_codes(home: Home) -> None:
    """With --zero-when-final, a final error exits with 0 and its reason; all other codes stay."""
    final = home.gwctl("up", "--foreground").check(78)
    zero = home.gwctl("up", "--foreground", "--zero-when-final").check(0)
    assert final.stderr == zero.stderr != ""
    missing = home.gwctl("up", "--foreground", "--sandbox", "--zero-when-final", GWCTL_BROWSER="/nowhere/chromium")
    missing.check(69)
    assert os.path.isdir(home.profile_dir)  # noqa: PTH112 - it got as far as holding the profile
    home.gwctl("down").check(0)
