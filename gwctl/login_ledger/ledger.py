"""The ledger of submits, on disk before a password is sent (law 2), and the machine's uptime clock."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from gwctl.config import Settings
from gwctl.credentials import Secret, fingerprint
from gwctl.errors import DiskTrouble, ProfileHeld
from gwctl.login_ledger.accounts import Account, respelled
from gwctl.login_ledger.rules import (
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
    describe,
    ended,
    forgiven,
    known_as,
    may_submit,
    withdrawn,
)
from gwctl.login_ledger.storage import DAMAGE, Stored, former_from, look_at, noted_account
from gwctl.login_ledger.submit_turn import SubmitTurn
from gwctl.paths import Paths
from gwctl.session_status import LoginStatus, together
from gwctl.state_file import make_private_dir, read_json, set_aside, write_json

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
TURN_WAIT_S = 30.0
"""How long a login waits for another profile's login with the same username; one takes seconds, or a person's time."""

log = logging.getLogger("gwctl.supervisor")


class Ledger:
    """The submits of one account. Every method reads the file again: other processes write it, too.

    Fingerprints are salted scrypt; the password itself is never stored. ``wall_clock`` returns seconds since 1970,
    ``uptime`` a clock that cannot be set. Without an ``account``, no other profile and no former ledger counts.
    """

    def __init__(
        self,
        file: Path,
        account: Account | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = machine_uptime,
    ) -> None:
        self.file = file
        self.account = account or Account(None, file, file)
        self.wall_clock = wall_clock
        self.uptime = uptime
        self._former = list(self.account.former)
        self._known: Stored | None = None
        self._unwritten: list[Callable[[LoginRecord], LoginRecord]] = []
        self.last_begun: Submit | None = None
        """The last submit that ``begin_submit`` wrote, to end it or to withdraw it."""
        self._turn = SubmitTurn(file)
        self._printed: tuple[weakref.ref[Secret], dict[tuple[str, str | None], str]] | None = None

    @classmethod
    def of(cls, settings: Settings, *, sandbox: bool = False) -> Ledger:
        """Return the ledger of the settings' account; the sandbox has one for each profile. Raise Configuration."""
        if sandbox:
            return cls(settings.paths.sandbox_ledger_file)
        account = Account.of(settings)
        return cls(account.file, account)

    @classmethod
    def noted(cls, paths: Paths) -> Ledger:
        """Return the ledger of a profile whose settings cannot be read, as its last start noted it."""
        account = Account.noted(paths)
        return cls(account.file, account)

    @property
    def exists(self) -> bool:
        """Whether anything was ever counted."""
        return any(file.exists() for file in (self.file, *self._former))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        make_private_dir(self.file.parent)
        try:
            with ExitStack() as locks:
                for file in (self.file, *(former for former in self._former if former.exists())):
                    locks.enter_context(FileLock(f"{file}.lock", timeout=LOCK_TIMEOUT_S, mode=0o600))
                yield
        except Timeout as error:
            raise ProfileHeld(f"another gwctl holds {error.lock_file}", hint="try again in a moment") from None
        except OSError as error:
            raise DiskTrouble(
                f"cannot write {self.file}: {error.strerror}", hint=f"check the owner of {self.file.parent}"
            ) from error

    def _load(self) -> tuple[Stored, Path | None]:
        raw, aside = read_json(self.file)
        stored = None
        if raw is not None:
            try:
                stored = Stored.from_json(raw)
            except DAMAGE:
                aside = set_aside(self.file)
        if stored is None:
            # The file was lost while the supervisor ran: its content still counts, and the next submit writes it.
            stored = self._known
        stored, lost = self._with_former(stored)
        for damaged in (aside, lost):
            if damaged is not None:
                log.warning("the damaged login ledger was moved to %s", damaged)
        aside = aside or lost
        if stored is None:
            return Stored.new(), aside
        for change in self._unwritten:
            stored = replace(stored, record=change(stored.record))
        self._known = stored
        return stored, aside

    def _with_former(self, stored: Stored | None) -> tuple[Stored | None, Path | None]:
        """Return the ledger with what only the former ledgers hold, and where a damaged one was moved to."""
        aside = None
        for file in self._former:
            raw, lost = read_json(file)
            try:
                former = former_from(raw) if raw is not None else None
            except DAMAGE:
                former, lost = None, set_aside(file)
            aside = aside or lost
            if former is not None:
                stored = former if stored is None else stored.with_former(former)
        return stored, aside

    def _save(self, stored: Stored) -> None:
        write_json(self.file, stored.to_json())
        self._known, self._unwritten = stored, []
        # From here on, a crash loses nothing: what was joined once is joined again, and counts once.
        for file in tuple(self._former):
            with suppress(DiskTrouble):
                self._leave_note(file)
                self._former.remove(file)

    def _leave_note(self, file: Path) -> None:
        """Leave a note in a profile's folder for earlier versions of gwctl, and for calls that know no username."""
        raw, _ = read_json(file)
        if self.account.name is None or noted_account(raw) == self.account.name:
            return
        try:
            left = Stored.new() if raw is None else Stored.from_json(raw)
        except DAMAGE:
            left = Stored.new()
        write_json(file, left.note(self.account.name))

    def prepare(self) -> Path | None:
        """Take over the former ledgers; return where a damaged ledger was moved to, None if it is intact or new.

        Only a supervisor calls this: an earlier version's supervisor sends nothing once its ledger was taken over.
        """
        with self._locked():
            stored, aside = self._load()
            if aside is not None or self._former:
                self._save(stored)
            self._leave_note(self.account.own_file)
            return aside

    def _change(self, change: Callable[[LoginRecord], LoginRecord]) -> LoginRecord:
        """Write a changed record; on a full disk, keep the change in memory for this process until it can be written.

        The change, not the record: another profile may write the file meanwhile.
        """
        with self._locked():
            stored, _ = self._load()
            changed = replace(stored, record=change(stored.record))
            if changed == stored and not self._unwritten:
                return stored.record
            try:
                self._save(changed)
            except DiskTrouble:
                self._unwritten.append(change)
                self._known = changed
                raise
            return changed.record

    def _prints(self, password: Secret, salts: Sequence[str]) -> list[str]:
        """Return the fingerprints that the ledger may know a password by, first that of a new submit.

        Each is computed once for each object: scrypt is slow, and a login asks twice. The cache holds only a weak
        reference to the password.
        """
        if self._printed is None or self._printed[0]() is not password:
            self._printed = weakref.ref(password), {}
        known = self._printed[1]
        wanted = [(salt, spelling) for spelling in (None, *self.account.spellings) for salt in salts]
        for salt, spelling in wanted:
            if (salt, spelling) not in known:
                secret = password if spelling is None else respelled(password, spelling)
                known[salt, spelling] = fingerprint(secret, salt)
        return [known[one] for one in wanted]

    def _ask(self, stored: Stored, password: Secret, context: str, limit: int) -> tuple[Permission, LoginRecord]:
        """Return law 2's answer, and the record as it is about ``password``."""
        own, *others = self._prints(password, stored.salts)
        record = known_as(stored.record, own, others)
        question = Question(own, context, min(limit, self.account.limit))
        permission = may_submit(record, question, self._now())
        if permission.code == "locked_out" and self.account.shared_with:
            permission = replace(permission, reason=f"{permission.reason} ({together(self.account.shared_with)})")
        return permission, record

    def end_turn(self) -> None:
        """Let other profiles of the account submit: this one's login has ended. Safe when it has no turn."""
        self._turn.end()

    def _wait_for_turn(self) -> Permission:
        return Permission(False, TURN_WAIT_S, "login_paused", "another profile is logging in with the same username")

    def _now(self) -> Now:
        return Now(self.wall_clock(), self.uptime())

    def read(self) -> LoginRecord:
        """Return the current record; set a damaged file aside and return an empty record."""
        with self._locked():
            return self._load()[0].record

    def look(self) -> LoginRecord | None:
        """Return the record without a lock or a change: files are replaced whole. None if it is missing or damaged."""
        found: Stored | None = None
        for file in (self.file, *self._former):
            with suppress(*DAMAGE):
                stored = former_from(look_at(file) or {})
                found = stored if found is None or stored is None else found.with_former(stored)
        return None if found is None else found.record

    def permission(self, password: Secret, context: str, limit: int) -> Permission:
        """Return law 2's answer for ``password`` without writing anything."""
        with self._locked():
            stored, _ = self._load()
            had_turn = self._turn.is_taken
            if not self._turn.take():
                return self._wait_for_turn()
            if not had_turn:
                self.end_turn()
        return self._ask(stored, password, context, limit)[0]

    def has_worked(self, password: Secret) -> bool:
        """Return whether ``password`` is the one that worked last."""
        with self._locked():
            stored, _ = self._load()
        return stored.record.worked_print in self._prints(password, stored.salts)

    def begin_submit(self, password: Secret, context: str, limit: int, *, leave_last: bool = False) -> Permission:
        """Write a submit to disk if law 2 allows it, and return whether it does; then it is this profile's turn.

        Check and write are atomic: two processes cannot both get the last permission. Until ``end_turn``, no other
        profile of the account submits. With ``leave_last`` the last submit got no answer; this is recorded only if
        another submit is allowed, else its answer may still come.
        """
        keeps_turn = self._turn.is_taken
        try:
            with self._locked():
                if not self._turn.take():
                    return self._wait_for_turn()
                stored, _ = self._load()
                if leave_last:
                    stored = replace(stored, record=ended(stored.record, UNCOUNTED, submit=self.last_begun))
                permission, known = self._ask(stored, password, context, limit)
                if permission.allowed:
                    # The submits keep their fingerprints: by those they are recognized in former ledgers.
                    own = self._prints(password, stored.salts)[0]
                    record = begun(replace(known, submits=stored.record.submits), own, self._now())
                    self._save(replace(stored, record=record))
                    self.last_begun = record.submits[-1]
                    keeps_turn = True
                return permission
        finally:
            if not keeps_turn:
                self.end_turn()

    def withdraw(self, begun_ones: Sequence[Submit]) -> None:
        """Remove submits that were recorded in advance and then did not happen."""
        self._change(partial(withdrawn, begun_ones=tuple(begun_ones)))

    def end_submit(self, outcome: str, *, locked_reason: str | None = None) -> bool:
        """Write the outcome of this process's last submit and end the turn; return whether its password worked before.

        ``outcome`` is ``success``, ``refused``, ``answered`` (no refusal, a person is needed) or ``uncounted`` (a
        problem at IBKR, not with the password).
        """
        mine = self.last_begun
        try:
            record = self._change(partial(ended, outcome=outcome, locked_reason=locked_reason, submit=mine))
        finally:
            self.end_turn()
        last = mine or next(reversed(record.submits), None)
        return last is not None and record.worked_print == last.print

    def wait_for_second_factor(self, *, answered: bool) -> None:
        """Record that the last submit waits for a second factor, or that one was given and its result is open.

        A login that stops while it waits was not refused; a login that stops after an answer may have been.
        """
        self._change(partial(asked, answered=answered, submit=self.last_begun))

    def block_last(self, context: str, code: str, reason: str) -> None:
        """Block the last submitted password from being sent again with the same settings."""
        mine = self.last_begun

        def blocked(record: LoginRecord) -> LoginRecord:
            last = mine or next(reversed(record.submits), None)
            return record if last is None else replace(record, block=Block(last.print, context, code, reason))

        self._change(blocked)

    def restore(self) -> None:
        """Write the record again if a write failed or the file was deleted since; raise DiskTrouble.

        Refusals survive a deleted folder, and answers survive a full disk.
        """
        if self._known is None or (self.file.exists() and not self._unwritten):
            return
        with self._locked():
            stored, _ = self._load()
            if self._unwritten or not self.file.exists():
                self._save(stored)

    def keep(self, settings: Settings) -> None:
        """Do what a supervisor does now and then: ``restore``, and look again which profiles share the account."""
        self.restore()
        if self.account.name is not None:
            self.account = Account.of(settings)
            self._former = list(self.account.former)  # an earlier version may have written one meanwhile

    def lift_block(self, *, code: str | None = None) -> None:
        """Allow the blocked password again if ``code`` blocks it; refusals stay counted."""

        def lifted(record: LoginRecord) -> LoginRecord:
            is_meant = record.block is not None and code in {None, record.block.code}
            return replace(record, block=None) if is_meant else record

        self._change(lifted)

    def reset(self) -> None:
        """Forgive refusals and the lock-out, as a person requested; working passwords stay known.

        Forgiven refusals and unknown answers still count toward IBKR's own limit in 24 hours.
        """
        with self._locked():
            stored, _ = self._load()
            self._save(replace(stored, record=forgiven(stored.record)))

    def summary(self, limit: int, *, look_only: bool = False) -> LoginStatus:
        """Return the ``login`` object of ``status``; with ``look_only`` take no lock and change no file."""
        record = self.look()
        if record is None:
            record = self.read() if not look_only and self.exists else LoginRecord()
        limit = min(limit, self.account.limit)
        return describe(record, limit, self._now(), shared_with=self.account.shared_with)
