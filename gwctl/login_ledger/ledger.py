"""The ledger of submits, on disk before a password is sent (law 2), and the machine's uptime clock."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gwctl.credentials import Secret, fingerprint
from gwctl.errors import DiskTrouble, ProfileHeld
from gwctl.login_ledger.rules import (
    OUTCOMES,
    UNCOUNTED,
    Block,
    LoginRecord,
    Now,
    Permission,
    Question,
    Submit,
    Uptime,
    asked,
    begun,
    ended,
    forgiven,
    may_submit,
    reached_limit,
    refusals_within_day,
    withdrawn,
)
from gwctl.ownership import read_ours
from gwctl.session_status import LoginStatus
from gwctl.state_file import make_private_dir, read_json, set_aside, write_json
from gwctl.times import utc

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
"""Linux gives each boot of the machine an ID; other systems do not, and the ledger uses the wall clock there."""


def machine_uptime() -> Uptime | None:
    """Return the boot ID and the uptime; None if the system does not provide them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        boot = BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return Uptime(boot, time.clock_gettime(clock)) if clock is not None and boot else None


LOCK_TIMEOUT_S = 10.0

log = logging.getLogger("gwctl.supervisor")


class Ledger:
    """The submits of one profile. Every method reads the file again: other processes write it, too.

    Fingerprints are salted scrypt; the password itself is never stored. ``wall_clock`` returns seconds since 1970,
    ``uptime`` a clock that cannot be set.
    """

    def __init__(
        self,
        file: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = machine_uptime,
    ) -> None:
        self.file = file
        self.wall_clock = wall_clock
        self.uptime = uptime
        self._known: tuple[LoginRecord, str] | None = None
        self._unwritten = False
        self.last_begun: Submit | None = None
        """The last submit that ``begin_submit`` wrote, to withdraw it if needed."""
        self._printed: tuple[weakref.ref[Secret], str, str] | None = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_dir(self.file.parent)
        try:
            with FileLock(f"{self.file}.lock", timeout=LOCK_TIMEOUT_S, mode=0o600):
                yield
        except Timeout:
            raise ProfileHeld(f"another gwctl holds {self.file}.lock", hint="try again in a moment") from None
        except OSError as error:
            raise DiskTrouble(
                f"cannot write {self.file}: {error.strerror}", hint=f"check the owner of {self.file.parent}"
            ) from error

    def _load(self) -> tuple[LoginRecord, str, Path | None]:
        if self._unwritten and self._known is not None:
            return *self._known, None
        raw, aside = read_json(self.file)
        if raw is not None:
            try:
                self._known = record_from(raw), str(raw["salt"])
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                aside = set_aside(self.file)
            else:
                return *self._known, None
        elif aside is None and self._known is not None:
            # The file was deleted while the supervisor ran: its content still counts, and the next submit writes it.
            return *self._known, None
        if aside is not None:
            log.warning("the damaged login ledger was moved to %s", aside)
        # A new ledger knows no password that worked, so the next one is sent at most once, to be careful.
        return LoginRecord(), secrets.token_hex(16), aside

    def _save(self, record: LoginRecord, salt: str) -> None:
        write_json(self.file, {"salt": salt, **asdict(record)})
        self._known, self._unwritten = (record, salt), False

    def _save_or_keep(self, record: LoginRecord, salt: str) -> None:
        """Write the record; on a full disk, keep it in memory for this process until ``restore`` writes it."""
        try:
            self._save(record, salt)
        except DiskTrouble:
            self._known, self._unwritten = (record, salt), True
            raise

    def _print(self, password: Secret, salt: str) -> str:
        """Return the fingerprint, computed once for each object: scrypt is slow, and a login asks twice.

        The cache holds only a weak reference to the password.
        """
        known = self._printed
        if known is None or known[0]() is not password or known[1] != salt:
            known = self._printed = weakref.ref(password), salt, fingerprint(password, salt)
        return known[2]

    def _now(self) -> Now:
        return Now(self.wall_clock(), self.uptime())

    def read(self) -> LoginRecord:
        """Return the current record; set a damaged file aside and return an empty record."""
        with self._locked():
            return self._load()[0]

    def _look(self, *, only: bool) -> LoginRecord:
        """Return the record without waiting for a lock: files are replaced whole.

        ``read`` handles a damaged file; with ``only`` the file stays as it is and counts as missing.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return record_from(json.loads(read_ours(self.file)))
        return self.read() if not only and self.file.exists() else LoginRecord()

    def set_aside_if_damaged(self) -> Path | None:
        """Return where a damaged ledger was moved to, None if it is intact or new."""
        with self._locked():
            record, salt, aside = self._load()
            if aside is not None:
                self._save(record, salt)
            return aside

    def permission(self, password: Secret, context: str, limit: int) -> Permission:
        """Return law 2's answer for ``password`` without writing anything."""
        with self._locked():
            record, salt, _ = self._load()
        return may_submit(record, Question(self._print(password, salt), context, limit), self._now())

    def has_worked(self, password: Secret) -> bool:
        """Return whether ``password`` is the one that worked last."""
        with self._locked():
            record, salt, _ = self._load()
        return record.worked_print == self._print(password, salt)

    def begin_submit(self, password: Secret, context: str, limit: int, *, leave_last: bool = False) -> Permission:
        """Write a submit to disk if law 2 allows it, and return whether it does.

        Check and write are atomic: two processes cannot both get the last permission. With ``leave_last`` the last
        submit got no answer; this is recorded only if another submit is allowed, else its answer may still come.
        """
        with self._locked():
            record, salt, _ = self._load()
            record = ended(record, UNCOUNTED) if leave_last else record
            now = self._now()
            question = Question(self._print(password, salt), context, limit)
            permission = may_submit(record, question, now)
            if permission.allowed:
                record = begun(record, question.print, now)
                self._save(record, salt)
                self.last_begun = record.submits[-1]
            return permission

    def withdraw(self, begun_ones: Sequence[Submit]) -> None:
        """Remove submits that were recorded in advance and then did not happen."""
        with self._locked():
            record, salt, _ = self._load()
            self._save_or_keep(withdrawn(record, begun_ones), salt)

    def end_submit(self, outcome: str, *, locked_reason: str | None = None) -> bool:
        """Write the outcome of the last submit; return whether its password has worked before.

        ``outcome`` is ``success``, ``refused``, ``answered`` (no refusal, a person is needed) or ``uncounted`` (a
        problem at IBKR, not with the password).
        """
        with self._locked():
            record, salt, _ = self._load()
            if not record.submits:
                return False
            record = ended(record, outcome, locked_reason)
            self._save_or_keep(record, salt)
            return record.worked_print == record.submits[-1].print

    def wait_for_second_factor(self, *, answered: bool) -> None:
        """Record that the last submit waits for a second factor, or that one was given and its result is open.

        A login that stops while it waits was not refused; a login that stops after an answer may have been.
        """
        with self._locked():
            record, salt, _ = self._load()
            self._save_or_keep(asked(record, answered=answered), salt)

    def block_last(self, context: str, code: str, reason: str) -> None:
        """Block the last submitted password from being sent again with the same settings."""
        with self._locked():
            record, salt, _ = self._load()
            if record.submits:
                block = Block(record.submits[-1].print, context, code, reason)
                self._save_or_keep(replace(record, block=block), salt)

    def restore(self) -> None:
        """Write the record again if a write failed or the file was deleted since; raise DiskTrouble.

        Refusals survive a deleted folder, and answers survive a full disk.
        """
        if self._known is None or (self.file.exists() and not self._unwritten):
            return
        with self._locked():
            if self._unwritten or not self.file.exists():
                self._save(*self._known)

    def lift_block(self, *, code: str | None = None) -> None:
        """Allow the blocked password again if ``code`` blocks it; refusals stay counted."""
        with self._locked():
            record, salt, _ = self._load()
            if record.block is not None and code in {None, record.block.code}:
                self._save_or_keep(replace(record, block=None), salt)

    def reset(self) -> None:
        """Forgive refusals and the lock-out, as a person requested; working passwords stay known.

        Forgiven refusals and unknown answers still count toward IBKR's own limit in 24 hours.
        """
        with self._locked():
            record, salt, _ = self._load()
            self._save(forgiven(record), salt)

    def summary(self, limit: int, *, look_only: bool = False) -> LoginStatus:
        """Return the ``login`` object of ``status``; with ``look_only`` take no lock and change no file."""
        return describe(self._look(only=look_only), limit, self._now())


def describe(record: LoginRecord, limit: int, now: Now) -> LoginStatus:
    """Return the ``login`` object of ``status`` for ``record``."""
    last = record.submits[-1] if record.submits else None
    return {
        "last_at": utc(last.at_s) if last else None,
        "last_outcome": (last.outcome or "unknown") if last else None,
        "rejected": len(refusals_within_day(record, now)),
        "rejected_limit": limit,
        "locked": reached_limit(record, limit, now)
        or any(stop is not None for stop in (record.locked_reason, record.refused_print, record.block)),
    }


def _time_from(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)


def _uptime_from(value: object) -> Uptime | None:
    match value:
        case {"boot": str() as boot, "up_s": int() | float() as up_s}:
            return Uptime(boot, _time_from(up_s))
        case _:
            return None


def _text_from(value: object) -> str | None:
    return None if value is None else str(value)


def record_from(raw: dict[str, Any]) -> LoginRecord:
    """Return the record that a ledger's file holds.

    Raises KeyError, TypeError, ValueError, AttributeError or OverflowError for a damaged one.
    """
    bytes.fromhex(raw["salt"])
    return LoginRecord(
        submits=tuple(
            Submit(
                _time_from(entry["at_s"]),
                str(entry["print"]),
                # An unknown outcome counts as refused.
                entry["outcome"] if entry["outcome"] in OUTCOMES else None,
                _uptime_from(entry.get("uptime")),
            )
            for entry in raw["submits"]
        ),
        worked_print=_text_from(raw["worked_print"]),
        refused_print=_text_from(raw["refused_print"]),
        locked_reason=_text_from(raw["locked_reason"]),
        block=Block(**{name: str(value) for name, value in raw["block"].items()}) if raw["block"] else None,
    )
