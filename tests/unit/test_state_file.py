from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from gwctl.errors import DiskTrouble
from gwctl.state_file import make_private_dir, read_json, set_aside, write_bytes, write_json

pytestmark = pytest.mark.law(9)


def write_often(file: Path, letter: str) -> None:
    for number in range(50):
        write_json(file, {"letter": letter, "number": number, "long": letter * 20_000})


def test_written_file_is_private_and_whole(tmp_path: Path) -> None:
    """Law 9: 0600 in 0700, readable again, and no temporary file left."""
    old = os.umask(0)
    try:
        write_json(tmp_path / "new" / "state.json", {"a": [1, "ü"]})
    finally:
        os.umask(old)
    file = tmp_path / "new" / "state.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert read_json(file) == ({"a": [1, "ü"]}, None)
    assert [entry.name for entry in file.parent.iterdir()] == ["state.json"]


def test_readers_see_the_old_or_the_new_file(tmp_path: Path) -> None:
    """Law 9: while two processes write, every read returns one complete version."""
    file = tmp_path / "state.json"
    write_json(file, {"letter": "a", "long": "a" * 20_000})
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(file, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        value, aside = read_json(file)
        assert aside is None
        assert value is not None
        assert value["long"] == value["letter"] * 20_000
    for writer in writers:
        writer.join(10)
        assert writer.exitcode == 0


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 9: a full disk costs the new content, never the old, and leaves no partial file."""
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gwctl.state_file.os.fsync", full)
    with pytest.raises(DiskTrouble, match="No space left") as caught:
        write_json(file, {"a": 2})
    assert caught.value.hint
    assert read_json(file) == ({"a": 1}, None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_rewriting_mends_the_mode(tmp_path: Path) -> None:
    """The next write makes a file private again that was opened to others."""
    file = tmp_path / "state.json"
    file.write_text("{}")
    file.chmod(0o666)
    write_bytes(file, b"{}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_bytes(file, b"{}", mode=0o644)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    """A folder of ours that others may enter is closed to them."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    make_private_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    """The error names the folder and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskTrouble, match="cannot create the folder") as caught:
        make_private_dir(tmp_path / "file" / "folder")
    assert "GWCTL_HOME" in (caught.value.hint or "")


def test_missing_file_is_nothing(tmp_path: Path) -> None:
    """A missing file is not damaged."""
    assert read_json(tmp_path / "none.json") == (None, None)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """An unreadable file does not count as missing."""
    (tmp_path / "state.json").mkdir()
    with pytest.raises(DiskTrouble, match="cannot read"):
        read_json(tmp_path / "state.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff", b"[" * 100_000, b'{"a": 1}{"b": 2}'])
def test_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Law 9: an unreadable state file is kept under another name and not read again."""
    file = tmp_path / "state.json"
    file.write_bytes(content)
    value, aside = read_json(file)
    assert value is None
    assert aside is not None
    assert aside.name.startswith("state.json.damaged-")
    assert aside.read_bytes() == content
    assert read_json(file) == (None, None)


def test_setting_aside_what_is_gone_is_no_error(tmp_path: Path) -> None:
    """Another process may have been first."""
    assert not set_aside(tmp_path / "none.json").exists()


def test_a_folder_of_everybody_stays_everybodys(tmp_path: Path) -> None:
    """A sticky folder such as /tmp stays open to others, whoever owns it."""
    tmp_path.chmod(0o1777)
    make_private_dir(tmp_path)
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
