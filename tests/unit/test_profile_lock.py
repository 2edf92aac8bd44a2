"""One supervisor holds a profile by a lock that ends with its process and survives a deleted file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gwctl.supervisor.profile_lock import ProfileLock

HOLDER = """
import sys
from pathlib import Path
from gwctl.supervisor.profile_lock import ProfileLock
hold = ProfileLock(Path(sys.argv[1]))
print(hold.take(), flush=True)
sys.stdin.read()
"""


def _another(file: Path) -> subprocess.Popen[str]:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    return other


def _end(other: subprocess.Popen[str]) -> None:
    other.kill()
    other.communicate()


@pytest.mark.law(1)
def test_one_holds_and_the_other_does_not_wait(tmp_path: Path) -> None:
    """Law 1: while one process holds the profile, another learns that at once."""
    file = tmp_path / "profile" / "supervisor.lock"
    other = _another(file)
    try:
        assert not ProfileLock(file).take()
    finally:
        _end(other)


def test_lock_of_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    """A killed process leaves a file behind, not a lock."""
    file = tmp_path / "supervisor.lock"
    _end(_another(file))
    assert file.exists()
    hold = ProfileLock(file)
    assert hold.take()
    assert hold.is_intact()
    hold.release()
    assert not hold.is_intact()


def test_deleted_folder_is_noticed_and_held_anew(tmp_path: Path) -> None:
    """A lock on a deleted file keeps nobody out: its holder locks the new file."""
    file = tmp_path / "profile" / "supervisor.lock"
    hold = ProfileLock(file)
    assert hold.take()
    shutil.rmtree(file.parent)
    assert not hold.is_intact()
    assert hold.take()
    assert hold.is_intact()
    assert not ProfileLock(file).take()
    hold.release()


@pytest.mark.law(1)
def test_deleted_folder_that_somebody_else_holds_stays_theirs(tmp_path: Path) -> None:
    """Law 1: the first process to lock the new file has the profile."""
    file = tmp_path / "profile" / "supervisor.lock"
    hold = ProfileLock(file)
    assert hold.take()
    shutil.rmtree(file.parent)
    other = _another(file)
    try:
        assert not hold.is_intact()
        assert not hold.take()
    finally:
        _end(other)
    assert hold.take()
    hold.release()
