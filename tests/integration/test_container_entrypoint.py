"""The container's entry point: whom it lets in, what it does when gwctl ends, and what it never sends again."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import container_guard
import pytest
from cli_fakes import PROGRAM, Home, a_home, a_real_home
from container_rig import Bridge, a_bridge, a_container
from rig import Done, free_port, wait_for

TOKEN = "a-token-of-this-test-only"


def test_any_other_command_is_run_as_it_is(tmp_path: Path) -> None:
    """A command that does not supervise takes the entry point's place, and its code is the container's."""
    with a_container(tmp_path, "sh", "-c", "echo $PPID; exit 7", variables={}) as container:
        assert container.process.wait(10) == 7
    assert container.said == f"{os.getpid()}\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with a_home(tmp_path) as one:
        yield one


def test_a_wrong_setting_does_not_loop(home: Home, tmp_path: Path) -> None:
    """A setting that cannot be read leaves the container there, unhealthy, until it is stopped; then it says 78."""
    with a_container(tmp_path, variables={**home.variables, "GWCTL_PORT": "perhaps"}) as container:
        container.wait_says("It stays stopped until you restart this container")
        assert home.gwctl("status", "--healthcheck") == Done(1, "stopped\n", "")
        assert container.stop() == 78
    assert container.said.count("gwctl-container: ") == 1
    assert home.journal() == []


def test_in_kubernetes_it_ends_with_the_code(home: Home, tmp_path: Path) -> None:
    """In a pod the container ends as gwctl does, for Kubernetes to show the code and to wait."""
    with a_container(tmp_path, variables={**home.variables, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}) as container:
        assert container.process.wait(60) == 78
    assert "profile 'default' has no username" in container.said
    assert "gwctl-container" not in container.said


def test_what_may_pass_is_tried_again_after_a_pause(home: Home, tmp_path: Path) -> None:
    """An end that is not final is followed by another start; told to stop in the pause, it ends with gwctl's code."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        variables = {**home.variables, "GWCTL_HEALTH_PORT": str(taken.getsockname()[1])}
        argv = ("gwctl", "up", "--foreground", "--sandbox")
        with a_container(tmp_path, *argv, variables=variables) as container:
            container.wait_says("gwctl exited with 69; starting it again in 5 s")
            assert container.stop() == 69


def test_told_to_stop_it_stops_gwctl_first(home: Home, tmp_path: Path) -> None:
    """Stopped on its way up, it ends once gwctl has taken down what it had started, with gwctl's code."""
    argv = ("gwctl", "up", "--foreground", "--sandbox")
    with a_container(tmp_path, *argv, variables=home.variables) as container:
        container.wait_says("starting the gateway\n")
        assert container.stop() == 143
    assert "started again" not in container.said
    assert home.left() == []


@pytest.mark.real_gateway
@pytest.mark.browser
def test_a_refused_password_is_sent_once_however_often_the_container_is_restarted(
    tmp_path: Path, real_release_zip: Path
) -> None:
    """A password that IBKR refuses is final: the container stays there unhealthy, and a new one sends nothing."""
    with a_real_home(tmp_path, real_release_zip) as home:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "password").write_text("not the password\n")
        variables = {**home.variables, "CREDENTIALS_DIRECTORY": str(tmp_path / "secrets")}
        for _ in range(2):
            with a_container(tmp_path, variables=variables) as container:
                container.wait_says("gwctl exited with 77: a person is needed. It stays stopped until")
                assert home.gwctl("status", "--healthcheck") == Done(1, "stopped\n", "")
                assert container.stop() == 77
            assert home.submits() == 1


def get(bridge: Bridge, port: int, ca_file: Path, source: str, token: str = "") -> tuple[int, str]:
    """Ask a port from this side of the link, verified, and return its answer's status and body."""
    argv = ["curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", "--cacert", str(ca_file), "--interface", source]
    argv += ["-H", f"Authorization: Bearer {token}"]
    argv += ["--connect-to", f"::{bridge.inside}:{port}", f"https://localhost:{port}/v1/api/tickle"]
    body, _, status = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), body


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(180)
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own is root's to make")
def test_in_a_network_of_its_own(tmp_path: Path, real_release_zip: Path) -> None:
    """As another user, without capabilities to make namespaces, behind a bridge: up, reached by the door alone.

    It takes the token from wherever it comes, and the gateway's own port refuses host and neighbour. The certificate is
    where other containers may have it and its key is not, a killed supervisor costs neither gateway nor login, and
    `gwctl down` stays down.
    """
    shared = tmp_path / "shared"
    shared.mkdir()
    with a_bridge() as bridge, a_home(tmp_path) as home:
        home.gwctl("release", "install", str(real_release_zip)).check(0)
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "door_token").write_text(f"{TOKEN}\n")
        door = free_port()
        variables = {**home.variables, "GWCTL_DOOR": f"0.0.0.0:{door}", "GWCTL_CA_FOLDER": str(shared)}
        variables["CREDENTIALS_DIRECTORY"] = str(tmp_path / "secrets")
        prefix = [*bridge.prefix, sys.executable, container_guard.__file__, "docker"]
        argv = ("gwctl", "up", "--foreground", "--sandbox")
        with a_container(tmp_path, *argv, variables=variables, prefix=prefix) as container:
            container.wait_says("authenticated")
            assert "browser runs without its sandbox" in container.said
            assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in shared.iterdir()} == {
                "ca.pem": 0o644,
                "bundle.pem": 0o644,
            }
            for source in (bridge.host, bridge.neighbour):
                status, body = get(bridge, door, shared / "ca.pem", source, TOKEN)
                assert (status, json.loads(body)["iserver"]["authStatus"]["authenticated"]) == (200, True)
                assert get(bridge, door, shared / "ca.pem", source, "another")[0] == 401
                assert get(bridge, home.port, shared / "ca.pem", source, TOKEN) == (404, "Access Denied")

            gateway = json.loads((home.profile_dir / "gateway.json").read_text())
            os.kill(json.loads((home.profile_dir / "supervisor.json").read_text())["pid"], signal.SIGKILL)
            container.wait_says("gwctl exited with 137; starting it again in 5 s")
            wait_for(lambda: container.said.count("authenticated\n") == 2, 60, "the second supervisor is ready")
            assert json.loads((home.profile_dir / "gateway.json").read_text()) == gateway
            assert [entry["kind"] for entry in home.journal()].count("login") == 1
            subprocess.run([*bridge.prefix, *PROGRAM, "down"], env=home.environment(), check=True)
            container.wait_says("gwctl was stopped in this container. It stays stopped until")
            assert container.stop() == 0
