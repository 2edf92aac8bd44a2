"""Several profiles of gwctl side by side, each with an account at its own stand-in for IBKR in this process."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from profile_costs import costs_of
from rig import free_port

from benchmark.ending import a_folder_of_its_own
from benchmark.figures import Figures
from benchmark.plan import Plan
from benchmark.used_home import furnish
from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import Account, StandInConfig

LOOK_EVERY_S = 0.25
SETTLED_S = 10.0
"""How long after the last login the memory of the browser and the allocator is freed."""
READY_WITHIN_S = 600
UP = ("up", "--all", "--quiet", "--timeout", str(READY_WITHIN_S))


class Home:
    """A separate home with several profiles."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.names = [f"p{number:02}" for number in range(count)]
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("GWCTL_")}
        # The mark of this run stays: it is how what is left is found.
        self._environ |= {name: value for name, value in os.environ.items() if name.startswith("GWCTL_TEST_")}
        self._environ["GWCTL_HOME"] = str(self.home)

    def gwctl(self, *argv: str) -> None:
        """Run one call; raise AssertionError if it fails."""
        argv = (sys.executable, "-m", "gwctl", *argv)
        done = subprocess.run(argv, env=self._environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise AssertionError(f"gwctl {argv[3]} exits with {done.returncode}: {said}")

    @contextlib.contextmanager
    def created(self, plan: Plan, used: Path) -> Iterator[None]:
        """Create the profiles and their stand-ins, and stop all at the end."""
        with contextlib.ExitStack() as stack:
            self.home.mkdir(mode=0o700)
            furnish(self.home, used)
            tables = ["[defaults]\nmaintenance = []"]
            for name in self.names:
                account = Account(username=name, password=secrets.token_hex(8))
                file = self.folder / f"{name}.password"
                file.write_text(account.password)
                file.chmod(0o600)
                stand_in = stack.enter_context(serve_in_thread(StandInConfig(secrets.token_hex(8), account)))
                tables.append(
                    f'[profiles.{name}]\nport = {free_port()}\nusername = "{name}"\nupstream = "{stand_in.url}"\n'
                    f'password_file = "{file}"\nauth_delay_ms = {plan.auth_delay_ms}'
                )
            (self.home / "config.toml").write_text("\n\n".join(tables) + "\n")
            stack.callback(self.gwctl, "down", "--all")
            yield


class Peaks(threading.Thread):
    """What is used at most while the profiles start."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home = home
        self._over = threading.Event()
        self.logins = 0
        self.login_bytes = 0
        self.all_bytes = 0

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(LOOK_EVERY_S):
            parts = list(costs_of(self._home).values())
            logins = [one["login"].pss_bytes for one in parts if "login" in one]
            self.logins = max(self.logins, len(logins))
            self.login_bytes = max(self.login_bytes, *logins, 0)
            self.all_bytes = max(self.all_bytes, sum(cost.pss_bytes for one in parts for cost in one.values()))

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()


def _disk_bytes(folder: Path) -> int:
    """Return the size of the files in a folder; supervisors write and delete some meanwhile."""
    total = 0
    for below, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(below, name).lstat().st_size
    return total


def measure(plan: Plan, count: int, figures: Figures, used: Path) -> None:
    """Start so many profiles, in a home that was ``used`` once, and note what they take."""
    column = str(count)
    with a_folder_of_its_own() as folder:
        home = Home(folder, count)
        with home.created(plan, used):
            # Once before what is measured: each profile is used, as at every start but its first.
            home.gwctl(*UP)
            home.gwctl("down", "--all")
            peaks = Peaks(home.home)
            peaks.start()
            began_s = time.monotonic()
            try:
                home.gwctl(*UP)
            finally:
                took_s = time.monotonic() - began_s
                peaks.end()
            time.sleep(plan.quiet_s if plan.short else SETTLED_S)  # a fixed time on purpose: they must be idle
            before = costs_of(home.home)
            time.sleep(plan.profiles_idle_s)  # what is measured
            after = costs_of(home.home)
            disk_bytes = _disk_bytes(home.home)
    lasting = [cost for parts in after.values() for cost in parts.values()]
    spent_s = sum(cost.cpu_s + cost.ended_cpu_s for cost in lasting)
    started_s = sum(cost.cpu_s + cost.ended_cpu_s for parts in before.values() for cost in parts.values())
    figures.add("profiles_ready", column, took_s)
    figures.add("profiles_memory", column, sum(cost.pss_bytes for cost in lasting) / count / 1e6)
    supervisors = [parts["supervisor"].pss_bytes for parts in after.values()]
    figures.add("profiles_supervisor", column, sum(supervisors) / count / 1e6)
    figures.add("profiles_cpu", column, (spent_s - started_s) / count / plan.profiles_idle_s * 100)
    figures.add("profiles_start_cpu", column, started_s / count)
    figures.add("profiles_logins", column, peaks.logins)
    figures.add("profiles_login_peak", column, peaks.login_bytes / 1e6)
    figures.add("profiles_peak", column, peaks.all_bytes / 1e6)
    figures.add("profiles_disk", column, disk_bytes / count / 1e6)
