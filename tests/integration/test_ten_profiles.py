"""Ten profiles side by side: real processes, a gateway and a stand-in for IBKR each, and ten logins by Chromium."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli_fakes import Home, free_port, wait_for
from profile_costs import PARTS, costs_of

pytestmark = [pytest.mark.browser, pytest.mark.wide, pytest.mark.timeout(600)]

NAMES = tuple(f"p{number}" for number in range(10))
LASTING = PARTS[:3]
MOST_RSS_BYTES = {"supervisor": 60e6, "gateway": 80e6, "fake IBKR": 50e6}
QUIET_S = 5.0
MOST_CPU = 0.03
"""Of a core, a ready profile with its stand-ins, on average: thrice what is measured on a quiet machine."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with ten ready profiles; what this module's tests do not stop is stopped at the end."""
    home = Home(tmp_path_factory.mktemp("ten"))
    del home.variables["GWCTL_PORT"]
    home.write_config("".join(f"[profiles.{name}]\nport = {free_port()}\n" for name in NAMES))
    try:
        call = home.start("up", "--all", "--sandbox", "--json", "--timeout", "400")
        stdout, stderr = call.communicate(timeout=500)
        assert call.returncode == 0, (stdout, stderr)
        assert [one["data"]["started"] for one in json.loads(stdout)["data"]["profiles"]] == [True] * 10
        yield home
    finally:
        home.gwctl("down", "--all", "--quiet")


def listening(home: Home) -> dict[int, set[str]]:
    """Return whose each port is on which a process of the home listens."""
    found: dict[int, set[str]] = defaultdict(set)
    for profile, parts in costs_of(home.home).items():
        for pid in [pid for part in parts.values() for pid in part.pids]:
            with contextlib.suppress(psutil.Error):
                for one in psutil.Process(pid).net_connections(kind="tcp"):
                    if one.status == psutil.CONN_LISTEN:
                        found[one.laddr.port].add(profile)
    return dict(found)


def test_ten_are_ready_and_told_in_one_look(machine: Home) -> None:
    """`status --all` is 0 and has ten ready profiles in config.toml's order; each logged in exactly once."""
    data: dict[str, Any] = machine.gwctl("status", "--all", "--json").check(0).envelope["data"]
    profiles = data["profiles"]
    assert [(one["profile"], one["phase"]) for one in profiles] == [(name, "ready") for name in NAMES]
    assert "10 of 10 ready" in machine.gwctl("status", "--all").check(0).stdout
    for name in NAMES:
        journal = (machine.home / "state" / "profiles" / name / "journal.jsonl").read_text().splitlines()
        assert [json.loads(line)["kind"] for line in journal].count("login") == 1, name


def test_each_port_is_one_profiles(machine: Home) -> None:
    """Gateway, health server and stand-in of each listen on ports of their own: thirty, none shared."""
    wait_for(lambda: not any("login" in parts for parts in costs_of(machine.home).values()), 60, "browsers have ended")
    ports = listening(machine)
    assert all(len(owners) == 1 for owners in ports.values()), ports
    assert len(ports) == 3 * len(NAMES)
    profiles = machine.gwctl("status", "--all", "--json").envelope["data"]["profiles"]
    assert {one["gateway"]["port"] for one in profiles} < ports.keys()
    assert len({one["gateway"]["port"] for one in profiles}) == len(NAMES)


def test_no_file_is_shared(machine: Home) -> None:
    """No process has a file open that is not its profile's or the release's; no folder leads into another's."""
    profiles = machine.home / "state" / "profiles"
    opened = 0
    for name, parts in costs_of(machine.home).items():
        for pid in [pid for part in parts.values() for pid in part.pids]:
            files = [one for one in psutil.Process(pid).open_files() if Path(one.path).is_relative_to(machine.home)]
            own = [one for one in files if Path(one.path).is_relative_to(profiles / name)]
            # What is shared is the installed release, which is read only.
            shared = [one for one in files if one not in own]
            assert all(one.mode == "r" and Path(one.path).is_relative_to(machine.home / "releases") for one in shared)
            opened += len(own)
    assert opened >= 2 * len(NAMES)
    for file in profiles.rglob("*"):
        home = profiles / file.relative_to(profiles).parts[0]
        real = file.resolve()
        assert real.is_relative_to(home) or real.is_relative_to(machine.home / "releases"), file
        assert file.is_dir() or file.is_symlink() or file.stat().st_nlink == 1, file


def test_what_each_costs(machine: Home, record_property: Callable[[str, object], None]) -> None:
    """A ready profile is a supervisor of 60 MB at most, its two stand-ins, no browser, and next to no CPU time."""
    wait_for(lambda: not any("login" in parts for parts in costs_of(machine.home).values()), 60, "browsers have ended")
    before = costs_of(machine.home)
    time.sleep(QUIET_S)  # what is measured
    after = costs_of(machine.home)
    assert after.keys() == set(NAMES)
    assert all(set(parts) == set(LASTING) for parts in after.values())
    for part in LASTING:
        rss = [parts[part].rss_bytes for parts in after.values()]
        cpu = [(after[name][part].cpu_s - before[name][part].cpu_s) / QUIET_S for name in NAMES]
        record_property(part, f"{max(rss) / 1e6:.0f} MB at most, {sum(cpu) / len(cpu):.2%} of a core on average")
        assert max(rss) <= MOST_RSS_BYTES[part], (part, rss)
    spent = [sum(after[n][part].cpu_s - before[n][part].cpu_s for part in LASTING) for n in NAMES]
    assert sum(spent) / len(spent) / QUIET_S <= MOST_CPU, spent


def test_down_leaves_nothing(machine: Home) -> None:
    """`down --all` ends all of it; nothing listens any more, and status is 3."""
    ports = listening(machine)
    assert machine.gwctl("down", "--all").check(0).stdout.endswith("10 of 10 profiles stopped\n")
    assert machine.left() == []
    assert listening(machine) == {}
    assert len(ports) == 3 * len(NAMES)
    assert "0 of 10 ready" in machine.gwctl("status", "--all").check(3).stdout
