"""A throwaway user with gwctl installed and a crontab of its own, for Debian's real cron. Needs root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rig import Done, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
CRON = "/usr/sbin/cron"
CRON_PID_FILE = Path("/var/run/crond.pid")
BARE = {"PATH": "/usr/bin:/bin"}
CALL_TIMEOUT_S = 60


@dataclass(frozen=True)
class CronUser:
    """One user of the machine: its home, and the gwctl that everybody may run."""

    name: str
    uid: int
    gid: int
    home: Path
    gwctl: Path

    def run(self, argv: list[str], cwd: str = "/") -> Done:
        """Run a program as this user, with nothing in its environment but the PATH that cron gives."""
        done = subprocess.run(
            argv,
            env=BARE,
            cwd=cwd,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, text: str) -> Path:
        """Write a private file of this user's."""
        file = self.home / name
        for folder in reversed(file.relative_to(self.home).parents):
            (self.home / folder).mkdir(mode=0o700, exist_ok=True)
            os.chown(self.home / folder, self.uid, self.gid)
        file.write_text(text)
        file.chmod(0o600)
        os.chown(file, self.uid, self.gid)
        return file

    def processes(self) -> list[psutil.Process]:
        """Return what runs as this user."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.uids().real == self.uid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def calls_under_way(self) -> list[int]:
        """Return the pids of what cron started as this user and has not ended yet."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "--quiet" in " ".join(process.cmdline()):
                    found.append(process.pid)
        return found


@contextmanager
def a_cron_user() -> Iterator[CronUser]:
    """Yield a new user that has gwctl; at the end nothing of it may run, and it is removed again."""
    folder = Path(tempfile.mkdtemp(prefix="gwctl-cron-"))
    folder.chmod(0o755)
    name, home = f"gwctl{os.getpid()}", folder / "home"
    subprocess.run(["useradd", "--system", "--shell", "/bin/sh", "--home-dir", str(home), name], check=True)
    entry = pwd.getpwnam(name)
    user = CronUser(name, entry.pw_uid, entry.pw_gid, home, folder / "venv" / "bin" / "gwctl")
    try:
        home.mkdir(mode=0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        install(user, folder / "venv")
        try:
            yield user
        finally:
            wait_for(lambda: not user.calls_under_way(), CALL_TIMEOUT_S, "cron's last call has ended")
            down = user.run([str(user.gwctl), "down", "--quiet"])
        assert down == Done(0, "", "")
        assert [process.cmdline() for process in user.processes()] == []
        assert not [left for left in left_in_tmp(user) if left.name != f"hsperfdata_{name}"]
    finally:
        for left in left_in_tmp(user):
            shutil.rmtree(left)
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(folder)


def left_in_tmp(user: CronUser) -> list[Path]:
    """Return what this user's programs have left in the machine's own folder; each JVM leaves its counters there."""
    return [path for path in Path("/tmp").iterdir() if path.lstat().st_uid == user.uid]  # noqa: S108 - the JVM's own


def install(user: CronUser, venv: Path) -> None:
    """Install gwctl where the user may run it: this checkout and its virtual environment may be for us alone."""
    subprocess.run([_python_for(user), "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(venv.glob("lib/python3*/site-packages"))
    packages = Path(psutil.__file__).parents[1]
    shutil.copytree(
        packages, site, dirs_exist_ok=True, copy_function=_place, ignore=shutil.ignore_patterns("*.pth", "gwctl")
    )
    shutil.copytree(CHECKOUT / "gwctl", site / "gwctl", copy_function=_place)
    shutil.copytree(CHECKOUT / "fixtures", site / "gwctl" / "sandbox" / "fixtures", copy_function=_place)
    python = venv / "bin" / "python"
    subprocess.run([python, "-m", "compileall", "-q", str(site / "gwctl")], check=True)
    user.gwctl.write_text(f"#!{python}\nfrom gwctl.cli.main import main\nmain()\n")
    user.gwctl.chmod(0o755)


def _python_for(user: CronUser) -> str:
    """Return a Python of our version that the user may run: ours may lie in a folder of root's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = os.path.realpath(sys.executable)
    for candidate in (ours, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(OSError):
            if user.run([candidate, "-c", "import ssl, venv"]).exit_code == 0:
                return candidate
    raise AssertionError(f"no {version} that every user may run: apt-get install {version}-venv")


def _place(source: str, target: str) -> None:
    """Put a file where everybody may read it; a second name is enough where the first one may be read."""
    if os.stat(source).st_mode & stat.S_IROTH:  # noqa: PTH116 - what copytree gives is text
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
    os.chmod(target, os.stat(source).st_mode | 0o444)  # noqa: PTH101, PTH116 - likewise


@contextmanager
def cron(file_name: str, line: str) -> Iterator[None]:
    """Have Debian's cron obey one line of a crontab; only one cron can run, so one that runs already is used."""
    crontab = Path("/etc/cron.d") / file_name
    crontab.write_text(line + "\n")
    crontab.chmod(0o644)
    try:
        daemon = subprocess.Popen([CRON, "-f"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: daemon.poll() is not None or _runs_as(daemon.pid), 10, "cron has begun")
            assert daemon.poll() is None or _is_running(), "cron does not start"
            yield
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)
    finally:
        crontab.unlink()


def _runs_as(pid: int) -> bool:
    return CRON_PID_FILE.exists() and CRON_PID_FILE.read_text().strip() == str(pid)


def _is_running() -> bool:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        return psutil.Process(int(CRON_PID_FILE.read_text())).name() == "cron"
    return False
