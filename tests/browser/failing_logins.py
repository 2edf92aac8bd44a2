"""Logins that fail in every way that keeps evidence, with secrets planted in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import login_rig as rig
from canaries import Canaries

from gwctl.login.codes import Method, Question
from gwctl.login.outcome import LoginOutcome
from gwctl.login.page_state import Patience
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, PageOptions, StandInConfig

USERNAME, PASSWORD = "magpieuser7", "Quail-Harbor-5521"
TOTP_SECRET = "GEZDGNBVGY3TQOJQHERONHERONHERON2"
RIGHT_CODE, WRONG_CODE = "73529146", "86420975"
PLANTED = Canaries(
    {
        "username": USERNAME,
        "password": PASSWORD,
        "TOTP secret": TOTP_SECRET,
        "right code": RIGHT_CODE,
        "wrong code": WRONG_CODE,
    }
)
QUICK = Patience(form_s=5.0, answer_s=4.0, push_s=0.8, person_s=5.0)
BY_COMMAND = {"method": Method.COMMAND}
ALONE = ("current",)
DEVICES = (("9", f"Telephone of {USERNAME.title()}"), ("4.2", f"SMS to {USERNAME.upper()}"))

Reply = Callable[[Question], str | None]
Prepare = Callable[[RunningStandIn], None]


def wrong_code(_question: Question) -> str:
    """Give the same wrong code each time; the second one is not sent."""
    return WRONG_CODE


def as_it_is(_ibkr: RunningStandIn) -> None:
    """Leave the fake IBKR alone."""


def echoing(ibkr: RunningStandIn) -> None:
    """Put the user, the password and the typed code, in other letters, into every error text."""
    answer = ibkr.state.desk.answer

    def echo(form: dict[str, str]) -> dict[str, Any]:
        said = answer(form)
        heard = f": {USERNAME.upper()}, {PASSWORD.swapcase()} {form.get('CODE', '')}"
        return said | {"error": said["error"] + heard} if "error" in said else said

    ibkr.state.desk.answer = echo  # type: ignore[method-assign] # a fault is played


def forgetting(ibkr: RunningStandIn) -> None:
    """Give the browser the cookies of a login, then show the login page once more."""
    ibkr.state.dispatch = lambda cookies: False  # type: ignore[method-assign]  # noqa: ARG005 - a fault is played


def asking_for(kind: str, **parameters: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return the scenario in which IBKR asks for this."""
    return {"second_factor": {"kind": kind, "code": RIGHT_CODE, "response": RIGHT_CODE, **parameters}}


@dataclass(frozen=True)
class Way:
    """One way to fail: the fake IBKR's behavior, the profile, who answers, and which pages it applies to."""

    name: str
    outcome: LoginOutcome
    scenarios: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    reply: Reply | None = None
    prepare: Prepare = as_it_is
    pages: tuple[str, ...] = ("current", "legacy")
    for_soak: bool = False
    """Whether only the soak plays it: nothing secret is asked for that another way does not ask for."""

    def log_in(self, url: str, pin: str, folder: Path) -> rig.Login:
        """Fail once, with the evidence in ``folder``/evidence."""
        job = rig.job(url, USERNAME, PASSWORD, evidence_dir=folder / "evidence", patience=QUICK, **self.job)
        return rig.log_in(job, pin, folder / "scratch", answer=self.reply)


_NEEDED, _NO_CODE = LoginOutcome.SECOND_FACTOR_NEEDED, LoginOutcome.SECOND_FACTOR_REFUSED
WAYS = (
    Way("refused", LoginOutcome.REFUSED, {"wrong_password": {}}),
    Way("echo", LoginOutcome.UNKNOWN_TEXT, {"login_error": {"text": "Please mind"}}, prepare=echoing),
    Way(
        "unknown text",
        LoginOutcome.UNKNOWN_TEXT,
        {"login_error": {"text": "Call your broker"}},
        pages=ALONE,
        for_soak=True,
    ),
    Way("form again", LoginOutcome.FORM_AGAIN, {"form_again": {}}, for_soak=True),
    Way("spinner", LoginOutcome.TIMED_OUT, {"login_spins": {}}, for_soak=True),
    Way("page unknown", LoginOutcome.PAGE_UNKNOWN, job={"pages": {"password": ["#nowhere"]}}, for_soak=True),
    Way("no code", _NEEDED, asking_for("app"), BY_COMMAND, for_soak=True),
    Way("code refused", _NO_CODE, asking_for("app"), BY_COMMAND, wrong_code, echoing),
    Way("device named", _NO_CODE, asking_for("choice", devices=DEVICES), BY_COMMAND | {"device": "sms"}, wrong_code),
    Way("login forgotten", LoginOutcome.FORM_AGAIN, job={"totp_secret": TOTP_SECRET}, prepare=forgetting),
    Way("passkey", _NEEDED, asking_for("passkey"), pages=ALONE, for_soak=True),
    Way("push never", _NEEDED, asking_for("push", approve="never"), {"method": Method.PUSH}, pages=ALONE),
    Way("e-mail code", _NO_CODE, asking_for("email"), BY_COMMAND, wrong_code, echoing, ALONE),
    Way("response", _NO_CODE, asking_for("challenge"), BY_COMMAND, wrong_code, echoing, ALONE),
)


@contextmanager
def standing(folder: Path, way: Way, variant: str) -> Iterator[tuple[str, str, RunningStandIn]]:
    """Yield address and pin of a gateway whose IBKR fails logins in this way, and that IBKR."""
    key = rig.make_key(folder)
    account = Account(USERNAME, PASSWORD, totp_secret=way.job.get("totp_secret"))
    page = PageOptions(variant, form_delay_ms=0, cookie_dialog=False)
    with ExitStack() as stack:
        ibkr = stack.enter_context(serve_in_thread(StandInConfig("token", account, page=page)))
        url = stack.enter_context(rig.serve_gateway(ibkr.url, key, folder))
        for name, parameters in way.scenarios.items():
            ibkr.state.set_scenario(name, on=True, parameters=dict(parameters))
        way.prepare(ibkr)
        yield url, key.pin, ibkr
