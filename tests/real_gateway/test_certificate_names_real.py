"""The real gateway under a name other than localhost, as from another pod: believed by that name and by no other."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rig import free_port

from gwctl import process
from gwctl.gateway.ca_bundle import write_bundle
from gwctl.gateway.client import GatewayClient, PortCheck
from gwctl.gateway.java import find_java
from gwctl.gateway.keystore import kept_leaf
from gwctl.gateway.launch import Runtime, adopt, launch
from gwctl.gateway.work_folder import GatewaySettings, prepare_home
from gwctl.paths import Paths

pytestmark = pytest.mark.real_gateway
NAME = "gwctl.example.internal"
OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m"


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = Paths.for_profile("named", tmp_path / "home")
    yield paths
    for left in process.inhabitants(paths.gateway_dir):
        os.kill(left.pid, signal.SIGKILL)


@pytest.fixture
def release(tmp_path: Path, real_release_zip: Path) -> Path:
    with zipfile.ZipFile(real_release_zip) as archive:
        archive.extractall(tmp_path / "release")
    return tmp_path / "release"


def _ask(port: int, name: str, ca_file: Path) -> int:
    """Connect to 127.0.0.1 as if ``name`` had led there, verify the certificate for it, and return the status."""
    context = ssl.create_default_context(cafile=ca_file)
    with httpx.Client(verify=context, timeout=20, trust_env=False) as client:
        return client.get(
            f"https://127.0.0.1:{port}/", headers={"Host": f"{name}:{port}"}, extensions={"sni_hostname": name}
        ).status_code


def _curl(port: int, name: str, ca_file: Path) -> tuple[int, str]:
    url = f"https://{name}:{port}/"
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(ca_file)]
    done = subprocess.run(
        [*argv, "--noproxy", "*", "--resolve", f"{name}:{port}:127.0.0.1", url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_name_of_the_profiles_is_believed_and_its_withdrawal_waits_for_the_next_start(
    paths: Paths, release: Path
) -> None:
    """A Python client and curl accept the gateway by the name asked for and localhost, and refuse it by any other.

    A supervisor that comes later, with other names in its settings, still knows the gateway that runs (law 4).
    """
    port = free_port()
    settings = GatewaySettings(port, "http://127.0.0.1:9", certificate_names=(NAME,), auth_delay_ms=1)
    prepared = prepare_home(paths, release, settings)
    runtime = Runtime(release, find_java(None, os.environ), os.environ, OPTIONS)

    async def run() -> None:
        running = await launch(paths, prepared, runtime)
        for name in (NAME, "localhost", "127.0.0.1"):
            assert await asyncio.to_thread(_ask, port, name, paths.ca_file) == 302, name
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(_ask, port, "other.example.internal", paths.ca_file)
        assert await asyncio.to_thread(_curl, port, NAME, paths.ca_file) == (0, "302")
        assert await asyncio.to_thread(_curl, port, "other.example.internal", paths.ca_file) == (60, "000")

        write_bundle(paths.ca_dir, ["another.example.internal"])
        leaf = kept_leaf(paths)
        assert leaf is not None
        assert leaf == prepared.leaf
        assert adopt(paths) == running
        async with GatewayClient(port, paths.ca_file, leaf.der) as client:
            assert await client.front_door() is PortCheck.OURS
        assert not (await running.stop(10)).survivors

    asyncio.run(run())
