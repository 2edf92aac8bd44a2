"""The journal as it may be on disk: every readable line is read, whatever the others are."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from corpus.journals import INPUTS
from corpus.state_files import INPUTS as STATE_INPUTS
from fuzzing import about, bounded, damaged, encoded, fuzzed, memory_folder, sampled, swept, torn
from hypothesis import given
from hypothesis import strategies as st

from gwctl.errors import GwctlError
from gwctl.history.journal import MAX_BYTES, Journal, Seen, last_at, older, read_entries
from gwctl.history.report import LastSign, tell
from gwctl.paths import Paths

AT = "2026-11-28T08:00:0{}.000Z"
START = {"n": 1, "at": AT.format(0), "kind": "start", "boot": "b", "last_seen": AT.format(0), "last_ready": True}
ENTRIES: tuple[dict[str, Any], ...] = (
    START,
    {"n": 2, "at": AT.format(1), "kind": "phase", "phase": "ready", "reason": "r", "event": "Checked", "after_s": 0.5},
    {"n": 3, "at": AT.format(2), "kind": "warning", "code": "x", "text": "t", "folded": 2},
    {
        "n": 6,
        "at": AT.format(3),
        "kind": "phase",
        "phase": "recovering",
        "reason": "r",
        "event": "Checked",
        "after_s": 1.0,
    },
    {"n": 7, "at": AT.format(4), "kind": "cure", "rung": "reauthenticate", "ok": True},
    {"n": 8, "at": AT.format(4), "kind": "login", "outcome": "success", "text": "t", "took_s": 2.5},
    {"n": 9, "at": AT.format(5), "kind": "gateway", "pid": 1},
    {"n": 10, "at": AT.format(6), "kind": "window", "open": True, "for_s": 600.0},
    {"n": 11, "at": AT.format(7), "kind": "clock", "asleep_s": 1.5, "jumped_s": 0.0},
    {"n": 12, "at": AT.format(8), "kind": "end", "exit_code": 75, "text": "t"},
)
LINES = tuple(encoded(entry) for entry in ENTRIES)
GOOD = b"\n".join(LINES) + b"\n"


@pytest.fixture(scope="module")
def paths() -> Iterator[Paths]:
    """Return a profile in memory, if there is memory that is a disk."""
    with memory_folder() as home:
        paths = Paths.for_profile("default", home)
        paths.profile_dir.mkdir(parents=True, mode=0o700)
        yield paths


def read(paths: Paths, newer: bytes, before: bytes = b"") -> list[dict[str, Any]]:
    """Read a journal in every way that it is read, and add to it; return its entries."""
    paths.journal_file.write_bytes(newer)
    older(paths.journal_file).write_bytes(before)
    paths.journal_seen_file.unlink(missing_ok=True)
    with bounded():
        found = read_entries(paths)
        entries = list(found)
        now_s = time.time()
        history = tell(entries, now_s=now_s, last_sign=LastSign(now_s, ready=False))
        assert history.lost_lines >= 0
        assert all(one.length_s >= 0 for one in history.stretches)
        json.dumps(entries)
        last = last_at(paths.journal_file)
        assert last is None or isinstance(last, str)
        Seen.load(paths.journal_seen_file)
        with contextlib.suppress(GwctlError):
            Journal(paths.journal_file).begin()
    kept = paths.journal_file.read_bytes()
    assert kept.startswith(newer) or older(paths.journal_file).read_bytes() == newer, "lines are lost"
    assert json.loads(kept.splitlines()[-1])["kind"] == "start"
    return entries


def test_the_good_journal_is_read_whole(paths: Paths) -> None:
    """Each line as we write it is an entry, so the other tests are about the damage."""
    assert read(paths, GOOD) == list(ENTRIES)


@pytest.mark.parametrize("case", [*INPUTS, *STATE_INPUTS])
def test_a_kept_line_spoils_no_other(case: str, paths: Paths) -> None:
    """Whatever one line is, those before and after it are read."""
    line = {**STATE_INPUTS, **INPUTS}[case]
    entries = read(paths, GOOD + line + b"\n" + GOOD, line)
    assert [one for one in entries if one in ENTRIES][-len(ENTRIES) :] == list(ENTRIES)
    assert sum(one == START for one in entries) >= (2 if len(line) < MAX_BYTES else 1)


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_a_wrong_value_in_any_field_is_read(number: int, paths: Paths) -> None:
    """Every field of every kind of entry gets each value that is wrong in some way, and is left out."""
    for raw in sampled(swept(ENTRIES[number]), one_in=8):
        with about(raw):
            read(paths, b"\n".join((*LINES[:number], raw, *LINES[number + 1 :], b"")))


def test_any_journal_is_read(paths: Paths) -> None:
    """Whatever is in both files, they are read without an error, and the next entry is written."""
    line = st.sampled_from(LINES) | st.sampled_from(ENTRIES).flatmap(damaged)
    journal = st.lists(line, max_size=12).map(b"\n".join) | torn(GOOD)

    @fuzzed(100)
    @given(journal, st.just(GOOD) | journal)
    def check(newer: bytes, before: bytes) -> None:
        read(paths, newer, before)

    check()
