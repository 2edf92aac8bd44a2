"""The units under a real systemd: it starts, watches, restarts and stops them, and passes the secret."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following import USER, blocks
from rig import free_port, wait_for
from systemd_rig import CHECKOUT, GWCTL, UNIT_PATH, SystemdWorld, a_systemd

from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, StandInConfig

pytestmark = [
    pytest.mark.needs("systemd-analyze"),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and a systemd in them are root's to make"),
    pytest.mark.timeout(300),
]

UNIT = "gwctl-default.service"
QUICK = "[Service]\nRestartSec=100ms\nWatchdogSec=5\n"
"""A drop-in for every gwctl unit, because a test cannot wait that long."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdWorld]:
    """Yield a machine that systemd runs."""
    with a_systemd(tmp_path_factory.mktemp("systemd")) as running:
        yield running


def shown(world: SystemdWorld, unit: str, *names: str) -> list[str]:
    """Return properties of a unit."""
    done = world.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).check(0)
    values = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return [values[name] for name in names]


def status(world: SystemdWorld, account: str) -> dict[str, Any]:
    done = world.run(GWCTL, "status", "--json", user=account)
    data: dict[str, Any] = json.loads(done.stdout)["data"]
    return data


@pytest.mark.browser
def test_system_unit_is_watched_and_the_session_outlives_its_supervisor(world: SystemdWorld) -> None:
    """Hardened, it logs in; hung, it is killed and the next supervisor adopts; uninstalled, all is gone."""
    world.add_account("ibkr", free_port())
    world.write("/etc/systemd/system/gwctl-.service.d/quick.conf", QUICK)
    done = world.run(GWCTL, "service", "install", "--systemd", "--system", "--user", "ibkr", "--sandbox").check(0)
    assert f"running: systemctl status {UNIT}" in done.stdout
    world.run(GWCTL, "wait", user="ibkr").check(0)
    first = status(world, "ibkr")
    pid, text = shown(world, UNIT, "MainPID", "StatusText")
    assert int(pid) == first["supervisor"]["pid"]
    assert text.startswith("ready: ")
    world.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", UNIT).check(0)
    wait_for(lambda: shown(world, UNIT, "NRestarts") == ["1"], 60, "the watchdog has bitten")
    wait_for(lambda: shown(world, UNIT, "ActiveState") == ["active"], 60, "it runs again")
    world.run(GWCTL, "wait", user="ibkr").check(0)
    second = status(world, "ibkr")
    assert second["supervisor"]["pid"] != first["supervisor"]["pid"]
    # Law 4: the same gateway with the same session.
    assert second["gateway"]["pid"] == first["gateway"]["pid"]
    journal = world.run("cat", "/var/lib/ibkr/.local/state/gwctl/profiles/default/journal.jsonl").stdout
    assert [json.loads(line)["kind"] for line in journal.splitlines()].count("login") == 1
    assert "Watchdog timeout" in world.run("journalctl", "--no-pager", "-u", UNIT).stdout
    world.run(GWCTL, "service", "uninstall", "--systemd", "--system").check(0)
    assert world.processes_of("ibkr") == []
    assert world.run("systemctl", "cat", UNIT).exit_code != 0


def test_final_code_is_not_tried_again(world: SystemdWorld) -> None:
    """A profile that is not set up exits with 78, without a restart; the home's odd name is passed unchanged."""
    home = '/srv/odd "100%" $home'
    world.run("mkdir", "-p", home).check(0)
    world.write("/etc/systemd/system/gwctl-.service.d/quick.conf", QUICK)
    world.run(GWCTL, "profile", "create", "bare", GWCTL_HOME=home).check(0)
    argv = [GWCTL, "--profile", "bare", "service", "install", "--systemd", "--system", "--user", "root"]
    done = world.run(*argv, GWCTL_HOME=home)
    assert done.exit_code == 69
    assert "journalctl -u gwctl-bare.service" in done.stderr
    names = ("ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert shown(world, "gwctl-bare.service", *names) == ["failed", "exit-code", "78", "0"]
    said = world.run("journalctl", "--no-pager", "-u", "gwctl-bare.service").stdout
    assert "profile 'bare' has no username" in said
    written = world.run("systemctl", "show", "--property=Environment", "--value", "gwctl-bare.service").stdout
    assert written.strip() == '"GWCTL_HOME=' + home.replace('"', '\\"').replace("$", "\\$") + '"'
    world.run(GWCTL, "--profile", "bare", "service", "uninstall", "--systemd", "--system", GWCTL_HOME=home).check(0)


def documented_bot() -> str:
    """Return the how-to's bot unit, for the gwctl of the test machine."""
    page = (CHECKOUT / "docs" / "how-to" / "systemd.md").read_text()
    _, _, rest = page.partition("```ini\n")
    unit, _, _ = rest.partition("```")
    assert unit.count("%h/.local/bin/gwctl") == 2
    return unit.replace("%h/.local/bin/gwctl", GWCTL)


PASSWORD = "canary-of-the-unit"


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    """Yield a fake IBKR that knows the how-to's account."""
    account = Account(username=USER, password=PASSWORD)
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), account=account)) as running:
        yield running


def person_with_a_manager(world: SystemdWorld, settings: str) -> dict[str, str]:
    """Create an account with a running systemd of its own; return its programs' environment."""
    world.add_account("person", free_port(), settings)
    world.write("/usr/bin/types-password", f"#!/bin/sh\necho '{PASSWORD}' >\"$1\"\n")
    world.run("chmod", "755", "/usr/bin/types-password").check(0)
    world.run("install", "-d", "-m", "700", "-o", "person", "/run/person").check(0)
    mine = {"XDG_RUNTIME_DIR": "/run/person", "SYSTEMD_UNIT_PATH": f"/var/lib/person/.config/systemd/user:{UNIT_PATH}"}
    manager = "\n".join(
        [
            *("[Unit]", "DefaultDependencies=no", "[Service]", "Type=notify", "User=person", "Delegate=yes"),
            *("KillMode=mixed", "ExecStart=/lib/systemd/systemd --user --unit=basic.target"),
            *(f"Environment={name}={value}" for name, value in mine.items()),
        ]
    )
    world.write("/etc/systemd/system/manager.service", manager + "\n")
    world.run("systemctl", "daemon-reload").check(0)
    world.run("systemctl", "start", "manager").check(0)
    return {**mine, "EDITOR": "types-password", "PATH": f"{Path(GWCTL).parent}:{os.environ['PATH']}"}


@pytest.mark.browser
def test_the_how_to_from_its_top(world: SystemdWorld, ibkr: RunningStandIn, real_release_zip: Path) -> None:
    """Its blocks bring a paper account up, show it, restart it and remove it; a bot starts when it is ready.

    A person's own manager starts the unit and passes the password's file: no argument and no variable has the password.
    """
    world.run("cp", str(real_release_zip), "/var/lib/release.zip").check(0)
    mine = person_with_a_manager(world, f'upstream = "{ibkr.url}"\nrelease = "/var/lib/release.zip"\n')
    first, look, change = (f"cd; set -eux\n{block.text}" for block in blocks("how-to/systemd.md"))
    world.run("sh", "-c", first, user="person", **mine).check(0)
    check_secret(world, mine)
    check_bot(world, mine)
    assert 'Status: "ready: ' in world.run("sh", "-c", look, user="person", **mine).check(0).stdout
    world.run("sh", "-c", change, user="person", **mine).check(0)
    assert {submit.outcome for submit in ibkr.state.desk.submits} == {"success"}
    left = world.processes_of("person")
    assert [line for line in left if "systemd --user" not in line] == []


def check_secret(world: SystemdWorld, mine: dict[str, str]) -> None:
    """Assert that the password is only in systemd's file for the service."""
    main = world.run("systemctl", "--user", "show", "--property=MainPID", "--value", UNIT, user="person", **mine)
    pid = main.check(0).stdout.strip()
    variables = dict(
        line.split("=", 1) for line in world.run("cat", f"/proc/{pid}/environ").stdout.split("\0") if "=" in line
    )
    folder = variables["CREDENTIALS_DIRECTORY"]
    assert world.run("cat", f"{folder}/password").stdout == PASSWORD + "\n"
    for place in (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline", f"/var/lib/person/.config/systemd/user/{UNIT}"):
        assert "canary" not in world.run("cat", place).check(0).stdout
    found = world.run(GWCTL, "secret", "check", user="person", CREDENTIALS_DIRECTORY=folder).check(0)
    assert found.stdout == "password: $CREDENTIALS_DIRECTORY/password\n"


def check_bot(world: SystemdWorld, mine: dict[str, str]) -> None:
    """Assert that a bot as in the how-to starts when the session is ready, and finds it."""
    world.write("/var/lib/person/.config/systemd/user/bot.service", documented_bot())
    world.write("/var/lib/person/bot/run", "#!/bin/sh\ncd\nenv >told.new\nmv told.new told\n")
    world.run("chmod", "755", "/var/lib/person/bot/run").check(0)
    world.run("chown", "-R", "person:", "/var/lib/person").check(0)
    world.run("systemctl", "--user", "daemon-reload", user="person", **mine).check(0)
    world.run("systemctl", "--user", "start", "bot", user="person", **mine).check(0)
    assert status(world, "person")["ready"]
    told = wait_for(lambda: world.run("cat", "/var/lib/person/told").stdout, 30, "the bot has begun")
    assert "GWCTL_BASE_URL=https://localhost:" in told
    assert "GWCTL_CA_FILE=/var/lib/person/" in told
