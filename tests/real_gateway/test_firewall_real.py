"""The real gateway behind the firewall of its port, in a network that the test makes: when the table is there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from other_user import as_user
from own_network import an_own_network
from rig import Rig, a_rig, wait_for

from gwctl.sandbox.settings import Account

pytestmark = [
    pytest.mark.real_gateway,
    pytest.mark.browser,
    pytest.mark.needs("nft"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a network and its rules are root's"),
]


@pytest.fixture
def rig(tmp_path: Path, real_release_zip: Path) -> Iterator[Rig]:
    """Yield a rig whose programs, and whose stand-in for IBKR, are in a network of their own."""
    with an_own_network(), a_rig(tmp_path, real_release_zip, Account()) as rig:
        rig.starts_the_program = True  # in this thread's network
        rig.settings["GWCTL_ISOLATION"] = "firewall"
        yield rig


def tables() -> list[str]:
    """Return the tables that are loaded in this network."""
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout.splitlines()


def by_stranger(port: int) -> bool:
    """Say whether another user connects."""

    def connects() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    return bool(as_user(connects))


def pid_of(rig: Rig, record: str) -> int:
    """Return the pid of the gateway or the supervisor."""
    told = json.loads((rig.profile_dir / f"{record}.json").read_text())
    return int(told["java"]["pid"] if record == "gateway" else told["pid"])


def isolation_of(rig: Rig, exit_code: int) -> dict[str, Any]:
    """Return what the doctor finds about isolation."""
    findings = rig.gwctl("doctor", "--json").check(exit_code).envelope["data"]["findings"]
    (found,) = (one for one in findings if one["check"] == "isolation")
    return dict(found)


@pytest.mark.law(4)
def test_the_table_is_there_as_long_as_the_gateway(rig: Rig) -> None:
    """Loaded while the gateway runs, after its supervisor is killed and after it is adopted; gone after `down`."""
    table = f"table inet gwctl_{rig.port}"
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert status["isolation"] == {"kind": "firewall", "open_to": [], "reason": None}
    assert "access      this user's programs only" in rig.gwctl("status").check(0).stdout
    java, supervisor = pid_of(rig, "gateway"), pid_of(rig, "supervisor")
    assert (tables(), by_stranger(rig.port), rig.listens()) == ([table], False, True)
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(supervisor), 10, "the supervisor is gone")
    assert (tables(), by_stranger(rig.port), rig.listens()) == ([table], False, True)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert by_stranger(rig.port)
    status = rig.gwctl("up", "--json").check(0).envelope["data"]
    assert status["isolation"] == {"kind": "firewall", "open_to": [], "reason": None}
    assert (tables(), by_stranger(rig.port), pid_of(rig, "gateway")) == ([table], False, java)
    assert json.loads(rig.gwctl("api", "GET", "/tickle").check(0).stdout)["iserver"]["authStatus"]["authenticated"]
    rig.gwctl("restart").check(0)
    assert (tables(), by_stranger(rig.port)) == ([table], False)
    rig.gwctl("down").check(0)
    assert tables() == []
    rig.gwctl("up", GWCTL_ISOLATION="off").check(0)
    assert (tables(), by_stranger(rig.port)) == ([], True)
    os.kill(pid_of(rig, "supervisor"), signal.SIGKILL)
    rig.gwctl("up").check(0)  # as with a network of its own, an open gateway does not do
    assert tables() == [table]
    os.kill(pid_of(rig, "supervisor"), signal.SIGKILL)
    rig.gwctl("down").check(0)
    assert tables() == []


def test_the_doctor_misses_a_table_that_is_gone(rig: Rig) -> None:
    """While the gateway runs, the doctor names the loaded table; flushed, it fails, and its remedy loads the table."""
    rig.gwctl("up").check(0)
    table = f"gwctl_{rig.port}"
    found = isolation_of(rig, 0)
    assert (found["state"], found["what"].rpartition(": ")[2]) == ("ok", f"the firewall's table {table} is loaded")
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    found = isolation_of(rig, 1)
    assert (found["state"], found["what"]) == ("failed", f"OPEN: the firewall's table {table} is not loaded")
    assert found["remedy"] == "gwctl service show --firewall | nft -f -"
    shown = rig.gwctl(*found["remedy"].partition(" | ")[0].split()[1:]).check(0).stdout
    subprocess.run(["nft", "-f", "-"], input=shown, text=True, check=True)
    assert (isolation_of(rig, 0)["state"], by_stranger(rig.port)) == ("ok", False)


def test_a_table_that_is_gone_comes_back(rig: Rig) -> None:
    """When a reload of the machine's rules flushes the table, the supervisor loads it again, and says so."""
    rig.gwctl("up").check(0)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    wait_for(lambda: tables() == [f"table inet gwctl_{rig.port}"], 60, "the table is back")
    assert not by_stranger(rig.port)
    assert "firewall_gone" in [entry.get("code") for entry in rig.journal()]


def test_the_table_of_a_start_that_fails_goes(rig: Rig) -> None:
    """Where the gateway cannot start, no table stays; where its port is taken, none is loaded."""
    done = rig.gwctl("up", GWCTL_JAVA_OPTIONS="-Xno-such-option")
    assert "Java rejected its options" in done.stderr
    assert tables() == []
    with socket.create_server(("127.0.0.1", rig.port)):
        rig.gwctl("up").check(69)
        assert tables() == []
        assert by_stranger(rig.port)


def test_root_without_its_rights_is_refused(rig: Rig) -> None:
    """Without root's rights over the network nothing starts: exit 78 with the reason."""
    rig.prefix = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"]
    done = rig.gwctl("up").check(78)
    assert "isolation = 'firewall' ($GWCTL_ISOLATION) is not possible: " in done.stderr
    assert "Operation not permitted" in done.stderr
    assert rig.processes_left() == []
    assert rig.submits() == 0
