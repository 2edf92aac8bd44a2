"""The journal: a problem with one line or one supervisor costs no more than that line."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import wait_for

from gwctl.errors import DiskTrouble
from gwctl.history import journal as journal_module
from gwctl.history.journal import Entries, Journal, Seen, read_entries
from gwctl.paths import Paths


def paths_of(folder: Path) -> Paths:
    return Paths.for_profile("default", folder)


def read(paths: Paths) -> tuple[list[dict[str, Any]], int]:
    entries = read_entries(paths)
    return list(entries), entries.damaged


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """A line that a crash cut off is one damaged line; the next one is whole."""
    paths = paths_of(tmp_path)
    Journal(paths.journal_file).write("before")
    with paths.journal_file.open("a") as file:
        file.write('{"n":2,"at":"2026-11-2')
    Journal(paths.journal_file).write("after")
    entries, damaged = read(paths)
    assert ([entry["kind"] for entry in entries], damaged) == (["before", "after"], 1)
    assert paths.journal_file.read_bytes().count(b"\n") == 3


def test_a_write_is_one_line_at_the_end(tmp_path: Path) -> None:
    """No text in an entry can break its line, or one of the screen on which it is shown."""
    paths = paths_of(tmp_path)
    Journal(paths.journal_file).write("note", text='a\nb\r\u2028\x00\ud800"')
    assert paths.journal_file.read_bytes().count(b"\n") == 1
    assert read(paths)[0][0]["text"] == 'a b  \ufffd"'


WRITER = """
    import sys
    from pathlib import Path
    from gwctl.history.journal import Journal
    journal = Journal(Path(sys.argv[1]))
    journal.begin()
    while True:
        journal.write("note", text="x" * 300)
"""


def test_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    """A supervisor killed while it writes leaves readable lines, numbered without gaps; the next one continues."""
    paths = paths_of(tmp_path)
    for life in range(3):
        before = len(read(paths)[0])
        writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(paths.journal_file)])
        try:
            wait_for(lambda before=before: len(read(paths)[0]) > before + 50, 30, "the writer writes")  # type: ignore[misc] # a default that binds
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait(timeout=20)
        entries = read(paths)[0][before:]
        assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
        assert entries[0]["kind"] == "start"
        assert (entries[0]["last_seen"] is None) is (life == 0)
    Journal(paths.journal_file).write("after")
    entries, damaged = read(paths)
    assert entries[-1]["kind"] == "after"
    assert damaged <= 3


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Make writing below ``folder`` fail after 64 KB, until the yielded function is called.

    By a file system of that size; where none may be mounted, by the limit that the system sets this process.
    """
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder), "-o"]

    def grow() -> None:
        subprocess.run([*mount, "remount,size=1m"], check=True)

    if os.geteuid() == 0 and subprocess.run([*mount, "size=64k"], capture_output=True, check=False).returncode == 0:
        try:
            yield grow
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536 - 100, limits[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("may_mount", [True, False])
def test_a_full_disk_loses_lines_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, may_mount: bool
) -> None:
    """Writing to a full disk never raises; once there is room, lines are whole again, and the numbers show the loss."""
    if not may_mount:  # as if not root: the other way to a full disk works everywhere, and is tested everywhere
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    paths = paths_of(tmp_path)
    paths.profile_dir.mkdir(parents=True)
    with small_disk(paths.profile_dir) as make_room:
        journal = Journal(paths.journal_file)
        journal.begin()
        for _ in range(1000):
            journal.write("note", text="x" * 100)
        journal.seen(ready=True)
        journal.begin()
        full = paths.journal_file.read_bytes()
        kept, damaged = read(paths)
        assert len(full) <= 65_536
        assert not full.endswith(b"\n"), "the disk tore no line: this test shows less than it says"
        assert (damaged, [entry["n"] for entry in kept]) == (1, list(range(1, len(kept) + 1)))
        make_room()
        after = journal.write("after")
        entries, damaged = read(paths)
        assert (entries, damaged) == ([*kept, after], 1)
        assert after["n"] == journal.count == 1003


def test_a_folder_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    """Deleting the profile's folder costs the lines in it, not later ones."""
    paths = paths_of(tmp_path)
    journal = Journal(paths.journal_file)
    journal.write("before")
    shutil.rmtree(paths.profile_dir)
    after = journal.write("after")
    assert read(paths) == ([after], 0)
    assert paths.profile_dir.stat().st_mode & 0o777 == 0o700


def test_what_a_begin_knows_of_the_supervisor_before(tmp_path: Path) -> None:
    """``last_seen`` is the latest sign of life; ``last_ready`` is set if it is later than the last line."""
    paths = paths_of(tmp_path)
    first = Journal(paths.journal_file)
    begun = first.begin(sandbox=True, version="1")
    assert (begun["last_seen"], begun["sandbox"], begun["version"], "last_ready" in begun) == (None, True, "1", False)
    first.seen(ready=True)
    wait_for(lambda: first.write("note")["at"] > begun["at"], 5, "the clock goes on")
    assert Journal(paths.journal_file).begin()["last_seen"] == first.recent[-1]["at"]
    late = "2999-01-01T00:00:00.000Z"
    paths.journal_seen_file.write_text(json.dumps({"at": late, "ready": False}))
    third = Journal(paths.journal_file).begin()
    assert (third["last_seen"], third["last_ready"]) == (late, False)
    assert third["boot"] == begun["boot"]
    assert read(paths)[0][-1] == third


def test_a_begin_after_the_journal_was_put_aside(tmp_path: Path) -> None:
    """The last line is found in the older file, or before damage at the end."""
    paths = paths_of(tmp_path)
    last = Journal(paths.journal_file).write("note")
    paths.journal_file.replace(paths.journal_file.with_name("journal.jsonl.1"))
    assert Journal(paths.journal_file).begin()["last_seen"] == last["at"]
    with paths.journal_file.open("ab") as file:
        file.write(b"\x00" * 5000)
    assert Journal(paths.journal_file).begin()["last_seen"] is not None


def test_a_sign_of_life_is_whole_private_and_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two a minute are written; a damaged one counts as missing."""
    paths = paths_of(tmp_path)
    now = iter([100.0, 120.0, 130.0, 140.0])
    monkeypatch.setattr("gwctl.history.journal.time.monotonic", lambda: next(now))
    journal = Journal(paths.journal_file)
    assert journal.seen_file == paths.journal_seen_file
    journal.seen(ready=True)
    assert paths.journal_seen_file.stat().st_mode & 0o777 == 0o600
    journal.seen(ready=False)
    assert Seen.load(paths.journal_seen_file) == Seen(
        json.loads(paths.journal_seen_file.read_text())["at"], ready=True, ever_ready=True
    )
    journal.seen(ready=False)
    seen = Seen.load(paths.journal_seen_file)
    assert seen is not None
    assert (seen.ready, seen.ever_ready) == (False, True)
    assert Journal(paths.journal_file).begin()["ever_ready"] is True
    paths.journal_seen_file.write_text('{"at": 7}')
    assert Seen.load(paths.journal_seen_file) is None
    paths.journal_seen_file.write_text("{")
    assert Seen.load(paths.journal_seen_file) is None


def test_both_files_are_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rotated file comes before the current one, nothing is lost, and there are never more than two files."""
    monkeypatch.setattr(journal_module, "MAX_BYTES", 20_000)
    paths = paths_of(tmp_path)
    journal = Journal(paths.journal_file)
    for _ in range(400):
        journal.write("note", text="x" * 50)
    numbers = [entry["n"] for entry in read(paths)[0]]
    assert numbers == list(range(numbers[0], 401))
    assert sorted(file.name for file in paths.profile_dir.iterdir()) == ["journal.jsonl", "journal.jsonl.1"]
    assert all(file.stat().st_size < 20_200 for file in paths.profile_dir.iterdir())


def test_reading_while_the_journal_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes in between reads again and does not miss the middle."""
    paths = paths_of(tmp_path)
    journal = Journal(paths.journal_file)
    journal.write("one")
    real, rotations = journal_module._read, iter([True])

    def read_slowly(file: Path) -> tuple[bytes, int | None]:
        found = real(file)
        if next(rotations, False):
            paths.journal_file.replace(paths.journal_file.with_name("journal.jsonl.1"))
            journal.write("two")
        return found

    monkeypatch.setattr(journal_module, "_read", read_slowly)
    assert [entry["kind"] for entry in read(paths)[0]] == ["one", "two"]


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    """A missing journal is an empty one; an unreadable one is an error."""
    paths = paths_of(tmp_path)
    assert read(paths) == ([], 0)
    paths.journal_file.mkdir(parents=True)
    with pytest.raises(DiskTrouble, match=r"journal\.jsonl"):
        read_entries(paths)


_LINES = st.one_of(
    st.builds(lambda n: json.dumps({"n": n, "at": "2026-11-23T00:00:00.000Z", "kind": "note"}), st.integers()),
    st.sampled_from(["", "{", "[", "]", "1,2", "{}", "null", '{"at":"x"}', '{"at":1,"kind":"x"}', "[" * 3000, "\x00"]),
    st.text(max_size=5).map(lambda text: text.replace("\n", "")),
)


@settings(deadline=None)
@given(st.lists(_LINES, max_size=12))
def test_each_line_is_read_by_itself(lines: list[str]) -> None:
    """Each intact line is read, whatever is next to it, and every damaged line is counted."""
    entries = Entries(["\n".join(lines).encode()])
    sound = [line for line in lines if '"n"' in line]
    assert list(entries) == [json.loads(line) for line in sound]
    assert entries.damaged == len([line for line in lines if line]) - len(sound)
