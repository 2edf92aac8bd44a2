"""The store on a real disk, next to other processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from release_fakes import packed, release_files, release_zip, serving, silent

from gwctl.errors import DiskTrouble, ReleaseBroken, ReleaseMissing, Usage
from gwctl.release.store import ReleaseStore

INSTALL = """
import json, sys
from pathlib import Path
from gwctl.errors import GwctlError
from gwctl.release.store import ReleaseStore
store = ReleaseStore(Path(sys.argv[1]) / "releases", Path(sys.argv[1]) / "cache")
print("ready", flush=True)
sys.stdin.readline()
try:
    result = store.install(sys.argv[2])
    print(json.dumps({"outcome": result.outcome, "version": result.release.version}))
except GwctlError as error:
    print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))
"""


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "releases", tmp_path / "cache")


def zip_at(path: Path, conf: str = "listenPort: 5000\n") -> str:
    path.write_bytes(release_zip(conf=conf.encode()))
    return str(path)


def started(home: Path, source: str, *, before: str = "") -> subprocess.Popen[str]:
    """Start a process that installs `source` when it receives a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + INSTALL, str(home), source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_installed_release_is_listed_chosen_and_sound(store: ReleaseStore, tmp_path: Path) -> None:
    """An installed release has a readable version, its source and checksum, is the current one and verifies."""
    result = store.install(zip_at(tmp_path / "a.zip"))
    release = result.release
    assert (result.outcome, result.previous) == ("installed", None)
    assert (release.version, release.kind) == ("20230424-a27ed421", "standard")
    assert release.source == str(tmp_path / "a.zip")
    assert release.installed_at.endswith("Z")
    assert release.size_bytes == sum(map(len, release_files().values()))
    assert store.list() == [release]
    assert store.current() == store.get(release.version) == release
    assert store.verify(release.version).ok
    assert store.verify(release.version).checked == len(release_files())
    assert stat.S_IMODE((tmp_path / "releases").stat().st_mode) == 0o700
    assert not (tmp_path / "cache").exists()


def test_looking_creates_nothing(store: ReleaseStore, tmp_path: Path) -> None:
    """Listing an empty store creates no folder; a missing release's error says what to type."""
    assert store.list() == []
    assert store.current() is None
    with pytest.raises(ReleaseMissing) as caught:
        store.get("1")
    assert caught.value.hint == "gwctl release install"
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_rewrite_nothing(store: ReleaseStore, tmp_path: Path) -> None:
    """The same bytes under any name are already installed, and no file changes."""
    store.install(zip_at(tmp_path / "a.zip"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "releases").rglob("*") if ".lock" not in path.name}
    result = store.install(zip_at(tmp_path / "b.zip"))
    assert result.outcome == "already_installed"
    assert result.release.source == str(tmp_path / "a.zip")
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "releases").rglob("*") if ".lock" not in path.name}
    assert after == before


def test_releases_stand_side_by_side(store: ReleaseStore, tmp_path: Path) -> None:
    """Another archive of the same build gets another folder, the newest is first, and `use` decides."""
    first = store.install(zip_at(tmp_path / "a.zip")).release
    result = store.install(zip_at(tmp_path / "b.zip", "listenPort: 5001\n"), select=False)
    second = result.release
    assert result.outcome == "installed"
    assert second.version == f"{first.version}-{second.sha256[:8]}"
    assert store.list() == [second, first]
    assert store.current() == first
    assert store.use(second.version) == second
    assert store.current() == second
    with pytest.raises(ReleaseMissing, match="'nope'"):
        store.use("nope")
    assert store.current() == second


def test_file_with_other_bytes_is_a_new_release(store: ReleaseStore, tmp_path: Path) -> None:
    """The same file with other bytes is not silently accepted as the earlier release."""
    first = store.install(zip_at(tmp_path / "a.zip")).release
    second = store.install(zip_at(tmp_path / "a.zip", "listenPort: 5001\n"))
    assert (second.outcome, second.previous) == ("new_bytes", first)
    assert store.verify(first.version).ok


def test_choice_of_a_release_that_is_gone_falls_back(store: ReleaseStore, tmp_path: Path) -> None:
    """A damaged or outdated choice leads to the newest standard release."""
    release = store.install(zip_at(tmp_path / "a.zip")).release
    for content in ('{"version": "gone"}', "[]", "{", '{"version": 3}'):
        (tmp_path / "releases" / "current.json").write_text(content)
        assert store.current() == release


def test_broken_entries_are_not_listed(store: ReleaseStore, tmp_path: Path) -> None:
    """Leftovers, a damaged record and a renamed folder are not releases."""
    release = store.install(zip_at(tmp_path / "a.zip")).release
    entry = release.path.parent
    good = (entry / "release.json").read_text()
    for content in ("", "{", "[]", "{}", good.replace('"format": 1', '"format": 2'), good.replace("standard", "odd")):
        (entry / "release.json").write_text(content)
        assert store.list() == []
    (entry / "release.json").write_text(good)
    entry.rename(entry.with_name("other"))
    (tmp_path / "releases" / ".staging-x").mkdir()
    assert store.list() == []


def test_verify_names_every_difference(store: ReleaseStore, tmp_path: Path) -> None:
    """A changed, a missing, an added and a linked file are each found."""
    release = store.install(zip_at(tmp_path / "a.zip")).release
    (release.path / "root" / "conf.yaml").write_text("listenPort: 5002\n")
    (release.path / "bin" / "run.sh").unlink()
    (release.path / "bin" / "run.sh").symlink_to("/bin/sh")
    (release.path / "root" / "logback.xml").unlink()
    (release.path / "root" / "extra").symlink_to("/etc")
    report = store.verify(release.version)
    assert not report.ok
    assert report.changed == ("bin/run.sh", "root/conf.yaml")
    assert report.missing == ("root/logback.xml",)
    assert report.extra == ("root/extra",)


def test_installing_again_mends_a_damaged_release(store: ReleaseStore, tmp_path: Path) -> None:
    """Installing the same bytes over changed files restores them, under the same version."""
    release = store.install(zip_at(tmp_path / "a.zip")).release
    (release.path / "root" / "conf.yaml").unlink()
    result = store.install(zip_at(tmp_path / "a.zip"))
    assert (result.outcome, result.release.version) == ("installed", release.version)
    assert store.verify(release.version).ok
    assert len(store.list()) == 1


def test_broken_entry_of_the_same_name_is_not_written_over(store: ReleaseStore, tmp_path: Path) -> None:
    """A folder that has the version's name but is no release stays; the release gets another name."""
    mine = tmp_path / "releases" / "20230424-a27ed421"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    release = store.install(zip_at(tmp_path / "a.zip")).release
    assert release.version == f"20230424-a27ed421-{release.sha256[:8]}"
    assert store.prune(set()) == []
    assert (mine / "notes.txt").read_text() == "mine"


def test_prune_keeps_the_current_and_what_it_is_told(store: ReleaseStore, tmp_path: Path) -> None:
    """Prune removes the other releases, leftovers, broken entries and partial downloads, and nothing else."""
    releases = [
        store.install(zip_at(tmp_path / "a.zip", f"listenPort: {port}\n")).release for port in range(5000, 5004)
    ]
    store.use(releases[0].version)
    (tmp_path / "releases" / ".staging-old").mkdir()
    (releases[3].path.parent / "release.json").write_text("{")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.part").write_text("half")
    (tmp_path / "cache" / "x.part.etag").write_text("{}")
    (tmp_path / "cache" / "other").write_text("not ours")
    assert store.prune({releases[1].version}) == [releases[2]]
    assert {release.version for release in store.list()} == {releases[0].version, releases[1].version}
    left = {path.name for path in (tmp_path / "releases").iterdir()} - {".install.lock", "current.json"}
    assert left == {releases[0].version, releases[1].version}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("named", "error"), [("folder", Usage), ("", Usage), ("pipe", Usage), ("none", ReleaseMissing)]
)
def test_source_that_is_no_file_is_said_kindly(
    store: ReleaseStore, tmp_path: Path, named: str, error: type[Exception]
) -> None:
    """A folder, an empty source, a pipe and a missing file are refused with a hint, before anything is created."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error) as caught:
        store.install(str(tmp_path / named) if named else "")
    assert isinstance(caught.value, Usage | ReleaseMissing)
    assert "gwctl release install" in str(caught.value.hint)
    assert not (tmp_path / "releases").exists()


@pytest.mark.parametrize("pin", ["", "abc", "g" * 64])
def test_pin_that_is_no_checksum_is_a_usage_error(store: ReleaseStore, tmp_path: Path, pin: str) -> None:
    """A malformed pin never counts as no pin."""
    with pytest.raises(Usage):
        store.install(zip_at(tmp_path / "a.zip"), sha256=pin)


def test_file_that_is_pinned_to_other_bytes_is_refused(store: ReleaseStore, tmp_path: Path) -> None:
    """A pin applies to files as well as addresses."""
    with pytest.raises(ReleaseBroken, match="not the pinned"):
        store.install(zip_at(tmp_path / "a.zip"), sha256="0" * 64)
    assert store.list() == []


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A home below a file is DiskTrouble with a hint, for the releases and for the cache."""
    (tmp_path / "file").write_text("")
    for releases, cache in ((tmp_path / "file" / "r", tmp_path / "c"), (tmp_path / "r", tmp_path / "file" / "c")):
        with pytest.raises(DiskTrouble) as caught:
            ReleaseStore(releases, cache).install("https://127.0.0.1:1/a.zip")
        assert "GWCTL_HOME" in str(caught.value.hint)


def test_two_installations_at_once_make_one_release(tmp_path: Path) -> None:
    """If several processes install the same release at once, one does it; the others report that it is done."""
    source = zip_at(tmp_path / "a.zip")
    processes = [started(tmp_path, source) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(one["outcome"] for one in said) == ["already_installed", "already_installed", "installed"]
    assert len({one["version"] for one in said}) == 1
    store = ReleaseStore(tmp_path / "releases", tmp_path / "cache")
    assert len(store.list()) == 1
    assert store.verify(said[0]["version"]).ok


def test_full_disk_is_said_and_leaves_no_release(tmp_path: Path) -> None:
    """On a full disk the error is DiskTrouble with a hint, and no release and no staging folder is left."""
    path = tmp_path / "a.zip"
    path.write_bytes(packed({**release_files(), "doc/a.txt": b"x" * 900_000}))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    said = json.loads(started(tmp_path, str(path), before=limit).communicate("go\n", timeout=60)[0])
    assert said["code"] == "disk_trouble"
    assert said["message"] == f"cannot use {tmp_path / 'releases'}: File too large"
    assert "gwctl release prune" in said["hint"]
    assert ReleaseStore(tmp_path / "releases", tmp_path / "cache").list() == []
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [".install.lock"]


def test_full_disk_under_a_download_keeps_what_came(tmp_path: Path) -> None:
    """A download that fills the disk is DiskTrouble with a hint, and the next call resumes it."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    body = packed({**release_files(), "doc/a.txt": os.urandom(900_000)})
    with serving(body) as server:
        said = json.loads(started(tmp_path, server.url(), before=limit).communicate("go\n", timeout=60)[0])
        assert said["code"] == "disk_trouble"
        assert said["message"] == f"cannot use {tmp_path / 'cache'}: File too large"
        assert "gwctl release prune" in said["hint"]
        assert ReleaseStore(tmp_path / "releases", tmp_path / "cache").install(server.url()).outcome == "installed"
        assert server.requests[-1]["Range"].startswith("bytes=")


def test_killed_installation_leaves_no_release_and_no_lock(store: ReleaseStore, tmp_path: Path) -> None:
    """After kill -9 in the middle of a download, the next installation succeeds at once."""
    with serving(release_zip()) as server:
        server.answers = [silent]
        process = started(tmp_path, server.url())
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        deadline_s = time.monotonic() + 30
        while not server.requests:
            assert time.monotonic() < deadline_s
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        (tmp_path / "releases" / ".staging-killed").mkdir()
        assert store.list() == []
        assert store.install(server.url()).outcome == "installed"
    assert not (tmp_path / "releases" / ".staging-killed").exists()


def test_installation_killed_while_it_unpacks_leaves_nothing_half(store: ReleaseStore, tmp_path: Path) -> None:
    """After kill -9 between two of 3,000 files no release is listed, and the next installation clears what was left."""
    path = tmp_path / "a.zip"
    path.write_bytes(packed({**release_files(), **{f"doc/{number}.txt": b"x" * 1_000 for number in range(3_000)}}))
    process = started(tmp_path, str(path))
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    deadline_s = time.monotonic() + 30
    while not (left := list((tmp_path / "releases").glob(".staging-*/clientportal.gw/doc/1*.txt"))):
        assert time.monotonic() < deadline_s
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert left[0].exists()
    assert store.list() == []
    assert store.install(str(path)).outcome == "installed"
    assert store.verify("20230424-a27ed421").ok
    assert not left[0].exists()


def test_looking_at_releases_loads_no_http_library() -> None:
    """Importing the store and listing loads neither httpx nor another slow library."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom gwctl.release.store import ReleaseStore\n"
        "ReleaseStore(Path('/nonexistent/r'), Path('/nonexistent/c')).current()\n"
        "print(sorted({'httpx', 'filelock', 'cryptography', 'yaml', 'playwright'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
