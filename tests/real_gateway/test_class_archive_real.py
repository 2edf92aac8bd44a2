"""The archive of the gateway's classes on the real gateway and Java: made, used, shared, and replaced when damaged."""

from __future__ import annotations

import os
import re
import signal
import ssl
import urllib.request
from pathlib import Path

import pytest
from rig import Rig, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(300)]

MADE_WITHIN_S = 90.0
"""The supervisor's next housekeeping, at most 30 s away, and the making."""
BACK_WITHIN_S = 60.0


def _archives(rig: Rig) -> list[Path]:
    return list((rig.home / "cache" / "java-classes").glob("*.jsa"))


def _pid(rig: Rig) -> int:
    pid: int = rig.status()["gateway"]["pid"]
    return pid


def _uses_archive(pid: int) -> bool:
    return "/java-classes/" in Path(f"/proc/{pid}/maps").read_text()


def _private_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(amount) for amount in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))


def _killed_and_back(rig: Rig) -> int:
    """Kill the gateway and return the next one's pid once there is a session."""
    entries = len(rig.journal())
    os.kill(_pid(rig), signal.SIGKILL)
    rig.wait_ready_after(entries, BACK_WITHIN_S)
    return _pid(rig)


def test_the_next_gateway_maps_the_classes_of_the_first(rig: Rig) -> None:
    """The first one lists them, the next one has them in less memory, and serves pages and logins as before."""
    rig.gwctl("up").check(0)
    first = _pid(rig)
    assert not _uses_archive(first)
    wait_for(lambda: _archives(rig), MADE_WITHIN_S, "the archive")
    alone_kib = _private_kib(first)
    second = _killed_and_back(rig)
    assert _uses_archive(second)
    assert _private_kib(second) < alone_kib - 10_000
    trust = ssl.create_default_context(cafile=rig.status()["gateway"]["ca_file"])
    with urllib.request.urlopen(f"https://localhost:{rig.port}/demo", timeout=20, context=trust) as page:
        assert b"<html" in page.read().lower()
    [left] = _archives(rig)
    assert {one.name for one in left.parent.iterdir()} == {left.name, ".lock"}
    assert left.stat().st_mode & 0o777 == 0o600
    rig.gwctl("restart").check(0)
    assert _uses_archive(_pid(rig))


def _shortened(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _changed(content: bytes) -> bytes:
    changed = bytearray(content)
    for at in range(9_973, len(content), len(content) // 50):
        changed[at] ^= 0xFF
    return bytes(changed)


def _something_else(_content: bytes) -> bytes:
    return b"no archive\n" * 1000


def test_a_damaged_archive_costs_no_session(rig: Rig) -> None:
    """Java starts without it, whatever it has become."""
    rig.gwctl("up").check(0)
    [archive] = wait_for(lambda: _archives(rig), MADE_WITHIN_S, "the archive")
    made = archive.read_bytes()
    for damage in (_shortened, _changed, _something_else):
        rig.gwctl("down").check(0)
        archive.write_bytes(damage(made))
        rig.gwctl("up").check(0)
        assert rig.status()["gateway"]["restarts"] == 0, damage
        assert not _uses_archive(_pid(rig)), damage


def test_one_that_ends_java_is_gone_at_the_next_start(rig: Rig) -> None:
    """It shrinks under a running gateway, which crashes: the next one lists its classes again, and makes another."""
    rig.gwctl("up").check(0)
    [archive] = wait_for(lambda: _archives(rig), MADE_WITHIN_S, "the archive")
    _killed_and_back(rig)
    entries = len(rig.journal())
    os.truncate(archive, 0)
    new = wait_for(lambda: [one for one in rig.journal()[entries:] if one["kind"] == "gateway"], BACK_WITHIN_S, "back")
    assert not _uses_archive(new[-1]["pid"])
    wait_for(lambda: rig.status()["ready"], BACK_WITHIN_S, "a session")
    wait_for(lambda: [one for one in _archives(rig) if one.stat().st_size], MADE_WITHIN_S, "a new archive")


def test_an_archive_that_others_can_change_is_not_used(rig: Rig) -> None:
    """It holds code that Java runs, so the start ends as with all other files of gwctl's: exit 78, with the remedy."""
    rig.gwctl("up").check(0)
    [archive] = wait_for(lambda: _archives(rig), MADE_WITHIN_S, "the archive")
    rig.gwctl("down").check(0)
    archive.chmod(0o666)
    done = rig.gwctl("up")
    done.check(78)
    assert f"other users can write to {archive}" in done.stderr
    assert "chmod go-w" in done.stderr
