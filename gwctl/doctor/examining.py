"""The list of checks, and the runner that gives each a deadline."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gwctl.doctor.account import check_budget, check_login, check_secrets
from gwctl.doctor.case import Case, Finding, State, failed, not_checked
from gwctl.doctor.certificate import (
    check_certificate,
    check_disk,
    check_localhost,
    check_python,
    check_scratch,
    check_time_zones,
)
from gwctl.doctor.files import check_logs, check_permissions, check_settings, check_state_files, check_unattended
from gwctl.doctor.network import check_allow_ips, check_clock, check_port, check_upstream
from gwctl.doctor.programs import check_browser, check_java, check_release
from gwctl.doctor.running import (
    check_drift,
    check_last_end,
    check_leftovers,
    check_maintenance,
    check_session,
    check_supervisor,
)
from gwctl.errors import GwctlError

if TYPE_CHECKING:
    from gwctl.process import Identity

BOUND_S = 10.0
"""Long enough for a busy machine; checks that can hang have a shorter limit."""
_CHILDREN_GRACE_S = 0.5
_THREADS_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check. Scripts know it by ``code``; ``needs`` lists the codes of checks that must pass first."""

    code: str
    looks_at: str
    examine: Callable[[Case], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    bound_s: float = BOUND_S


def examine(case: Case, checks: Sequence[Check]) -> list[Finding]:
    """Return the findings of every check, in the checks' order; no process that they started is left.

    A check does not run if one that it needs failed; the runner gives up on a check that takes longer than its limit.
    """
    return _Examination(case, checks).run()


class _Examination:
    def __init__(self, case: Case, checks: Sequence[Check]) -> None:
        self._case = case
        self._checks = checks
        self._said: dict[str, list[Finding]] = {}
        self._waiting = {check.code: check for check in checks}
        self._deadlines: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._answers: queue.Queue[tuple[str, list[Finding]]] = queue.Queue()

    def run(self) -> list[Finding]:
        before = _children()
        try:
            while len(self._said) < len(self._checks):
                if self._start_ready():
                    self._take_answer()
        finally:
            if any(thread.is_alive() for thread in self._threads):
                self._end_what_goes_on(before)
        return [replace(one, check=check.code) for check in self._checks for one in self._said[check.code]]

    def _end_what_goes_on(self, before: set[Identity]) -> None:
        """Stop what an abandoned or interrupted check started, and let it clean up."""
        import asyncio

        from gwctl import process

        asyncio.run(process.stop(_children() - before, grace_s=_CHILDREN_GRACE_S))
        deadline_s = time.monotonic() + _THREADS_WAIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _start_ready(self) -> bool:
        """Start the checks that have all they need, settle those that never will; return whether any is running."""
        for check in list(self._waiting.values()):
            if not all(code in self._said for code in check.needs):
                continue
            del self._waiting[check.code]
            lacking = [code for code in check.needs if not _is_well(self._said[code])]
            if lacking:
                self._said[check.code] = [not_checked(", ".join(lacking))]
                continue
            self._deadlines[check.code] = time.monotonic() + check.bound_s
            thread = threading.Thread(target=self._make, args=(check,), name=f"doctor-{check.code}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return bool(self._deadlines)

    def _make(self, check: Check) -> None:
        self._answers.put((check.code, _findings(check, self._case)))

    def _take_answer(self) -> None:
        code = min(self._deadlines, key=lambda one: self._deadlines[one])
        answer: list[Finding] | None = None
        with contextlib.suppress(queue.Empty):
            code, answer = self._answers.get(timeout=max(0.0, self._deadlines[code] - time.monotonic()))
        if self._deadlines.pop(code, None) is None:
            return  # given up in the meantime
        if answer is None:
            bound_s = next(check.bound_s for check in self._checks if check.code == code)
            answer = [Finding(State.NOT_CHECKED, f"it took longer than {bound_s:g} s", self._case.command("doctor"))]
        self._said[code] = answer


def _findings(check: Check, case: Case) -> list[Finding]:
    try:
        return list(check.examine(case))
    except GwctlError as error:
        return [failed(error.message, error.hint)]
    except OSError as error:
        place = error.filename or "a file"
        return [failed(f"cannot read {place}: {error.strerror or type(error).__name__}", f"ls -ld {place}")]
    except Exception as error:  # noqa: BLE001 - one check's failure must not stop the others
        remedy = f"report it with: {case.command('doctor --bundle FILE')}"
        return [failed(f"{type(error).__name__} in gwctl itself", remedy)]


def _is_well(findings: list[Finding]) -> bool:
    return all(one.state in {State.OK, State.WARNING} for one in findings)


def _children() -> set[Identity]:
    from gwctl import process

    me = process.identify(os.getpid())
    return set() if me is None else set(process.descendants(me))


CHECKS: tuple[Check, ...] = (
    Check("python", "the interpreter, and whether gwctl's dependencies are installed", check_python),
    Check("disk", "free space and inodes of the state and release folders", check_disk),
    Check("scratch", "the folder for temporary files, and `/dev/shm`", check_scratch),
    Check("time_zones", "the time zones of IBKR's maintenance windows", check_time_zones),
    Check("settings", "`config.toml`, environment variables, the profile", check_settings, ("time_zones",)),
    Check(
        "permissions", "mode and owner of every file of the profile, the authority and the releases", check_permissions
    ),
    Check("state_files", "whether every state file can be read", check_state_files),
    Check("java", "a recent enough Java", check_java, ("settings",)),
    Check(
        "browser", "one start of the login's browser, without a window", check_browser, ("settings", "scratch"), 20.0
    ),
    Check("release", "the Standard Release: installed, chosen, every file unchanged", check_release, ("settings",)),
    Check("port", "who holds the gateway's port", check_port, ("settings",)),
    Check("localhost", "what `localhost` resolves to", check_localhost),
    Check("certificate", "gwctl's authority, the gateway's certificate and key, the bundle", check_certificate),
    Check("allow_ips", "which addresses the gateway admits", check_allow_ips, ("settings",)),
    Check(
        "secrets",
        "the source of each secret, and whether it is usable; never its value",
        check_secrets,
        ("settings",),
    ),
    Check("upstream", "the connection to IBKR: name, TCP, certificate, answer", check_upstream, ("settings",), 8.0),
    Check("clock", "this machine's clock compared with IBKR's", check_clock, ("upstream",)),
    Check("maintenance", "whether one of IBKR's maintenance windows is open", check_maintenance, ("settings",)),
    Check("supervisor", "whether it runs, answers, is not stuck, holds the lock, has this version", check_supervisor),
    Check("session", "phase and reason, and the cause in the gateway's log", check_session, ("supervisor",)),
    Check(
        "drift",
        "settings that changed since the gateway or its supervisor started",
        check_drift,
        ("settings", "supervisor"),
    ),
    Check("last_end", "why the last supervisor gave up", check_last_end, ("supervisor",)),
    Check("login", "how the last login ended, refusals, the lock-out", check_login, ("settings",)),
    Check("budget", "whether a recovery action waits because its budget is spent", check_budget),
    Check("leftovers", "processes of the profile that no supervisor owns", check_leftovers, ("settings",)),
    Check("logs", "the size of logs, journal and evidence", check_logs),
    Check("unattended", "whether units and the crontab start a gwctl that exists", check_unattended),
)
