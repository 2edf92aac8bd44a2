"""A real systemd, first process of a namespace of its own, over a copy of this machine that nobody keeps. Needs root.

Nothing it does reaches the machine: its files are an overlay in memory, its processes die with it, its control groups
are below one of ours. It starts nothing but its journal and the units that a test gives it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rig import AT_ANY_HOUR, Done, wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
GWCTL = "/opt/gwctl/bin/gwctl"
UNIT_PATH = "/etc/base:/etc/systemd/system"
CALL_TIMEOUT_S = 110
TARGETS = ("sysinit", "basic", "shutdown", "multi-user", "default", "network-online", "sockets")
JOURNAL = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")

_FIRST = f"""#!/bin/bash
set -eu
python=python{sys.version_info.major}.{sys.version_info.minor}
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORLD"
mkdir "$WORLD/upper" "$WORLD/work" "$WORLD/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORLD/upper,workdir=$WORLD/work" "$WORLD/root"
cd "$WORLD/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
  touch "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
rm -rf etc/systemd/system etc/base
mkdir -p etc/systemd/system etc/base oldroot
cp "$UNITS"/* etc/base/
# This gwctl and its Python, where every account may run them. Python stays in its place, which it knows by name.
rm -rf opt/gwctl opt/checkout opt/packages
mkdir -p opt/gwctl/bin opt/gwctl/lib/$python/site-packages opt/checkout opt/packages ".$PREFIX"
for ((above = 1; ; above++)); do
  folder=$(cut -d/ -f "2-$((above + 1))" <<<"$PREFIX")
  chmod a+rx "$folder"
  [ "/$folder" = "$PREFIX" ] && break
done
mount --bind "$PREFIX" ".$PREFIX"
mount --bind "$PACKAGES" opt/packages
cp -r "$CHECKOUT/gwctl" "$CHECKOUT/fixtures" opt/checkout/
chmod -R a+rX opt/checkout
ln -s "$PREFIX/bin/$python" opt/gwctl/bin/python
printf 'home = %s/bin\\n' "$PREFIX" >opt/gwctl/pyvenv.cfg
printf '/opt/checkout\\n/opt/packages\\n' >opt/gwctl/lib/$python/site-packages/gwctl.pth
printf '#!/opt/gwctl/bin/python\\nfrom gwctl.cli.main import main\\nmain()\\n' >opt/gwctl/bin/gwctl
chmod 755 opt/gwctl/bin/gwctl
pivot_root . oldroot
umount -l /oldroot
exec /usr/bin/env -i container=gwctl-tests "PATH=$PATH" HOME=/root SYSTEMD_UNIT_PATH={UNIT_PATH} \\
  /lib/systemd/systemd --unit=world.target --log-target=journal
"""


class SystemdWorld:
    """One machine with nothing on it but systemd and gwctl."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *argv: str, user: str | None = None, stdin: str = "", **variables: str) -> Done:
        """Run a program there, as root or as a user in that one's home."""
        enter = ["nsenter", "-t", str(self._pid), "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--root", "--wd"]
        known = {"SYSTEMD_UNIT_PATH": UNIT_PATH, "PATH": os.environ["PATH"], "HOME": "/root"}
        words = list(argv)
        if user is not None:
            home = f"/var/lib/{user}"
            known.update(HOME=home, USER=user, LOGNAME=user)
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *argv]
        known.update(variables)
        done = subprocess.run(
            [*enter, *words],
            env=known,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def add_account(self, name: str, port: int, settings: str = "") -> None:
        """Make an account whose gateway has a port of its own: the network is the machine's."""
        self.run("useradd", "--system", "--user-group", "--create-home", "--home-dir", f"/var/lib/{name}", name).check(
            0
        )
        self.write(
            f"/var/lib/{name}/.config/gwctl/config.toml",
            f"{AT_ANY_HOUR}port = {port}\nauth_delay_ms = 100\n{settings}",
        )
        self.run("chown", "-R", f"{name}:", f"/var/lib/{name}").check(0)

    def write(self, file: str, text: str) -> None:
        """Write a file there."""
        self.run("mkdir", "-p", str(Path(file).parent)).check(0)
        self.run("tee", file, stdin=text).check(0)

    def processes_of(self, name: str) -> list[str]:
        """Return what runs there as an account."""
        return self.run("ps", "-u", name, "-o", "pid=,args=").stdout.splitlines()


def _control_groups() -> Path:
    """Return where the second kind of control groups is mounted on this machine."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 "):
            return Path(head.split()[4])
    raise AssertionError("no control groups of the second kind are mounted here")


def _remove_groups(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()


def _write_units(folder: Path) -> None:
    folder.mkdir()
    for name in TARGETS:
        (folder / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
    (folder / "world.target").write_text(
        "[Unit]\nDescription=world\nDefaultDependencies=no\nWants=systemd-journald.service\n"
    )
    for name in JOURNAL:
        (folder / name).write_bytes((Path("/lib/systemd/system") / name).read_bytes())


@contextmanager
def a_systemd(folder: Path) -> Iterator[SystemdWorld]:
    """Yield a world whose systemd has begun; at the end nothing of it is left."""
    group = _control_groups() / f"gwctl-{os.getpid()}-{secrets.token_hex(3)}"
    _write_units(folder / "units")
    (folder / "world").mkdir()
    first = folder / "first"
    first.write_text(_FIRST)
    first.chmod(0o700)
    variables = {
        **os.environ,
        "WORLD": str(folder / "world"),
        "UNITS": str(folder / "units"),
        "CHECKOUT": str(CHECKOUT),
        "PREFIX": sys.base_prefix,
        "PACKAGES": str(Path(psutil.__file__).parents[1]),
    }
    group.mkdir()
    begin = 'echo $$ >"$0/cgroup.procs"; exec unshare --cgroup --pid --fork --kill-child --mount --uts --ipc "$1"'
    log = folder / "log"
    with log.open("wb") as output:
        outer = subprocess.Popen(
            ["bash", "-c", begin, str(group), str(first)], env=variables, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:

        def begun() -> int | None:
            assert outer.poll() is None, log.read_text()
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(outer.pid).children():
                    if child.name() == "systemd":
                        return child.pid
            return None

        world = SystemdWorld(wait_for(begun, 30, "systemd has begun") or 0)
        wait_for(lambda: world.run("systemctl", "is-system-running").stdout.strip() == "running", 30, "systemd runs")
        yield world
    finally:
        outer.kill()
        outer.wait()
        wait_for(lambda: _remove_groups(group), 30, "everything in the world has ended")
