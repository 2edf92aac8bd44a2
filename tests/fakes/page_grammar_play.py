"""Plays a page of the grammar to a real Chromium, and reports the laws that its login broke."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import login_rig as rig
from canaries import Canaries
from msgspec.structs import asdict, replace
from page_grammar import Spec
from page_grammar_model import SOON_S, Expected, expected
from page_grammar_server import Seen, Server

from gwctl.login.codes import Kind, Method, Question
from gwctl.login.outcome import LoginJob, LoginOutcome
from gwctl.login.page_state import Patience

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODES = ("135790", "246802")


class Stage:
    """One browser and one server for many pages."""

    def __init__(self, chromium: rig.OneBrowser, server: Server, url: str, folder: Path) -> None:
        self._chromium = chromium
        self._server = server
        self._url = url
        self._evidence_dir = folder / "evidence"

    def broken_laws(self, spec: Spec) -> list[str]:
        """Log in on ``spec`` and return what is wrong with the result, and with what it left.

        A login that is late, and nothing else, is played once more: a busy machine is late once, a wait of ours always.
        """
        broken, late = self._played(spec)
        if late and len(broken) == 2:
            broken, _ = self._played(spec)
        return broken

    def _played(self, spec: Spec) -> tuple[list[str], bool]:
        """Return what is wrong, with the login itself as its last line, and whether its time is."""
        shutil.rmtree(self._evidence_dir, ignore_errors=True)
        patience = patience_with(spec)
        wanted = expected(spec, form_s=patience.form_s, answer_s=patience.answer_s, push_s=patience.push_s)
        seen = self._server.play(spec)
        begun_s = time.monotonic()
        login = self._chromium.log_in(self._job(spec, patience), answer=lambda question: _reply(spec, question))
        took_s = time.monotonic() - begun_s
        self._server.play(Spec())
        broken = [*_ending(wanted, login), *_submits(spec, wanted, login, seen), *self._secrets(login, seen)]
        late = took_s > SOON_S + wanted.waits_s
        if late:
            broken.append(f"late: {took_s:.1f} s, at most {SOON_S + wanted.waits_s:.1f} s")
        if broken:
            steps = " > ".join(f"{step.name} {step.at_ms / 1000:.1f}" for step in login.steps)
            broken.append(f"[{login.report.outcome} {login.report.text!r}; {took_s:.1f} s; {steps}]")
        return broken, late

    def _job(self, spec: Spec, patience: Patience) -> LoginJob:
        profile = spec.profile
        values = {
            "mode": profile.mode,
            "method": Method(profile.method),
            "totp_secret": TOTP_SECRET if profile.method == "totp" else None,
            "first_after_start": profile.first_after_start,
            "deadline_s": 90.0,
            "evidence_dir": self._evidence_dir,
            "patience": patience,
        }
        for name in ("worked_before", "has_worked"):
            if name in LoginJob.__slots__:
                values[name] = profile.worked
        return rig.job(self._url, rig.USERNAME, rig.PASSWORD, **values)  # type: ignore[arg-type]

    def _secrets(self, login: rig.Login, seen: Seen) -> Iterator[str]:
        codes = {f"code {n}": code for n, code in enumerate(seen.codes) if len(code) == len(CODES[0])}
        planted = Canaries({"username": rig.USERNAME, "password": rig.PASSWORD, "TOTP secret": TOTP_SECRET, **codes})
        told = login.report.to_json() | {"cookies": []}
        said = json.dumps([told, [asdict(step) for step in login.steps], repr(login.questions)]).encode()
        yield from (f"secret: {name} in what it says" for name in planted.in_bytes(said))
        if self._evidence_dir.is_dir():
            yield from (f"secret: {found}" for found in planted.in_files(self._evidence_dir))


def patience_with(spec: Spec) -> Patience:
    """Return a login's patience, with a person and IBKR slow in proportion to the page's own delays."""
    ends_by_itself = spec.load.never or spec.load.status != 200
    silent = spec.ending.kind in {"silent", "spin", "status", "banner"} or spec.wire.temper != "none"
    return replace(
        Patience(),
        form_s=2.5 if ends_by_itself else 6.0,
        banner_s=3.0,
        words_s=3.2,
        idle_s=3.5,
        answer_s=5.0 if silent else 8.0,
        push_s=1.5 if spec.factor.push == "never" else 6.0,
        person_s=5.0,
    )


def _reply(spec: Spec, question: Question) -> str | None:
    if question.kind is Kind.PUSH or not spec.profile.gives:
        return None
    return CODES[1] if question.again else CODES[0]


def _ending(wanted: Expected, login: rig.Login) -> Iterator[str]:
    report = login.report
    if report.outcome not in wanted.outcomes:
        yield f"ending: {report.outcome}, not {' or '.join(sorted(wanted.outcomes))}"
    elif wanted.words and wanted.words not in report.text:
        yield f"words: {report.text!r} has not IBKR's {wanted.words!r}"


def _submits(spec: Spec, wanted: Expected, login: rig.Login, seen: Seen) -> Iterator[str]:
    sent = len(seen.submits)
    if sent > wanted.submits:
        yield f"submits: {sent} passwords sent, at most {wanted.submits}"
    if login.report.submits != sent:
        yield f"count: {sent} passwords sent, {login.report.submits} counted"
    if sent > login.permits:
        yield f"permit: {sent} passwords sent, {login.permits} permitted"
    for submit in seen.submits:
        if submit.mode not in {None, spec.profile.mode}:
            yield f"mode: submitted in {submit.mode} mode by a {spec.profile.mode} profile"
        if (submit.user, submit.secret) != (rig.USERNAME, rig.PASSWORD):
            yield "fields: another username or password was sent"
        touched = [name for name, value in submit.decoys.items() if value not in {"", "false"}]
        if touched:
            yield f"decoys: {', '.join(touched)} touched"
    if len(seen.codes) > 2:
        yield f"codes: {len(seen.codes)} sent"
    if login.report.outcome is LoginOutcome.SUCCESS and not sent:
        yield "success without a submit"


@contextlib.contextmanager
def a_stage(folder: Path) -> Iterator[Stage]:
    """Yield a stage; its browser and server end afterwards."""
    key = rig.make_key(folder)
    servers: list[Server] = []

    def make(port: int) -> Server:
        servers.append(Server(port))
        return servers[0]

    with rig.serve(make, key) as url, rig.one_browser(key.pin, folder) as chromium:
        yield Stage(chromium, servers[0], url, folder)
