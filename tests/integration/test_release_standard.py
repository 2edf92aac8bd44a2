"""The real Standard Release: the script that downloads it, and its installation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gwctl.release.store import ReleaseStore

SCRIPT = Path(__file__).parents[2] / "scripts" / "standard-release"

pytestmark = [pytest.mark.real_gateway, pytest.mark.timeout(900)]


def test_real_release_is_got_once_and_installs(tmp_path: Path) -> None:
    """Two scripts at once print only the same path, and its file installs as the known build."""
    both = [subprocess.Popen([SCRIPT, "--print-path"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=800)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert first == second
    path = Path(first.removesuffix("\n"))
    assert path.name == "clientportal.gw.zip"
    assert [*path.parent.glob("making-*"), *path.parent.rglob("*.tgz")] == []
    store = ReleaseStore(tmp_path / "releases", tmp_path / "cache")
    release = store.install(str(path)).release
    assert (release.version, release.kind) == ("20230424-a27ed421", "standard")
    assert store.verify(release.version).ok
    assert os.access(release.path / "bin" / "run.sh", os.X_OK)


def test_unknown_option_is_a_usage_error() -> None:
    """The script refuses unknown options, and then prints nothing on stdout."""
    done = subprocess.run([SCRIPT, "--force"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
