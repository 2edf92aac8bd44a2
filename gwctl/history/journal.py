"""The journal: one line for each event, repeated lines folded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gwctl.errors import DiskTrouble
from gwctl.ownership import open_ours
from gwctl.paths import Paths
from gwctl.plain_text import cleaned
from gwctl.state_file import make_private_dir, read_json, write_json
from gwctl.times import utc_ms

if TYPE_CHECKING:
    from gwctl.background_writer import BackgroundWriter

WRITTEN = 5
"""How many equal entries are written; after that, one every ``AGAIN_S``."""
AGAIN_S = 600.0
_KINDS = frozenset({"phase", "step", "warning", "defect", "restart"})
"""The kinds that are folded. Readers count logins, recovery steps and gateways, which have their own pauses."""
_MOST_KNOWN = 200
_DIGITS = re.compile(r"\d+")

Sign = tuple[tuple[str, str], ...]


@dataclass
class Folding:
    """Folds the entries since the session was last ready. ``take`` gets all of them, in order."""

    folded: int = 0
    """How many entries were left out since the last written one."""
    _seen: dict[Sign, tuple[int, float]] = field(default_factory=dict)

    def take(self, entry: Mapping[str, Any], now_s: float) -> dict[str, Any] | None:
        """Return what to write for ``entry``, None for nothing; ``now_s`` is monotonic.

        The first entry after those left out says how many they were (``folded``), so that their numbers do not count as
        missing.
        """
        if self._is_repeated(entry, now_s):
            self.folded += 1
            return None
        folded, self.folded = self.folded, 0
        return {**entry, "folded": folded} if folded else dict(entry)

    def _is_repeated(self, entry: Mapping[str, Any], now_s: float) -> bool:
        if entry["kind"] == "phase" and entry.get("phase") == "ready":
            # Between two times of readiness everything is written, or the time between would seem empty.
            self._seen.clear()
            return False
        if entry["kind"] not in _KINDS:
            return False
        sign = _sign_of(entry)
        times, written_s = self._seen.get(sign, (0, now_s))
        if times >= WRITTEN and now_s - written_s < AGAIN_S:
            return True
        if len(self._seen) >= _MOST_KNOWN:
            self._seen.clear()
        self._seen[sign] = times + 1, now_s
        return False


def _sign_of(entry: Mapping[str, Any]) -> Sign:
    """Return the part that equal entries share: their texts without numbers and times."""
    words = {name: value for name, value in entry.items() if name not in {"n", "at"} and isinstance(value, str)}
    return tuple((name, _DIGITS.sub("#", value)) for name, value in sorted(words.items()))


MAX_BYTES = 4_000_000
SEEN_EVERY_S = 29.0
"""A little less than the half minute between the supervisor's calls, so that no call comes too early."""
LAST_LINES_BYTES = 65_536
LONGEST_LINE_CHARS = 65_536
"""A longer line is damaged: its content could take all memory."""
LINES_AT_ONCE = 500
READ_TRIES = 3
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


class Seen(Struct, frozen=True):
    """A supervisor's last sign of life, and whether the session was ready then."""

    at: str
    ready: bool
    ever_ready: bool = False
    """Whether the profile ever had a session."""

    @classmethod
    def load(cls, file: Path) -> Seen | None:
        """Return the content of ``file``, None if it is missing or unreadable."""
        with contextlib.suppress(DiskTrouble):
            match read_json(file)[0]:
                case {"at": str() as at, "ready": bool() as ready, **more}:
                    return cls(at, ready, ready or more.get("ever_ready") is True)
        return None


class Journal:
    """The journal file, and the last entries in memory for followers.

    With a ``scribe``, the scribe writes the file in the order of the entries, and no caller waits for the disk.
    """

    def __init__(self, file: Path, *, remembered: int = 500, scribe: BackgroundWriter | None = None) -> None:
        self.file = file
        self._scribe = scribe
        if scribe is not None:
            scribe.on_left_out = self._miss
        self.recent: deque[dict[str, Any]] = deque(maxlen=remembered)
        self.count = 0
        self.on_entry: Callable[[], None] | None = None
        self._seen_s: float | None = None
        self._ever_ready = False
        self._folding = Folding()

    @property
    def seen_file(self) -> Path:
        """The file with the last sign of life, next to the journal."""
        return self.file.with_suffix(".seen")

    def begin(self, **fields: object) -> dict[str, Any]:
        """Append the start of a supervisor, durably, and return the entry.

        ``last_seen`` is the time of the previous supervisor's last sign of life or last entry, whichever is later; None
        if unknown. ``last_ready`` is only set if it comes from the sign of life. ``ever_ready`` is whether the profile
        had a session before. ``boot`` distinguishes a machine that went down from a supervisor that was killed.
        """
        last, seen = last_at(self.file), Seen.load(self.seen_file)
        spoke_later = seen is not None and (last is None or seen.at > last)
        known: dict[str, object] = {"last_seen": seen.at if seen and spoke_later else last}
        if seen and spoke_later:
            known["last_ready"] = seen.ready
        self._ever_ready = seen is not None and seen.ever_ready
        known["ever_ready"] = self._ever_ready
        return self._write("start", {**fields, **known, "boot": _boot()}, durable=True)

    def seen(self, *, ready: bool) -> None:
        """Write a sign of life to disk, at most twice a minute; a full disk loses it."""
        now_s = time.monotonic()
        if self._seen_s is not None and now_s - self._seen_s < SEEN_EVERY_S:
            return
        self._seen_s = now_s
        self._ever_ready = self._ever_ready or ready
        told = {"at": utc_ms(time.time()), "ready": ready, "ever_ready": self._ever_ready}
        self._do(partial(self._keep_seen, told))

    def _keep_seen(self, seen: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, DiskTrouble):
            write_json(self.seen_file, seen)

    def write(self, kind: str, **fields: object) -> dict[str, Any]:
        """Append one entry and return it; an entry that repeats too often is folded into the next line.

        A full disk loses the line but never stops the loop.
        """
        return self._write(kind, fields)

    def _write(self, kind: str, fields: dict[str, object], *, durable: bool = False) -> dict[str, Any]:
        self.count += 1
        entry = {"n": self.count, "at": utc_ms(time.time()), "kind": kind, **cleaned(fields)}
        self.recent.append(entry)
        written = self._folding.take(entry, time.monotonic())
        if written is not None:
            self._do(partial(self._put, written, durable=durable))
        if self.on_entry is not None:
            with contextlib.suppress(Exception):  # a follower's error must not stop the loop
                self.on_entry()
        return entry

    def _miss(self, count: int) -> None:
        text = f"{count} entries are missing here: the disk did not keep up"
        self._put(
            {
                "n": self.count,
                "at": utc_ms(time.time()),
                "kind": "warning",
                "code": "entries_lost",
                "text": text,
            }
        )

    def _do(self, work: Callable[[], None]) -> None:
        if self._scribe is None:
            work()
        else:
            self._scribe.do(work)

    def _put(self, entry: dict[str, Any], *, durable: bool = False) -> None:
        with contextlib.suppress(OSError, DiskTrouble):
            self._append(json.dumps(entry, separators=(",", ":")).encode() + b"\n", durable=durable)

    def _append(self, line: bytes, *, durable: bool) -> None:
        make_private_dir(self.file.parent)
        self._rotate_when_full()
        handle = open_ours(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, b"\n" + line if torn else line)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        if durable:
            _sync_path(self.file.parent)

    def _rotate_when_full(self) -> None:
        try:
            if self.file.stat().st_size <= MAX_BYTES:
                return
        except FileNotFoundError:
            return
        # Sync before the rename: a crash must not leave a file without its lines.
        _sync_path(self.file)
        self.file.replace(older(self.file))
        _sync_path(self.file.parent)

    def since(self, n: int) -> list[dict[str, Any]]:
        """Return the entries in memory after number ``n``."""
        return [entry for entry in self.recent if entry["n"] > n]


def _boot() -> str | None:
    """Return the ID of this boot of the machine, None if the system has none."""
    try:
        return _BOOT_FILE.read_text().strip()
    except OSError:
        return None


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Reading.


def older(file: Path) -> Path:
    """Return the file that holds the entries older than those in ``file``."""
    return file.with_name(file.name + ".1")


def _parsed(line: str) -> dict[str, Any] | None:
    """Return a line's entry, None if it is damaged."""
    try:
        return _entry(_plain(line, json.loads(line))) if len(line) <= LONGEST_LINE_CHARS else None
    except (ValueError, RecursionError):
        return None


def _plain(line: str, value: object) -> object:
    """Return a line's value without what controls a terminal: an earlier version may have written it."""
    # Such characters are written with a backslash, or are none of ASCII.
    return value if "\\" not in line and line.isascii() else cleaned(value)


def _entry(value: object) -> dict[str, Any] | None:
    if isinstance(value, dict) and isinstance(value.get("at"), str) and isinstance(value.get("kind"), str):
        return value
    return None


def _lines(raw: bytes) -> list[str]:
    return [line for line in raw.decode(errors="replace").split("\n") if line]


def last_at(file: Path) -> str | None:
    """Return the time of the last entry, None if there is no readable one."""
    for one in (file, older(file)):
        with contextlib.suppress(OSError), os.fdopen(open_ours(one), "rb") as journal:
            journal.seek(max(0, journal.seek(0, os.SEEK_END) - LAST_LINES_BYTES))
            for line in reversed(_lines(journal.read())):
                entry = _parsed(line)
                if entry is not None:
                    return str(entry["at"])
    return None


class Entries(Iterator[dict[str, Any]]):
    """A journal's entries, oldest first; ``damaged`` counts the lines skipped so far."""

    def __init__(self, parts: list[bytes]) -> None:
        self.damaged = 0
        self._entries = self._read([line for part in parts for line in _lines(part)])

    def __next__(self) -> dict[str, Any]:
        """Return the next readable entry."""
        return next(self._entries)

    def _read(self, lines: list[str]) -> Iterator[dict[str, Any]]:
        for first in range(0, len(lines), LINES_AT_ONCE):
            for entry in _parsed_together(lines[first : first + LINES_AT_ONCE]):
                if entry is None:
                    self.damaged += 1
                else:
                    yield entry


def _parsed_together(lines: list[str]) -> list[dict[str, Any] | None]:
    """Return ``_parsed`` of each line, in a third of the time if none is damaged."""
    if max(map(len, lines), default=0) > LONGEST_LINE_CHARS:
        return [_parsed(line) for line in lines]
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(f"[{','.join(lines)}]")
        if len(values) == len(lines):
            return [_entry(_plain(line, value)) for line, value in zip(lines, values, strict=True)]
    return [_parsed(line) for line in lines]


def read_entries(paths: Paths) -> Entries:
    """Return the entries of a profile's journal, none if it does not exist; raise DiskTrouble if it cannot be read."""
    file = paths.journal_file
    try:
        for _ in range(READ_TRIES):
            newer, inode = _read(file)
            parts = [_read(older(file))[0], newer]
            if _inode(file) == inode:
                break  # otherwise it was rotated in between, and the parts are not in order
    except OSError as error:
        raise DiskTrouble(f"cannot read {error.filename}: {error.strerror}", hint=f"check its owner: {file}") from error
    return Entries(parts)


def _read(file: Path) -> tuple[bytes, int | None]:
    try:
        with os.fdopen(open_ours(file), "rb") as journal:
            journal.seek(max(0, journal.seek(0, os.SEEK_END) - MAX_BYTES - LAST_LINES_BYTES))
            return journal.read(), os.fstat(journal.fileno()).st_ino
    except FileNotFoundError:
        return b"", None


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None
