"""Attacks on the code that runs with the session: files of the release, and what stands before it on the class path."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cli_fakes import RealHome, a_real_home, one_line_with_hint, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(240)]
JAR = "dist/ibgroup.web.core.iblink.router.clientportal.gw.jar"
LIBRARY = "build/lib/runtime/vertx-web-3.5.0.jar"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[RealHome]:
    """Return a home with the real release."""
    with a_real_home(tmp_path_factory.mktemp("real"), real_release_zip) as home:
        home.variables["GWCTL_PASSWORD"] = home.account.password
        yield home


def top(home: RealHome) -> Path:
    """Return the folder of the installed release."""
    (found,) = (home.home / "releases").glob("*/clientportal.gw")
    return found


@pytest.fixture
def restored(real: RealHome, real_release_zip: Path) -> Iterator[RealHome]:
    """Return the home, and restore its release afterwards as the hint says."""
    yield real
    real.gwctl("down").check(0)
    real.gwctl("release", "install", str(real_release_zip)).check(0)
    real.gwctl("release", "verify").check(0)


def flip(file: Path) -> None:
    """Change one byte, which changes neither size nor, here, time."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def evil_script(file: Path) -> None:
    """Let run.sh run something of ours first."""
    file.write_text(f"#!/bin/bash\ntouch {file.parents[1] / 'ran'}\n" + file.read_text())


def into_link(file: Path) -> None:
    """Move a file elsewhere and put a link in its place: same bytes now, others later."""
    place = file.parents[4] / "elsewhere.jar"
    shutil.move(file, place)
    file.symlink_to(place)


def folder_into_link(folder: Path) -> None:
    """Move a folder of the release elsewhere and put a link in its place."""
    place = folder.parents[2] / "elsewhere"
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(folder, place)
    folder.symlink_to(place)


def added(file: Path) -> None:
    """Add a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xca\xfe\xba\xbe")


def added_link(file: Path) -> None:
    """Add a link to a folder elsewhere."""
    file.symlink_to(file.parents[3])


TAMPERED: list[tuple[str, Callable[[Path], None]]] = [
    (JAR, flip), (LIBRARY, flip), ("root/webapps/demo/gateway.demo.js", flip), ("bin/run.sh", evil_script),
    (JAR, Path.unlink), (JAR, into_link), ("dist", folder_into_link), ("build/lib/runtime/aaa.jar", added),
    ("build/lib/runtime/.hidden.jar", added), ("dist/ibgroup/GatewayStart.class", added), ("build/evil", added_link),
    ("root/logback-test.xml", added), ("bin/java", added),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tamper"), TAMPERED, ids=[f"{how.__name__} {name}" for name, how in TAMPERED])
def test_a_changed_release_does_not_start(restored: RealHome, name: str, tamper: Callable[[Path], None]) -> None:
    """Exit 69; the message names the file, the hint how to look and to repair; nothing ran, no password went out."""
    release, before = top(restored), restored.submits()
    tamper(release / name)
    said = one_line_with_hint(restored.gwctl("up"))
    assert name.removesuffix(".jar") in said
    assert "gwctl release verify" in said
    assert "gwctl release install" in said
    assert restored.gwctl("up").exit_code == 69
    assert not (release / "ran").exists()
    assert not (restored.profile_dir / "logs" / "gateway.log").exists()
    assert restored.submits() == before
    restored.gwctl("release", "verify").check(69)


def test_a_release_that_others_can_write_does_not_start(restored: RealHome) -> None:
    """Its bytes are right when they are compared, and others a moment later."""
    (top(restored) / JAR).chmod(0o666)
    said = one_line_with_hint(restored.gwctl("up").check(78))
    assert f"other users can write to {top(restored) / JAR}" in said
    (top(restored) / JAR).chmod(0o644)


def test_a_supervisor_does_not_restart_a_changed_release(restored: RealHome, real_release_zip: Path) -> None:
    """A change while the session is up: the running gateway goes on, its next start is refused until it is repaired."""
    restored.gwctl("up").check(0)
    release, pid, entries = top(restored), restored.status()["gateway"]["pid"], len(restored.journal())
    evil_script(release / "bin" / "run.sh")
    restored.gwctl("up").check(0)
    assert restored.status()["gateway"]["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    refused = wait_for(
        lambda: [one for one in restored.journal()[entries:] if "bin/run.sh" in str(one)], 60, "the start is refused"
    )
    assert "has changed since it was installed" in refused[0]["reason"]
    assert not (release / "ran").exists()
    restored.gwctl("release", "install", str(real_release_zip)).check(0)
    restored.gwctl("wait").check(0)
    assert not (release / "ran").exists()


@pytest.mark.law(4)
def test_a_running_gateway_is_adopted_though_its_release_changed(restored: RealHome) -> None:
    """A gateway that outlives its supervisor goes on: it runs what was compared when it started (law 4)."""
    restored.gwctl("up").check(0)
    status = restored.status()
    flip(top(restored) / JAR)
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(status["supervisor"]["pid"]), 10, "the supervisor is gone")
    restored.gwctl("up").check(0)
    assert restored.status()["gateway"]["pid"] == status["gateway"]["pid"]


MAIN = "ibgroup/web/core/clientportal/gw/GatewayStart.class"


def test_a_class_in_the_gateways_folder_does_not_run(restored: RealHome, tmp_path: Path) -> None:
    """The folder root stands first on the class path: what gwctl did not put there is moved away, and said."""
    restored.gwctl("up").check(0)
    restored.gwctl("down").check(0)
    root = restored.profile_dir / "gateway" / "root"
    for name in (MAIN, "logback-test.xml", "META-INF/services/io.vertx.core.spi.VertxFactory", "webapps/demo/x.js"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("planted")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    (root / "ch").symlink_to(elsewhere)
    shutil.rmtree(root / "webapps" / "demo")
    (root / "webapps" / "demo").symlink_to(elsewhere)
    restored.gwctl("up").check(0)
    assert {entry.name for entry in root.iterdir()} == {"conf.yaml", "gwctl.p12", "logback.xml", "webapps"}
    assert not (root / "webapps" / "demo").is_symlink()
    assert [file.name for file in elsewhere.iterdir()] == ["precious"]
    assert (restored.profile_dir / "set-aside" / MAIN).read_text() == "planted"
    (warning,) = [entry for entry in restored.journal() if entry.get("code") == "unknown_files"]
    assert "META-INF" in warning["text"]


def test_another_zip_than_the_pinned_does_not_start(real: RealHome, real_release_zip: Path, tmp_path: Path) -> None:
    """release_sha256 is the zip's; an installed release from another, and another zip, are refused with 69."""
    before = real.submits()
    right, wrong = hashlib.sha256(real_release_zip.read_bytes()).hexdigest(), "0" * 64
    said = one_line_with_hint(real.gwctl("up", GWCTL_RELEASE_SHA256=wrong).check(69))
    assert right in said
    assert wrong in said
    assert "release_sha256" in said
    assert wrong in one_line_with_hint(
        real.gwctl("release", "install", str(real_release_zip), GWCTL_RELEASE_SHA256=wrong).check(69)
    )
    one_line_with_hint(real.gwctl("up", "--sandbox", GWCTL_RELEASE_SHA256=wrong).check(69))
    doctor = real.gwctl("doctor", "--json", GWCTL_RELEASE_SHA256=wrong).envelope["data"]["findings"]
    assert next(one["state"] for one in doctor if one["check"] == "release") == "failed"
    one_line_with_hint(real.gwctl("up", GWCTL_RELEASE_SHA256="abc").check(78))
    assert real.submits() == before
    real.gwctl("release", "install", str(real_release_zip), GWCTL_RELEASE_SHA256=right.upper()).check(0)
    real.gwctl("up", GWCTL_RELEASE_SHA256=f"sha256:{right}").check(0)
    assert real.gwctl("up", GWCTL_RELEASE_SHA256=wrong).exit_code == 0  # it runs already: law 4
    real.gwctl("down").check(0)

    fresh = RealHome(tmp_path, real.account, real.stand_in)
    pinned = {"GWCTL_RELEASE": str(real_release_zip), "GWCTL_PASSWORD": real.account.password}
    one_line_with_hint(fresh.gwctl("up", **pinned, GWCTL_RELEASE_SHA256=wrong).check(69))
    assert list((fresh.home / "releases").glob("*/clientportal.gw")) == []
    assert fresh.left() == []
