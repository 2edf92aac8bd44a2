"""Archives that somebody else packed: a release or ReleaseBroken, and nothing outside the folder to unpack into."""

from __future__ import annotations

import contextlib
import io
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus.zips import GOOD, INPUTS, added, patched
from fuzzing import about, bounded, fuzzed, memory_folder, torn
from hypothesis import given
from hypothesis import strategies as st
from release_fakes import packed, release_files

from gwctl.errors import ReleaseBroken
from gwctl.release.archive import unpack, version_of


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder in memory, if there is memory that is a disk."""
    with memory_folder() as made:
        yield made


def play(folder: Path, raw: bytes) -> bool:
    """Unpack ``raw`` and return whether it is a release; check that nothing else was written."""
    shutil.rmtree(folder)
    folder.mkdir()
    file, top = folder / "upload.zip", folder / "top"
    file.write_bytes(raw)
    top.mkdir()
    with file.open("rb") as archive, bounded(cpu_s=5.0), contextlib.suppress(ReleaseBroken):
        written = unpack(archive, "upload.zip", top)
        version = version_of(top, "0" * 64)
        assert version.isprintable()
        assert "/" not in version
        assert {path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir()} == set(written)
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in top.rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR}
    assert not any(path.stat().st_mode & 0o7022 for path in top.rglob("*") if path.is_file())
    assert {path.name for path in folder.iterdir()} == {"upload.zip", "top"}
    return "written" in locals()


def test_a_good_release_is_unpacked(folder: Path) -> None:
    """A release as IBKR packs it is one, so the other tests are about what is wrong."""
    assert play(folder, GOOD)


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_archive_is_a_release_or_is_refused(case: str, folder: Path) -> None:
    """Every archive that was ever interesting is unpacked within the folder, or refused."""
    play(folder, INPUTS[case]())


PARTS = st.sampled_from(
    (
        *(
            "..",
            ".",
            "",
            "/",
            "\\",
            "C:",
            "bin",
            "BIN",
            "run.sh",
            "root",
            "dist",
            "Conf.yaml",
            "\0",
            "\n",
            "\u202e",
            "é",
        ),
        *("e\u0301", "ß", "SS", "İ", "\ud800", "a" * 300, "con", "~", "__MACOSX", ".DS_Store", "META-INF", "x.jar"),
    )
) | st.text(max_size=6)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
FIELDS = {
    "flags": st.sampled_from((0x1, 0x8, 0x20, 0x40, 0x800, 0x2000)),
    "method": st.sampled_from((0, 1, 8, 9, 12, 14, 93, 95, 99, 65_535)),
    "mode": st.sampled_from((stat.S_IFLNK, stat.S_IFBLK, stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO, 0o4777, 0xF000)),
    **{name: st.integers(0, 2**32 - 1) | st.integers(0, 64) for name in ("crc", "packed", "size", "offset")},
    **{name: st.integers(0, 65_535) | st.integers(0, 64) for name in ("name", "extra", "disk")},
}
ENTRIES = st.builds(
    lambda name, content, fields: patched(added(name, content, mode=fields.pop("mode", 0)), **fields),
    NAMES.filter(bool),
    st.binary(max_size=60),
    st.fixed_dictionaries({}, optional=FIELDS),
)
SEVERAL = st.dictionaries(NAMES.filter(bool), st.binary(max_size=20), max_size=4)


def _packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive, contextlib.suppress(UnicodeEncodeError, IndexError):
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_any_archive_is_a_release_or_is_refused(folder: Path) -> None:
    """Torn archives, odd names and odd fields: nothing but ReleaseBroken is raised, and nothing leaves the folder."""
    conf = st.binary(max_size=60).map(lambda text: packed(release_files(conf=text)))

    @fuzzed(150)
    @given(torn(GOOD) | ENTRIES | SEVERAL.map(_packed) | ENTRIES.flatmap(torn) | conf)
    def check(raw: bytes) -> None:
        with about(raw):
            play(folder, raw)

    check()
