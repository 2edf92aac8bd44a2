"""Hostile and broken zips: none becomes a release, and none writes outside its staging folder."""

from __future__ import annotations

import io
import os
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from release_fakes import jar, packed, release_files, release_zip

from gwctl.errors import ReleaseBroken
from gwctl.release import archive
from gwctl.release.store import ReleaseStore


def with_entry(name: str, content: bytes = b"x", *, mode: int = 0, flags: int = 0) -> bytes:
    """Return a good release with one more entry, which zipfile is kept from making harmless."""
    buffer = io.BytesIO(release_zip())
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        entry.create_system = 3
        entry.external_attr = mode << 16
        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    made = buffer.getvalue()
    if flags:
        for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            at = made.rfind(signature) + offset
            made = made[:at] + struct.pack("<H", struct.unpack_from("<H", made, at)[0] | flags) + made[at + 2 :]
    return made


def truncated() -> bytes:
    whole = release_zip()
    return whole[: len(whole) // 2]


def flipped() -> bytes:
    """Return a release in which one byte of a stored file is wrong."""
    whole = packed({**release_files(), "doc/read.me": b"every byte counts"}, zipfile.ZIP_STORED)
    at = whole.find(b"every byte counts")
    return whole[:at] + b"E" + whole[at + 1 :]


def lying_index() -> bytes:
    """Return a release whose index says that a file of 5 MB has 10 bytes."""
    whole = packed({**release_files(), "doc/read.me": os.urandom(5_000_000)})
    at = whole.rfind(b"PK\x01\x02", 0, whole.rfind(b"doc/read.me"))
    return whole[: at + 24] + struct.pack("<L", 10) + whole[at + 28 :]


def many_entries() -> bytes:
    return packed({**release_files(), **{f"doc/{number}": b"" for number in range(300)}})


def shifted_index() -> bytes:
    """Return a release whose index claims to begin 100 bytes later, so that its entries begin before the file."""
    whole = release_zip()
    at = whole.rfind(b"PK\x05\x06") + 16
    return whole[:at] + struct.pack("<L", struct.unpack_from("<L", whole, at)[0] + 100) + whole[at + 4 :]


def huge_index() -> bytes:
    """Return a file with an index of 4 GB according to its last bytes."""
    return b"PK\x03\x04" + bytes(100) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, 0xFFFFFFF0, 0, 0)


def without(name: str) -> Callable[[], bytes]:
    return lambda: packed({path: content for path, content in release_files().items() if path != name})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: b"", "no zip"),
        (truncated, "cut short"),
        (lambda: b"PK\x03\x04", "cut short"),
        (lambda: b"  <!DOCTYPE html><title>Sign in</title>", "web page"),
        (lambda: b"\0" + os.urandom(5_000).replace(b"PK", b"--"), "no zip"),
        (flipped, "damaged"),
        (lying_index, "damaged"),
        (huge_index, "damaged"),
        (shifted_index, "leads out of the file"),
        (many_entries, "more than 200 entries"),
        (lambda: with_entry("../evil"), "unsafe name"),
        (lambda: with_entry("root/../../evil"), "unsafe name"),
        (lambda: with_entry("root/.."), "unsafe name"),
        (lambda: with_entry("/etc/cron.d/evil"), "unsafe name"),
        (lambda: with_entry("..\\evil"), "unsafe name"),
        (lambda: with_entry("C:/evil"), "unsafe name"),
        (lambda: with_entry("root//evil"), "unsafe name"),
        (lambda: with_entry("./evil"), "unsafe name"),
        (lambda: with_entry("root/\x1b[2Jevil"), "unsafe name"),
        (lambda: with_entry("root/evil\nline"), "unsafe name"),
        (lambda: with_entry("root/" + "n" * 300), "unsafe name"),
        (lambda: with_entry("root/link", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "a link or another special file"),
        (lambda: with_entry("root/link", b"conf.yaml", mode=stat.S_IFLNK | 0o777), "a link or another special file"),
        (lambda: with_entry("root/pipe", b"", mode=stat.S_IFIFO | 0o666), "a link or another special file"),
        (lambda: with_entry("root/device", b"", mode=stat.S_IFCHR | 0o666), "a link or another special file"),
        (lambda: with_entry("root/folder", b"x", mode=stat.S_IFDIR | 0o755), "a link or another special file"),
        (lambda: with_entry("root/secret", flags=0x1), "encrypted|password"),
        (lambda: with_entry("root/CONF.yaml"), "the same name"),
        (lambda: with_entry("root/conf.yaml/x"), "the same name"),
        (lambda: with_entry("root/bomb", bytes(5_000_000)), "unpacks to more than"),
        (lambda: with_entry("root/large", os.urandom(2_500_000)), "unpacks to more than"),
        (without("bin/run.sh"), "missing bin/run.sh"),
        (without("root/conf.yaml"), "missing root/conf.yaml"),
        (without("root/logback.xml"), "missing root/logback.xml"),
        (without("root/webapps/demo/index.html"), "missing root/webapps/demo/index.html"),
        (without("dist/clientportal.gw.jar"), r"missing dist/\*\.jar"),
        (without("build/lib/runtime/vertx-core-3.5.0.jar"), r"missing build/lib/runtime/\*\.jar"),
        (lambda: packed({"photo.jpg": b"x"}), "missing bin/run.sh, "),
        (lambda: packed({}), "missing"),
    ],
)
def test_broken_archive_never_becomes_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[], bytes], said: str
) -> None:
    """A zip that is not a valid release is refused in one line with a hint, and the disk is unchanged."""
    source = tmp_path / "clientportal.gw.zip"
    source.write_bytes(made())
    monkeypatch.setattr(archive, "MAX_ENTRIES", 200)
    monkeypatch.setattr(archive, "MAX_BYTES", 2_000_000 if "unpacks" in said else 10_000_000)
    store = ReleaseStore(tmp_path / "releases", tmp_path / "cache")
    with pytest.raises(ReleaseBroken, match=said) as caught:
        store.install(str(source))
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()
    assert "gwctl release install" in str(caught.value.hint)
    assert caught.value.exit_code == 69
    assert store.list() == []
    assert store.current() is None
    left = {path.name for path in tmp_path.rglob("*")}
    assert left <= {"clientportal.gw.zip", "releases", ".install.lock"}


def test_archive_with_one_top_folder_is_taken(tmp_path: Path) -> None:
    """A release packed inside a folder, or with macOS's extra files, installs like a plain one."""
    files = {f"clientportal.gw/{name}": content for name, content in release_files().items()}
    extra = {
        "__MACOSX/clientportal.gw/._conf.yaml": b"x",
        "clientportal.gw/.DS_Store": b"x",
        "clientportal.gw/doc/": b"",
    }
    (tmp_path / "a.zip").write_bytes(packed({**files, **extra}))
    release = ReleaseStore(tmp_path / "releases", tmp_path / "cache").install(str(tmp_path / "a.zip")).release
    found = {path.relative_to(release.path).as_posix() for path in release.path.rglob("*") if path.is_file()}
    assert found == release_files().keys()
    assert {path: (release.path / path).read_bytes() for path in found} == release_files()


def test_stand_in_is_marked_and_needs_no_libraries(tmp_path: Path) -> None:
    """The marker at the top makes a release the sandbox's, with its own version, and never the default by itself."""
    files = {name: content for name, content in release_files().items() if not name.startswith("build/")}
    (tmp_path / "a.zip").write_bytes(packed({**files, "gwctl-standin.json": b'{"version": "0.9.1"}'}))
    store = ReleaseStore(tmp_path / "releases", tmp_path / "cache")
    release = store.install(str(tmp_path / "a.zip"), select=False).release
    assert (release.kind, release.version) == ("standin", "standin-0.9.1")
    assert store.current() is None


def test_version_falls_back_to_the_checksum(tmp_path: Path) -> None:
    """For a jar without a build, or an invalid one, the version comes from the archive's checksum."""
    store = ReleaseStore(tmp_path / "releases", tmp_path / "cache")
    for number, content in enumerate([b"not a jar", jar(b"Manifest-Version: 1.0\n"), packed({"x": b""})]):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(packed({**release_files(), "dist/clientportal.gw.jar": content}))
        release = store.install(str(path)).release
        assert release.version == release.sha256[:12]


def test_modes_do_not_come_from_the_archive(tmp_path: Path) -> None:
    """For any archive, run.sh is executable, nothing is writable by others, and nothing is set-uid."""
    (tmp_path / "a.zip").write_bytes(with_entry("bin/other.sh", mode=stat.S_IFREG | 0o6777))
    release = ReleaseStore(tmp_path / "releases", tmp_path / "cache").install(str(tmp_path / "a.zip")).release
    modes = {
        path.relative_to(release.path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in release.path.rglob("*")
    }
    assert modes["bin/run.sh"] == 0o755
    assert {mode for path, mode in modes.items() if (release.path / path).is_dir()} == {0o755}
    assert {
        mode for path, mode in modes.items() if "." in path and path != "bin/run.sh" and (release.path / path).is_file()
    } == {0o644}


_PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "/", "\\", "C:", "~", "root", "bin", "conf.yaml", "CON", "a\x00b", "\u202e", "é", "e\u0301"]
    ),
    st.text(max_size=12),
)
_NAMES = st.lists(_PARTS, min_size=1, max_size=6).map("/".join)
_MODES = st.sampled_from([0, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFIFO | 0o600])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_NAMES, _MODES), min_size=1, max_size=4))
def test_arbitrary_names_never_write_outside(entries: list[tuple[str, int]]) -> None:
    """With any entry names, files appear only below the release's folder, or nothing is installed."""
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        home = outside / "deep" / "home"
        home.mkdir(parents=True)
        source = home / "a.zip"
        buffer = io.BytesIO(release_zip())
        with zipfile.ZipFile(buffer, "a") as archive:
            for path, mode in entries:
                entry = zipfile.ZipInfo("placeholder")
                entry.filename = path.encode("utf-8", "replace").decode()
                entry.create_system = 3
                entry.external_attr = mode << 16
                archive.NameToInfo.clear()  # zipfile warns about duplicate names
                archive.writestr(entry, b"../../evil")
        source.write_bytes(buffer.getvalue())
        store = ReleaseStore(home / "releases", home / "cache")
        try:
            release = store.install(str(source)).release
        except ReleaseBroken:
            assert store.list() == []
        else:
            assert store.verify(release.version).ok
        allowed = {home / "releases" / one for one in (".install.lock", "current.json")} | {source}
        for found in outside.rglob("*"):
            assert not found.is_symlink()
            if found.is_file() and found not in allowed:
                assert (home / "releases") in found.parents
                assert not found.relative_to(home / "releases").parts[0].startswith(".")
