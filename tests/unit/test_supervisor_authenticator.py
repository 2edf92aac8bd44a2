"""One login under law 2: what each outcome means for the ledger and for the loop."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gwctl.config import load
from gwctl.core.messages import LoginDone, LoginResult
from gwctl.credentials import Credentials, Secret
from gwctl.environment import Environment
from gwctl.login.browser import NO_SANDBOX
from gwctl.login.codes import Answer
from gwctl.login.outcome import LoginJob, LoginOutcome, LoginReport, SsoCookie, Step
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.outcome_policy import MEANINGS
from gwctl.login_ledger.rules import REFUSED, SUCCESS
from gwctl.supervisor.authenticator import Authenticator

PASSWORD = "first-password"


class ScriptedLogin:
    """A scripted worker: submits as often as permitted and scripted, then ends; an ignored form submits twice."""

    def __init__(self, outcome: LoginOutcome, *, asks: int = 1, text: str = "", submits: int | None = None) -> None:
        self.outcome = outcome
        self.submits = min(asks, 1) if submits is None else submits
        self.asks = asks
        self.text = text
        self.steps: tuple[Step, ...] = ()
        self.permitted = 0
        self.closed = 0
        self.ended: LoginReport | None = None
        self.job: LoginJob | None = None

    async def run(
        self,
        job: LoginJob,
        on_step: Callable[[Step], None],
        permit: Callable[[], Awaitable[bool]],
        answer: Answer,
    ) -> LoginReport:
        self.job = job
        for step in self.steps:
            on_step(step)
        for _ in range(self.asks):
            if not await permit():
                return LoginReport(LoginOutcome.CANCELLED, self.permitted)
            self.permitted += 1
        cookies = (SsoCookie("XYZAB", "1", "localhost", "/"),) if self.outcome is LoginOutcome.SUCCESS else ()
        return LoginReport(self.outcome, self.submits, self.text, self.steps, cookies)

    async def close(self) -> None:
        self.closed += 1


class Alerts:
    """An authenticator with a real ledger and scripted workers."""

    def __init__(self, home: Path) -> None:
        settings = load("default", flags={"username": "reader01"}, environment=Environment({"GWCTL_HOME": str(home)}))
        self.now_s = 1_000_000.0
        self.ledger = Ledger(settings.paths.ledger_file, wall_clock=lambda: self.now_s, uptime=lambda: None)
        self.password = PASSWORD
        self.username = "reader01"
        self.cookies: list[tuple[tuple[str, str], ...]] = []
        self.workers: list[ScriptedLogin] = []
        self.next_worker = ScriptedLogin(LoginOutcome.SUCCESS)
        self.begun = 0
        self.steps: tuple[Step, ...] = ()
        self.seen: list[str] = []
        self.notes: list[tuple[str, dict[str, str]]] = []
        self.runner = asyncio.Runner()
        self.authenticator = Authenticator(
            settings,
            {},
            self.ledger,
            credentials=lambda: Credentials(self.username, Secret(self.password), None, "a test"),
            on_cookies=self.cookies.append,
            on_note=lambda kind, **fields: self.notes.append((kind, fields)),
            start_worker=self._start,
        )

    def _start(self, _pin: str) -> ScriptedLogin:
        self.workers.append(self.next_worker)
        return self.next_worker

    def log_in(self, outcome: LoginOutcome, *, asks: int = 1, text: str = "", submits: int | None = None) -> LoginDone:
        self.next_worker = ScriptedLogin(outcome, asks=asks, text=text, submits=submits)
        self.next_worker.steps = self.steps

        async def once() -> LoginDone:
            done = await self.authenticator.log_in(
                first=True, on_step=self.seen.append, on_asked=lambda _text: None, on_submit=self._submit_begins
            )
            await self.authenticator.close()
            return done

        return self.runner.run(once())

    def _submit_begins(self) -> None:
        assert self.outcomes[-1] is None, "on disk before it happens (law 2)"
        self.begun += 1

    @property
    def outcomes(self) -> list[str | None]:
        return [submit.outcome for submit in self.ledger.read().submits]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Alerts]:
    desk = Alerts(tmp_path)
    with desk.runner:
        yield desk


@pytest.mark.parametrize("outcome", list(LoginOutcome))
def test_every_end_has_a_meaning(outcome: LoginOutcome) -> None:
    """Each login outcome has a meaning, and counts in the ledger exactly as the facts about the login page say."""
    meaning = MEANINGS[outcome]
    assert (meaning.ledger == REFUSED) == outcome.counts_as_refusal
    assert (meaning.ledger == SUCCESS) == (outcome is LoginOutcome.SUCCESS)
    persons = {LoginResult.NEEDS_PERSON, LoginResult.REFUSED_BEFORE_IT_EVER_WORKED}
    assert (meaning.exit_code == 77) == (meaning.result in persons)
    assert (meaning.hint is None) == (meaning.exit_code in {0, 75})


def test_success_keeps_the_cookies(desk: Alerts) -> None:
    """A successful login is in the ledger, and its cookies are kept for a later resume."""
    done = desk.log_in(LoginOutcome.SUCCESS)
    assert (done.result, done.resumable) == (LoginResult.SUCCESS, True)
    assert desk.cookies == [(("XYZAB", "1"),)]
    assert desk.outcomes == ["success"]
    assert desk.workers[0].closed == 1


@pytest.mark.parametrize("outcome", [LoginOutcome.SUCCESS, LoginOutcome.REFUSED])
def test_what_was_understood_of_a_new_page_is_handed_on(desk: Alerts, outcome: LoginOutcome) -> None:
    """The loop hears of an unknown page, however the login on it ends."""
    understood = Step("understood by what it has: username by autocomplete", 3.0)
    desk.steps = (Step("page opened", 1.0), understood)
    assert desk.log_in(outcome).understood == f"gwctl does not know IBKR's login page; it was {understood.name}"
    desk.steps = ()
    desk.password = "another-password"
    assert desk.log_in(outcome).understood == ""


@pytest.mark.parametrize("uid", [0, 10001])
def test_a_browser_without_its_sandbox_is_said(desk: Alerts, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Root is warned once what that means and what to do; for another user, as in a container, it is a login's step."""
    monkeypatch.setattr("gwctl.supervisor.authenticator.is_root", lambda: uid == 0)
    desk.steps = (Step(NO_SANDBOX, 1.0), Step("page opened", 2.0))
    for _ in range(2):
        desk.log_in(LoginOutcome.SUCCESS)
    if uid != 0:
        assert (desk.seen, desk.notes) == ([NO_SANDBOX, "page opened"] * 2, [])
        return
    assert desk.seen == ["page opened"] * 2
    [(kind, fields)] = desk.notes
    assert (kind, fields["code"]) == ("warning", "browser_as_root")
    assert all(words in fields["text"] for words in ("no sandbox", "would get root", "as a user other than root"))


def test_refused_password_is_sent_once(desk: Alerts) -> None:
    """A refused password that never worked is not sent again; a changed one is sent at once (law 2)."""
    assert desk.log_in(LoginOutcome.REFUSED).result is LoginResult.REFUSED_BEFORE_IT_EVER_WORKED
    for _ in range(3):
        again = desk.log_in(LoginOutcome.SUCCESS)
        assert (again.result, again.exit_code) == (LoginResult.NEEDS_PERSON, 77)
    assert len(desk.workers) == 1
    desk.password = "second-password"
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.SUCCESS
    assert desk.outcomes == ["refused", "success"]


def test_corrected_username_is_another_login(desk: Alerts) -> None:
    """After a login with a wrong username, the right username may be tried with the same password."""
    desk.username = "raeder01"
    desk.log_in(LoginOutcome.REFUSED)
    desk.username = "reader01"
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.SUCCESS


def test_refused_after_it_worked_waits(desk: Alerts) -> None:
    """A password that worked and is refused is tried again after 15 minutes, then an hour, then never (law 2)."""
    desk.log_in(LoginOutcome.SUCCESS)
    first = desk.log_in(LoginOutcome.REFUSED)
    assert (first.result, first.retry_after_s) == (LoginResult.REFUSED_AFTER_IT_WORKED, 900)
    early = desk.log_in(LoginOutcome.REFUSED)
    assert (early.result, early.retry_after_s) == (LoginResult.PAUSED, 900)
    desk.now_s += 901
    second = desk.log_in(LoginOutcome.REFUSED)
    assert (second.result, second.retry_after_s) == (LoginResult.REFUSED_AFTER_IT_WORKED, 3600)
    desk.now_s += 3601
    third = desk.log_in(LoginOutcome.REFUSED)
    assert (third.result, third.exit_code) == (LoginResult.NEEDS_PERSON, 77)
    assert desk.outcomes == ["success", "refused", "refused", "refused"]


def test_swallowed_form_counts_once(desk: Alerts) -> None:
    """A form that was ignored and sent again is one submit that never left and one that succeeded."""
    desk.log_in(LoginOutcome.SUCCESS, asks=2)
    assert desk.outcomes == ["success"]


@pytest.mark.parametrize("outcome", [LoginOutcome.BROWSER_FAILED, LoginOutcome.BROWSER_KILLED])
def test_unseen_answer_counts(desk: Alerts, outcome: LoginOutcome) -> None:
    """A submit with an unknown answer stays open in the ledger, and its password is not sent again (law 2)."""
    desk.log_in(outcome)
    assert desk.outcomes == [None]
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.NEEDS_PERSON
    assert len(desk.workers) == 1


@pytest.mark.parametrize("outcome", [LoginOutcome.WRONG_MODE, LoginOutcome.SECOND_FACTOR_NEEDED])
def test_what_only_a_person_mends_is_not_repeated(desk: Alerts, outcome: LoginOutcome) -> None:
    """A login that a person must fix is no refusal, and is not repeated with the same settings, even by cron."""
    assert desk.log_in(outcome).result is LoginResult.NEEDS_PERSON
    assert desk.outcomes == ["answered"]
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.NEEDS_PERSON
    assert len(desk.workers) == 1
    desk.ledger.reset()
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.SUCCESS


def test_locked_account(desk: Alerts) -> None:
    """An account that IBKR locked is left alone until a person resets it, even with a changed password."""
    assert desk.log_in(LoginOutcome.LOCKED, text="account is locked").code == "locked_out"
    desk.password = "second-password"
    assert desk.log_in(LoginOutcome.SUCCESS).code == "locked_out"
    assert len(desk.workers) == 1


@pytest.mark.parametrize("outcome", [LoginOutcome.UPSTREAM_ILL, LoginOutcome.TIMED_OUT])
def test_ibkrs_trouble_does_not_count(desk: Alerts, outcome: LoginOutcome) -> None:
    """IBKR's own failures and timeouts are no refusals: the login may be repeated, with a limit."""
    for _ in range(9):
        assert desk.log_in(outcome).result in {LoginResult.IBKR_ILL, LoginResult.TRANSIENT}
    assert desk.log_in(outcome).result is LoginResult.PAUSED
    assert desk.outcomes == ["uncounted"] * 9


@pytest.mark.parametrize(
    "outcome", [LoginOutcome.PAGE_UNKNOWN, LoginOutcome.SWALLOWED, LoginOutcome.TIMED_OUT, LoginOutcome.PAGE_NEVER_CAME]
)
def test_what_sent_nothing_gives_its_entry_back(desk: Alerts, outcome: LoginOutcome) -> None:
    """Permitted, on disk, and then not clicked: twenty of them cost neither the day nor the password (law 2)."""
    for _ in range(20):
        done = desk.log_in(outcome, submits=0)
        assert (done.result, done.submits) == (LoginResult.TRANSIENT, 0)
    assert desk.outcomes == []
    assert desk.begun == 20
    assert desk.log_in(LoginOutcome.SUCCESS).submits == 1


@pytest.mark.parametrize("outcome", [LoginOutcome.BROWSER_FAILED, LoginOutcome.BROWSER_KILLED])
def test_what_may_have_been_sent_keeps_its_entry(desk: Alerts, outcome: LoginOutcome) -> None:
    """A browser that failed after its permission may have sent the password, even if its report denies it."""
    done = desk.log_in(outcome, submits=0)
    assert done.submits == 1
    assert desk.outcomes == [None]


def test_reset_does_not_forget_what_nobody_saw_answered(desk: Alerts) -> None:
    """A person who resets again and again stays below IBKR's ten in 24 hours, with any answer of the page."""
    sent = 0
    for _ in range(40):
        done = desk.log_in(LoginOutcome.TIMED_OUT)
        sent += done.submits or 0
        if done.result is LoginResult.PAUSED:
            desk.ledger.reset()
        desk.now_s += 900
    assert sent == 9


def test_pipe_without_a_writer_neither_holds_the_login_nor_piles_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that does not arrive ends the attempt in time; the next one waits for the same reader and gets it."""
    pipe = tmp_path / "password"
    os.mkfifo(pipe)
    monkeypatch.setattr("gwctl.supervisor.authenticator.SECRETS_S", 0.3)
    desk = Alerts(tmp_path)
    opened = []

    def read() -> Credentials:
        opened.append(1)
        return Credentials("reader01", Secret(pipe.read_text()), None, "a test")

    desk.authenticator.credentials = read
    with desk.runner:
        for _ in range(5):
            done = desk.log_in(LoginOutcome.SUCCESS)
            assert done.result is LoginResult.ENVIRONMENT
            assert "secrets took longer" in done.text
        assert len(opened) == 1
        readers = [one for one in threading.enumerate() if one.name.startswith("gwctl reading")]
        assert len(readers) == 1
        assert readers[0].daemon, "the end of the process does not wait for it"
        pipe.write_text(PASSWORD)
        assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.SUCCESS


def test_late_answer_of_the_ledger_is_not_taken_for_another_password(
    desk: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hung while the password was changed: a success of the old one says nothing about the new one."""
    desk.log_in(LoginOutcome.SUCCESS)
    hangs, asked = threading.Event(), Ledger.has_worked

    def has_worked(ledger: Ledger, password: Secret) -> bool:
        hangs.wait(10)
        return asked(ledger, password)

    with monkeypatch.context() as slow:
        slow.setattr(Ledger, "has_worked", has_worked)
        desk.authenticator._asking.timeout_s = 0.05
        assert desk.log_in(LoginOutcome.SUCCESS).code == "unavailable"
        hangs.set()
    late = desk.authenticator._asking._under_way
    assert late is not None
    late.result(10)
    desk.authenticator._asking.timeout_s = 10.0
    desk.password = "second-password"
    desk.log_in(LoginOutcome.SUCCESS)
    job = desk.workers[-1].job
    assert job is not None
    assert not job.has_worked


def test_refusal_is_written_though_a_second_submit_was_denied(desk: Alerts) -> None:
    """The form came again and no further try is allowed today: the refusal counts (law 2)."""

    class TriesTwice(ScriptedLogin):
        async def run(
            self,
            job: LoginJob,
            on_step: Callable[[Step], None],
            permit: Callable[[], Awaitable[bool]],
            answer: Answer,
        ) -> LoginReport:
            assert [await permit(), await permit()] == [True, False]
            return LoginReport(LoginOutcome.FORM_AGAIN, 1)

    desk.log_in(LoginOutcome.SUCCESS)
    for _ in range(8):
        desk.log_in(LoginOutcome.TIMED_OUT)
    desk.next_worker = TriesTwice(LoginOutcome.FORM_AGAIN)

    async def once() -> None:
        await desk.authenticator.log_in(first=True, on_step=lambda _name: None, on_asked=lambda _text: None)

    desk.runner.run(once())
    assert desk.outcomes == ["success", *["uncounted"] * 8, "refused"]


def test_browser_that_died_waiting_is_replaced(desk: Alerts) -> None:
    """A browser that was started early and ended unused is replaced; no submit happened, so none is lost."""
    dead = ScriptedLogin(LoginOutcome.BROWSER_FAILED, asks=0)
    desk.next_worker = dead

    async def prepared() -> None:
        desk.authenticator.prepare("pin")
        await desk.authenticator._until_started()

    desk.runner.run(prepared())
    done = desk.log_in(LoginOutcome.SUCCESS)
    assert done.result is LoginResult.SUCCESS
    assert dead.closed == 1
    assert len(desk.workers) == 2
    assert len(desk.ledger.read().submits) == 1


def test_browser_that_died_with_a_permission_is_not_replaced(desk: Alerts) -> None:
    """It may have sent the password before it died, even if it did not report it: nothing is sent twice (law 2)."""
    desk.next_worker = ScriptedLogin(LoginOutcome.BROWSER_FAILED, submits=0)

    async def prepared() -> None:
        desk.authenticator.prepare("pin")
        await desk.authenticator._until_started()

    desk.runner.run(prepared())
    done = desk.log_in(LoginOutcome.SUCCESS)
    assert (done.result, done.submits) == (LoginResult.ENVIRONMENT, 1)
    assert desk.outcomes == [None]
    assert desk.log_in(LoginOutcome.SUCCESS).code == "credentials_rejected"


def test_browser_that_fails_at_once_fails(desk: Alerts) -> None:
    """A browser that does not run is tried once, not forever."""
    done = desk.log_in(LoginOutcome.BROWSER_FAILED, asks=0)
    assert done.result is LoginResult.ENVIRONMENT
    assert len(desk.workers) == 1


def test_waiting_browser_is_let_go_when_no_login_may_be_made(desk: Alerts) -> None:
    """A login that law 2 does not allow uses no browser, and leaves none."""
    desk.log_in(LoginOutcome.REFUSED)
    waiting = ScriptedLogin(LoginOutcome.SUCCESS)
    desk.next_worker = waiting

    async def prepared() -> None:
        desk.authenticator.prepare("pin")
        await desk.authenticator._until_started()

    desk.runner.run(prepared())
    assert desk.log_in(LoginOutcome.SUCCESS).result is LoginResult.NEEDS_PERSON
    assert waiting.closed == 1


def test_success_that_cannot_be_written_is_a_success_still(desk: Alerts) -> None:
    """A full disk at the end of a good login costs nothing: the success counts now and is written later."""

    class FullOnce(ScriptedLogin):
        async def run(
            self,
            job: LoginJob,
            on_step: Callable[[Step], None],
            permit: Callable[[], Awaitable[bool]],
            answer: Answer,
        ) -> LoginReport:
            report = await super().run(job, on_step, permit, answer)
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            after.append(limits)
            return report

    after: list[tuple[int, int]] = []
    desk.next_worker = FullOnce(LoginOutcome.SUCCESS)

    async def once() -> LoginDone:
        done = await desk.authenticator.log_in(first=True, on_step=lambda _name: None, on_asked=lambda _text: None)
        await desk.authenticator.close()
        return done

    try:
        done = desk.runner.run(once())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, after[0])
    assert done.result is LoginResult.SUCCESS
    assert desk.cookies
    assert Ledger(desk.ledger.file).read().submits[-1].outcome is None
    desk.ledger.restore()
    assert Ledger(desk.ledger.file).read().submits[-1].outcome == "success"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_a_browser_that_cannot_be_warmed_up_stops_nobody_else(desk: Alerts, error: OSError) -> None:
    """Preparing the login runs in parallel with the gateway's start; its failure only shows when the login needs it."""

    def refuse(_pin: str) -> ScriptedLogin:
        raise error

    async def prepared() -> None:
        desk.authenticator.prepare("pin")
        await desk.authenticator._until_started()

    desk.authenticator._start_worker = refuse
    desk.runner.run(prepared())
    assert not desk.authenticator.is_warm


@pytest.mark.parametrize("outcome", [LoginOutcome.REFUSED, LoginOutcome.FORM_AGAIN, LoginOutcome.UNCLEAR])
def test_a_refused_password_in_quotes_is_told_of(desk: Alerts, outcome: LoginOutcome) -> None:
    """If the password looks wrong, a refusal's hint says so first; other outcomes keep their hint."""
    desk.password = '"in quotes"'
    hint = desk.log_in(outcome).hint
    assert hint is not None
    assert "is in quotes" in hint
    assert 'in quotes"' not in hint


def test_a_refused_password_without_quotes_is_not_doubted(desk: Alerts) -> None:
    """An ordinary password's refusal has its ordinary hint."""
    assert "quotes" not in str(desk.log_in(LoginOutcome.REFUSED).hint)


class KeepingLogin(ScriptedLogin):
    """A worker whose login has ended, but which is still saving what the page shows."""

    def __init__(self, outcome: LoginOutcome) -> None:
        super().__init__(outcome)
        self.has_ended = asyncio.Event()

    async def run(
        self,
        job: LoginJob,
        on_step: Callable[[Step], None],
        permit: Callable[[], Awaitable[bool]],
        answer: Answer,
    ) -> LoginReport:
        self.ended = await super().run(job, on_step, permit, answer)
        self.has_ended.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("outcome", "written"),
    [(LoginOutcome.UPSTREAM_ILL, "uncounted"), (LoginOutcome.SUCCESS, "success"), (LoginOutcome.REFUSED, "refused")],
)
def test_what_ibkr_has_said_is_written_though_the_login_is_cancelled(
    desk: Alerts, outcome: LoginOutcome, written: str
) -> None:
    """A gateway that ends while evidence is saved cancels the login; its known answer is not counted as a refusal."""
    worker = KeepingLogin(outcome)
    desk.next_worker = worker

    async def cancel_at_the_end() -> None:
        login = asyncio.create_task(
            desk.authenticator.log_in(first=True, on_step=lambda _name: None, on_asked=lambda _text: None)
        )
        await worker.has_ended.wait()
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        await desk.authenticator.close()

    desk.runner.run(cancel_at_the_end())
    assert Ledger(desk.ledger.file).read().submits[-1].outcome == written
    assert bool(desk.cookies) is (outcome is LoginOutcome.SUCCESS)
