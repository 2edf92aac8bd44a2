"""Start, recognize and stop real processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gwctl import process
from gwctl.errors import TimedOut
from gwctl.process import Child, Completed, Identity, Spawned
from gwctl.process import identity as identity_module

_ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Spawned]]:
    """Collect what a test starts, and stop all of it after any test."""
    spawned: list[Spawned] = []
    yield spawned
    for left in process.inhabitants(tmp_path):
        os.kill(left.pid, signal.SIGKILL)
    for one in spawned:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pgid, signal.SIGKILL)
        one.popen.wait(10)
        for pipe in (one.stdin, one.stdout):
            if pipe is not None:
                pipe.close()


def _start(started: list[Spawned], folder: Path, script: str, **named: bool) -> Spawned:
    spawned = process.spawn(["bash", "-c", script], cwd=folder, env=_ENV, log_file=folder / "out.log", **named)
    started.append(spawned)
    return spawned


def _until(fact: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not fact():
        assert time.monotonic() < end_s, "the fact never came"
        time.sleep(0.01)  # between two looks at a fact, until the deadline


def _printed(folder: Path, text: str) -> Callable[[], bool]:
    return lambda: text in (folder / "out.log").read_text()


def test_a_child_leads_its_group_and_writes_a_private_log(started: list[Spawned], tmp_path: Path) -> None:
    """Its own session and group, its working directory, its output appended with mode 0600, its exit code."""
    (tmp_path / "out.log").write_text("before\n")
    (tmp_path / "out.log").chmod(0o600)
    spawned = _start(started, tmp_path, "echo out; echo err >&2; touch made; sleep 60")
    _until(_printed(tmp_path, "err"))
    assert os.getpgid(spawned.pid) == os.getsid(spawned.pid) == spawned.pgid == spawned.pid
    assert spawned.identity == process.identify(spawned.pid)
    assert spawned.identity.cwd == os.path.realpath(tmp_path)
    assert (tmp_path / "out.log").read_text() == "before\nout\nerr\n"
    _until((tmp_path / "made").exists)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    assert spawned.poll() is None
    assert (process.rss_bytes(spawned.identity) or 0) > 100_000


def test_the_end_is_seen_at_once_with_its_code(started: list[Spawned], tmp_path: Path) -> None:
    """The wait returns within moments of the end, not at the next tick."""

    async def run() -> float:
        spawned = _start(started, tmp_path, "read -r line; exit 7", pipes=True)
        waiting = asyncio.create_task(spawned.wait_ended())
        await asyncio.sleep(0)
        assert spawned.stdin is not None
        spawned.stdin.write(b"go\n")
        spawned.stdin.flush()
        begin_s = time.monotonic()
        assert await asyncio.wait_for(waiting, 10) == 7
        return time.monotonic() - begin_s

    assert asyncio.run(run()) < 2


def test_pipes_are_readable_by_the_loop(started: list[Spawned], tmp_path: Path) -> None:
    """A child's lines arrive as it prints them."""

    async def run() -> list[bytes]:
        spawned = _start(started, tmp_path, "echo one; echo two", pipes=True)
        reader = await spawned.stdout_reader()
        lines = [line async for line in reader]
        await spawned.wait_ended()
        return lines

    assert asyncio.run(run()) == [b"one\n", b"two\n"]


def test_a_process_lives_until_its_last_thread_has_let_go(tmp_path: Path, started: list[Spawned]) -> None:
    """Ended means that its port is free, even if the first thread is a zombie before the others end."""
    program = (
        "import socket, threading, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "for _ in range(20): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print(server.getsockname()[1], flush=True)\n"
        "time.sleep(60)"
    )
    for _ in range(10):
        spawned = process.spawn([sys.executable, "-c", program], cwd=tmp_path, env=_ENV, log_file=None, pipes=True)
        started.append(spawned)
        assert spawned.stdout is not None
        port = int(spawned.stdout.readline())
        os.kill(spawned.pid, signal.SIGTERM)
        while process.is_alive(spawned.identity):
            pass
        assert process.port_is_free(port)


@pytest.mark.parametrize("twin", [False, True])
def test_the_end_of_an_adopted_process_is_seen(
    tmp_path: Path, started: list[Spawned], monkeypatch: pytest.MonkeyPatch, *, twin: bool
) -> None:
    """The end of a process that is not our child is noticed by pidfd, and by the portable twin."""
    if twin:
        monkeypatch.setattr(identity_module, "open_pidfd", lambda _: None)
    _start(started, tmp_path, "sleep 60 & echo $!; wait")
    _until(_printed(tmp_path, "\n"))
    grandchild = process.identify(int((tmp_path / "out.log").read_text()))
    assert grandchild is not None

    async def run() -> None:
        waiting = asyncio.create_task(process.wait_ended(grandchild))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        os.kill(grandchild.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 10)

    asyncio.run(run())
    assert not process.is_alive(grandchild)


@pytest.mark.law(3)
def test_the_portable_twin_recognises_alike(tmp_path: Path, started: list[Spawned]) -> None:
    """The twin identifies the process by its creation time, and treats a zombie as dead."""
    spawned = _start(started, tmp_path, "sleep 60")
    born = identity_module._born_from_psutil(spawned.pid)
    assert born is not None
    portable = Identity(spawned.pid, born[0], spawned.identity.cwd)
    assert process.is_ours(portable)
    assert not process.is_alive(structs.replace(portable, created_s=born[0] - 5))
    os.kill(spawned.pid, signal.SIGKILL)
    _until(lambda: identity_module._born_from_psutil(spawned.pid) is None)
    assert identity_module._born_from_proc(spawned.pid) is None
    assert not process.is_alive(portable)
    assert not process.is_alive(spawned.identity)
    spawned.popen.wait(10)


def test_an_identity_survives_the_state_file(tmp_path: Path, started: list[Spawned]) -> None:
    """A written identity is read back equal; anything else is none."""
    known = _start(started, tmp_path, "sleep 60").identity
    assert Identity.from_json(json.loads(json.dumps(known.to_json()))) == known
    wrongs: list[Any] = [None, [], {}, {"pid": "1"}, known.to_json() | {"pid": 1}, known.to_json() | {"cwd": None}]
    for wrong in wrongs:
        assert Identity.from_json(wrong) is None


def test_stop_ends_the_whole_tree(tmp_path: Path, started: list[Spawned]) -> None:
    """Shell, child and a grandchild in another session all end, and none that obeyed is killed."""
    script = "setsid sleep 61 & sleep 62 & (sleep 63 & wait) & echo up; wait"
    spawned = _start(started, tmp_path, script)
    _until(_printed(tmp_path, "up"))
    _until(lambda: len(process.descendants(spawned.identity)) == 4)
    family = process.descendants(spawned.identity)
    report = asyncio.run(process.stop([spawned.identity], grace_s=10))
    assert not report.survivors
    assert not report.killed
    assert not [one for one in family if process.is_alive(one)]
    assert spawned.poll() == -signal.SIGTERM


def test_who_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path, started: list[Spawned]) -> None:
    """SIGKILL comes after the deadline, for those that are left, and the report names them."""
    script = "(trap '' TERM; echo up; while :; do sleep 0.1; done) & wait"
    spawned = _start(started, tmp_path, script)
    _until(_printed(tmp_path, "up"))
    stubborn = process.descendants(spawned.identity)[0]
    report = asyncio.run(process.stop([spawned.identity], grace_s=0.3))
    assert stubborn.pid in {one.pid for one in report.killed}
    assert spawned.identity in report.ended
    assert not report.survivors
    assert not process.members_of_group(spawned.pgid)


def test_one_held_by_sigstop_still_ends(tmp_path: Path, started: list[Spawned]) -> None:
    """A stopped process gets its chance to end by SIGTERM."""
    spawned = _start(started, tmp_path, "echo up; sleep 60")
    _until(_printed(tmp_path, "up"))
    os.killpg(spawned.pgid, signal.SIGSTOP)
    report = asyncio.run(process.stop([spawned.identity], grace_s=10))
    assert not report.killed
    assert not report.survivors


@pytest.mark.parametrize("wrong", [{"created_s": 1.0}, {"cwd": "/"}, {"boot_id": "another boot"}])
@pytest.mark.law(3)
def test_what_does_not_match_is_left_alone(tmp_path: Path, started: list[Spawned], wrong: dict[str, object]) -> None:
    """A pid with another creation time, boot or folder is not ours: no signal, and the report says so."""
    spawned = _start(started, tmp_path, "sleep 60")
    stranger = structs.replace(spawned.identity, **wrong)
    report = asyncio.run(process.stop([stranger], grace_s=0.1))
    assert [one.pid for one in report.left_alone] == [spawned.pid]
    assert report.left_alone[0].why
    assert spawned.poll() is None


def test_stopping_the_stopped_is_nothing(tmp_path: Path, started: list[Spawned]) -> None:
    """Stopping an ended process reports nothing and raises nothing."""
    spawned = _start(started, tmp_path, "exit 0")
    spawned.popen.wait(10)
    assert asyncio.run(process.stop([spawned.identity], grace_s=1)) == process.StopReport()


def test_the_holder_of_a_port_is_named_without_its_arguments(tmp_path: Path, started: list[Spawned]) -> None:
    """A busy port's error has pid, name, user and folder, but not the arguments, which may contain a secret."""
    program = (
        "import socket, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "time.sleep(60)"
    )
    spawned = process.spawn(
        [sys.executable, "-c", program, "hunter2"], cwd=tmp_path, env=_ENV, log_file=tmp_path / "out.log"
    )
    started.append(spawned)
    _until(_printed(tmp_path, "\n"))
    port = int((tmp_path / "out.log").read_text())
    holder = process.find_listener(port)
    assert holder is not None
    assert holder.pid == spawned.pid
    assert str(spawned.pid) in holder.describe()
    assert "hunter2" not in holder.describe()
    assert process.listens(spawned.identity, port)
    assert not process.port_is_free(port)


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_port_held_anywhere_on_loopback_is_not_free(family: socket.AddressFamily, address: str) -> None:
    """Any process that would receive a client of localhost makes the port busy; after it ends, the port is free."""
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        assert not process.port_is_free(port)
    _until(lambda: process.port_is_free(port))


def test_a_child_that_ends_at_once_is_known_by_its_folder(
    tmp_path: Path, started: list[Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder cannot be read any more, but what it left works there: a gateway's script may leave an orphan."""
    monkeypatch.setattr(sys.modules["gwctl.process.spawn"], "identify", lambda _pid: Identity(1, 2.0, "", "boot"))
    started.append(process.spawn(["true"], cwd=tmp_path, env=_ENV, log_file=None))
    assert started[0].identity == Identity(1, 2.0, os.path.realpath(tmp_path), "boot")


def test_a_free_port_is_free_while_other_threads_start_programs() -> None:
    """A child has a copy of each socket until it runs its program: of the test of one address, too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    _until(lambda: process.port_is_free(port))
    done = threading.Event()

    def start_programs() -> None:
        while not done.is_set():
            subprocess.run(["true"], check=True)

    thread = threading.Thread(target=start_programs)
    thread.start()
    try:
        assert [process.port_is_free(port) for _ in range(2000)] == [True] * 2000
    finally:
        done.set()
        thread.join()


@pytest.mark.law(8)
def test_children_get_no_secret() -> None:
    """Only harmless variables pass; passwords and TOTP secrets never, not even as an extra (law 8)."""
    base = {
        "PATH": "/bin", "LC_ALL": "C", "XDG_RUNTIME_DIR": "/run", "AWS_SECRET": "s", "GWCTL_PASSWORD": "p",
        "GWCTL_TOTP_SECRET": "t", "GWCTL_HOME": "/h", "HTTPS_PROXY": "http://u:p@proxy",
    }  # fmt: skip
    extra = {"GWCTL_PYTHON": "/py", "GWCTL_PASSWORD_FILE": "/f"}
    assert process.environment_of(Child.OURS, base, extra) == {
        "PATH": "/bin", "LC_ALL": "C", "XDG_RUNTIME_DIR": "/run", "GWCTL_PYTHON": "/py"
    }  # fmt: skip


def test_rotation_keeps_the_writers_descriptor_working(tmp_path: Path, started: list[Spawned]) -> None:
    """After copy and truncation the child's next line is the log's first, and old ones move up to the limit."""
    log = tmp_path / "out.log"
    spawned = _start(started, tmp_path, "while read -r line; do echo $line >&2; done", pipes=True)
    assert spawned.stdin is not None
    for number in range(4):
        line = f"line-{number}" + "x" * 50
        spawned.stdin.write(line.encode() + b"\n")
        spawned.stdin.flush()
        _until(_printed(tmp_path, line))
        assert log.read_text() == f"{line}\n"
        assert not process.rotate_by_truncation(log, max_bytes=100, keep=2)
        assert process.rotate_by_truncation(log, max_bytes=10, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.log", "out.log.1", "out.log.2"]
    assert "line-3" in (tmp_path / "out.log.1").read_text()
    assert "line-2" in (tmp_path / "out.log.2").read_text()
    assert (tmp_path / "out.log.1").stat().st_mode & 0o777 == 0o600


def test_a_short_command_has_a_deadline_for_all_of_its_tree() -> None:
    """A command whose child holds the pipe open is killed as a whole at its deadline."""
    env = {"PATH": os.environ["PATH"]}
    assert process.run(["bash", "-c", "echo a; echo b >&2; exit 3"], timeout_s=10, env=env) == Completed(
        3, b"a\n", "b\n"
    )
    begin_s = time.monotonic()
    with pytest.raises(TimedOut):
        process.run(["bash", "-c", "sleep 60 & sleep 60"], timeout_s=0.2, env=env)
    assert time.monotonic() - begin_s < 10


def test_who_lives_in_a_folder_is_found(tmp_path: Path, started: list[Spawned]) -> None:
    """The processes that work in a folder are found even without any record of them."""
    spawned = _start(started, tmp_path, "echo up; exec sleep 60")
    _until(_printed(tmp_path, "up"))
    assert [one.pid for one in process.inhabitants(tmp_path)] == [spawned.pid]


def test_watching_loads_no_psutil() -> None:
    """Recognizing a process on Linux loads no library: `status` answers in 150 ms."""
    program = (
        "import os, sys; from gwctl import process; me = process.identify(os.getpid())\n"
        "assert process.is_ours(me); print('psutil' in sys.modules or 'asyncio' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "False"


def test_a_running_program_is_known_by_its_name(tmp_path: Path) -> None:
    """Only while it runs."""
    program = tmp_path / "named-daemon"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o700)
    assert not process.any_named("other-daemon", "named-daemon")
    with subprocess.Popen([program, "100"]) as running:
        try:
            assert process.any_named("other-daemon", "named-daemon")
        finally:
            running.kill()
    assert not process.any_named("other-daemon", "named-daemon")
