"""Law 2 for a username that several profiles have: one count, one submit at a time, one reset."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from ledgers import quick_prints

from gwctl.config import Settings, load
from gwctl.credentials import Secret
from gwctl.environment import Environment
from gwctl.errors import DiskTrouble
from gwctl.login_ledger import ledger as ledger_module
from gwctl.login_ledger.accounts import Account, account_of, ledger_secret
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.rules import HARD_REFUSAL_LIMIT, REFUSED, SUCCESS, UNCOUNTED, Uptime
from gwctl.times import DAY_S

__all__ = ["quick_prints"]
pytestmark = [pytest.mark.law(2), pytest.mark.usefixtures("quick_prints")]

PAPER = "paper/none"
TWO = """
[profiles.a]
username = "Reader01"
[profiles.b]
username = "reader01"
[profiles.other]
username = "reader02"
"""


def home_with(folder: Path, config: str = TWO) -> Path:
    (folder / "config.toml").write_text(config)
    return folder


def settings_of(home: Path, profile: str, variables: Mapping[str, str] | None = None) -> Settings:
    return load(profile, environment=Environment({"GWCTL_HOME": str(home), **(variables or {})}))


def ledger_of(home: Path, profile: str, variables: Mapping[str, str] | None = None) -> Ledger:
    return Ledger.of(settings_of(home, profile, variables))


def word(password: str, username: str = "reader01") -> Secret:
    return ledger_secret(username, Secret(password))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("reader01", "https://api.ibkr.com"), ("  READER01 ", "https://api.ibkr.com"), True),
        (("reader01", "https://api.ibkr.com"), ("reader01", "https://1.api.ibkr.com:443"), True),
        (("reader01", "https://api.ibkr.com"), ("reader01", "https://gdcdyn.interactivebrokers.com.hk"), True),
        (("reader01", "https://api.ibkr.com"), ("reader02", "https://api.ibkr.com"), False),
        (("reader01", "https://api.ibkr.com"), ("reader01", "http://127.0.0.1:5999"), False),
        (("reader01", "https://api.ibkr.com"), ("reader01", "https://ibkr.example.com:8443"), True),
        (("reader01", "https://api.ibkr.com"), ("reader01", "https://notibkr.com"), False),
    ],
)
def test_account_is_a_username_at_an_upstream(one: tuple[str, str], other: tuple[str, str], *, same: bool) -> None:
    """Usernames are compared as IBKR does, and all of IBKR's hosts have the same accounts; a stand-in has its own."""
    assert (account_of(*one) == account_of(*other)) is same


def test_refusals_of_one_profile_lock_the_other(tmp_path: Path) -> None:
    """The limit is one for both, the smaller one, and the answer names the other profile."""
    home = home_with(tmp_path, TWO.replace('"Reader01"', '"Reader01"\nrejected_limit = 2'))
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    for ledger, password in ((a, "first"), (b, "second")):
        assert ledger.begin_submit(word(password), PAPER, 3).allowed
        ledger.end_submit(REFUSED)
    for ledger, name in ((a, "b"), (b, "a")):
        denied = ledger.begin_submit(word("third"), PAPER, 3)
        assert (denied.allowed, denied.code) == (False, "locked_out")
        assert f"together with {name}" in (denied.reason or "")
        status = ledger.summary(3, look_only=True)
        assert (status["rejected"], status["rejected_limit"], status["locked"]) == (2, 2, True)
        assert status["shared_with"] == [name]
    assert ledger_of(home, "other").begin_submit(word("first", "reader02"), PAPER, 3).allowed


def test_refused_password_is_not_sent_by_the_other_profile(tmp_path: Path) -> None:
    """What one profile learns of a password holds for the other, however each spells the username."""
    home = home_with(tmp_path)
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    a.begin_submit(word("wrong", "Reader01"), PAPER, 3)
    a.end_submit(REFUSED)
    assert b.permission(word("wrong", "reader01"), PAPER, 3).code == "credentials_rejected"
    b.begin_submit(word("right"), PAPER, 3)
    b.end_submit(SUCCESS)
    assert a.has_worked(word("right", "Reader01"))
    a.begin_submit(word("right"), PAPER, 3)
    assert a.end_submit(REFUSED), "it has worked, in the other profile"
    assert b.permission(word("right"), PAPER, 3).wait_s == pytest.approx(900, abs=60)


def test_reset_in_one_profile_resets_both(tmp_path: Path) -> None:
    """A person who has fixed the cause has fixed it for the username."""
    home = home_with(tmp_path)
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    a.begin_submit(word("right"), PAPER, 3)
    a.end_submit(REFUSED, locked_reason="the account is locked")
    assert b.permission(word("right"), PAPER, 3).code == "locked_out"
    b.reset()
    assert not a.summary(3)["locked"]
    assert a.permission(word("right"), PAPER, 3).allowed


def test_two_profiles_never_submit_at_the_same_moment(tmp_path: Path) -> None:
    """While one profile's login is under way, the other waits: it is neither allowed nor locked out; then it may."""
    home = home_with(tmp_path)
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    assert a.begin_submit(word("right"), PAPER, 3).allowed
    assert a.begin_submit(word("right"), PAPER, 3, leave_last=True).allowed, "the form came again"
    for ask in (b.permission, b.begin_submit):
        answer = ask(word("right"), PAPER, 3)
        assert (answer.allowed, answer.code, answer.wait_s) == (False, "login_paused", 30.0)
    a.end_submit(SUCCESS)
    assert b.permission(word("right"), PAPER, 3).allowed
    assert a.begin_submit(word("right"), PAPER, 3).allowed, "to ask is not to take the turn"
    a.end_submit(SUCCESS)
    assert b.begin_submit(word("right"), PAPER, 3).allowed


def test_turn_ends_with_its_process(tmp_path: Path) -> None:
    """A supervisor that is killed during its submit holds nobody up; its submit counts."""
    home = home_with(tmp_path)
    b = ledger_of(home, "b")
    child = """
import sys
from gwctl.config import load
from gwctl.credentials import Secret
from gwctl.errors import DiskTrouble
from gwctl.login_ledger.accounts import ledger_secret
from gwctl.login_ledger.ledger import Ledger
ledger = Ledger.of(load("a"))
print(ledger.begin_submit(ledger_secret("Reader01", Secret("first")), "paper/none", 3).allowed, flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", child]
    environment = {"GWCTL_HOME": str(home), "PYTHONPATH": str(Path(ledger_module.__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as a:
        assert a.stdout is not None
        assert a.stdout.readline().strip() == "True"
        assert b.begin_submit(word("second"), PAPER, 3).code == "login_paused"
        a.kill()
    assert b.summary(3)["rejected"] == 1
    assert b.begin_submit(word("second"), PAPER, 3).allowed


def test_outcome_belongs_to_the_profile_that_submitted(tmp_path: Path) -> None:
    """Even if another profile's submit was written meanwhile, an answer is written to its own entry."""
    home = home_with(tmp_path)
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    a.begin_submit(word("first"), PAPER, 3)
    a.end_turn()  # as if its lock had been deleted
    b.begin_submit(word("second"), PAPER, 3)
    a.wait_for_second_factor(answered=False)
    assert [one.outcome for one in a.read().submits] == ["asked", None]
    a.end_submit(SUCCESS)
    b.end_submit(REFUSED)
    a.block_last(PAPER, "needs_person", "never authenticates")
    assert [one.outcome for one in b.read().submits] == [SUCCESS, REFUSED]
    assert a.has_worked(word("first"))
    assert b.permission(word("first"), PAPER, 3).code == "needs_person"


def no_room(_file: Path, _value: object) -> NoReturn:
    raise DiskTrouble("no space left")


def test_answer_that_a_full_disk_kept_back_overwrites_no_other_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one process still has to write is applied to what the other profile has written meanwhile."""
    home = home_with(tmp_path)
    a, b = ledger_of(home, "a"), ledger_of(home, "b")
    a.begin_submit(word("first"), PAPER, 9)
    with monkeypatch.context() as full:
        full.setattr(ledger_module, "write_json", no_room)
        with pytest.raises(DiskTrouble):
            a.end_submit(REFUSED)
    b.begin_submit(word("second"), PAPER, 9)
    b.end_submit(REFUSED)
    a.restore()
    assert [one.outcome for one in ledger_of(home, "b").read().submits] == [REFUSED, REFUSED]


def test_username_from_a_variable_is_found_by_calls_without_it(tmp_path: Path) -> None:
    """A supervisor notes its account: a call in another shell sees and resets the same count, and who shares it."""
    home = home_with(tmp_path, "[profiles.b]\nusername = 'reader01'\n")
    a = ledger_of(home, "a", {"GWCTL_USERNAME": "reader01"})
    a.prepare()
    a.begin_submit(word("first"), PAPER, 3)
    a.end_submit(REFUSED)
    assert ledger_of(home, "a").summary(3)["rejected"] == 1
    assert Ledger.noted(settings_of(home, "a").paths).summary(3)["rejected"] == 1
    assert ledger_of(home, "b").account.shared_with == ("a",)
    ledger_of(home, "a").reset()
    assert ledger_of(home, "b").summary(3)["rejected"] == 0


def test_another_username_is_another_account(tmp_path: Path) -> None:
    """After a changed username, the count is that of the new one; changed back, nothing is forgotten."""
    home = home_with(tmp_path)
    a = ledger_of(home, "a")
    a.prepare()
    a.begin_submit(word("first"), PAPER, 3)
    a.end_submit(REFUSED)
    changed = ledger_of(home, "a", {"GWCTL_USERNAME": "reader03"})
    changed.prepare()
    assert changed.summary(3)["rejected"] == 0
    assert ledger_of(home, "a").summary(3)["rejected"] == 1


def test_profile_that_came_later_is_seen(tmp_path: Path) -> None:
    """A running supervisor looks now and then who shares its account, and with which limit."""
    home = home_with(tmp_path, "[profiles.a]\nusername = 'reader01'\n")
    a = ledger_of(home, "a")
    assert a.account.shared_with == ()
    home_with(tmp_path, TWO.replace('"reader01"', '"reader01"\nrejected_limit = 1'))
    a.keep(settings_of(home, "a"))
    status = a.summary(3)
    assert (status["shared_with"], status["rejected_limit"]) == (["b"], 1)


def test_files_name_nobody(tmp_path: Path) -> None:
    """The ledger's name and content show neither username nor password; the files are 0600 in 0700."""
    home = home_with(tmp_path)
    a = ledger_of(home, "a")
    a.prepare()
    a.begin_submit(word("horse9"), PAPER, 3)
    for file in (a.file, a.account.own_file):
        text = f"{file.name}{file.read_text()}".lower()
        assert "reader01" not in text
        assert "horse9" not in text
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


class TwoProfiles(RuleBasedStateMachine):
    """Two profiles of one username on a real disk, and IBKR, which counts what either sends."""

    def __init__(self) -> None:
        super().__init__()
        self.home = home_with(Path(tempfile.mkdtemp(prefix="gwctl-shared-")))
        self.now_s = 1_000_000.0
        self.booted_s, self.boots, self.wall_ahead_s = 0.0, 0, 0.0
        self.limit, self.may_boot = 3, False
        self.under_way: dict[str, str] = {}
        self.refused: list[tuple[int, float]] = []
        self.resets = 0
        self.worked: set[str] = set()
        self.spent: set[str] = set()
        self.ledgers: dict[str, Ledger] = {}

    @initialize(limit=st.integers(1, 9), boots=st.booleans())
    def begin(self, limit: int, *, boots: bool) -> None:
        # No machine can tell how long it was off if its clock is wrong as well.
        self.limit, self.may_boot = limit, boots
        for profile in ("a", "b"):
            self.start(profile)

    def start(self, profile: str) -> Ledger:
        account = Account.of(settings_of(self.home, profile))
        ledger = self.ledgers[profile] = Ledger(
            account.file,
            account,
            wall_clock=lambda: self.now_s + self.wall_ahead_s,
            uptime=lambda: Uptime(f"boot-{self.boots}", self.now_s - self.booted_s),
        )
        ledger.prepare()
        return ledger

    @rule(profile=st.sampled_from("ab"), password=st.sampled_from(["x", "x", "y"]))
    def submit(self, profile: str, password: str) -> None:
        """Ask for permission and send the password; the answer comes in a later step."""
        if profile in self.under_way:
            return
        ledger = self.ledgers[profile]
        before = len(ledger.read().submits)
        if not ledger.begin_submit(word(password), PAPER, self.limit).allowed:
            assert len(ledger.read().submits) == before
            return
        assert not self.under_way, "both submit at the same moment"
        assert password not in self.spent, "a password that never worked was submitted twice"
        assert self.ledgers["b" if profile == "a" else "a"].read().submits[-1].outcome is None, "on disk, and seen"
        self.under_way[profile] = password

    @rule(profile=st.sampled_from("ab"), outcome=st.sampled_from([REFUSED, REFUSED, UNCOUNTED, SUCCESS]))
    def answer(self, profile: str, outcome: str) -> None:
        """IBKR answers what is under way."""
        password = self.under_way.pop(profile, None)
        if password is None:
            return
        assert self.ledgers[profile].end_submit(outcome) is (password in self.worked or outcome == SUCCESS)
        if outcome == REFUSED:
            self.count(password)
        elif outcome == SUCCESS:
            self.worked = {password}
            self.spent.discard(password)

    @rule(profile=st.sampled_from("ab"))
    def crash(self, profile: str) -> None:
        """End a supervisor, perhaps before the answer, which may have been a refusal; start the next one."""
        self.ledgers[profile].end_turn()  # the system does
        password = self.under_way.pop(profile, None)
        if password is not None:
            self.count(password)
        self.start(profile)

    def count(self, password: str) -> None:
        self.refused.append((self.resets, self.now_s))
        if password not in self.worked:
            self.spent.add(password)

    @rule(seconds=st.sampled_from([1.0, 900.0, 3600.0, 7 * 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(by_s=st.sampled_from([-400 * DAY_S, 2 * DAY_S]))
    def clock_is_set(self, by_s: float) -> None:
        self.wall_ahead_s += 0.0 if self.may_boot else by_s

    @rule()
    def machine_boots(self) -> None:
        if not self.may_boot:
            return
        for profile in ("a", "b"):
            self.crash(profile)
        self.boots += 1
        self.booted_s = self.now_s

    @rule(profile=st.sampled_from("ab"))
    def person_resets(self, profile: str) -> None:
        if self.under_way:
            return
        self.ledgers[profile].reset()
        self.resets += 1
        self.spent.clear()

    @rule(profile=st.sampled_from("ab"))
    def folder_is_deleted(self, profile: str) -> None:
        """Delete a profile's folder: what its username was refused stays counted."""
        shutil.rmtree(self.ledgers[profile].account.own_file.parent, ignore_errors=True)

    @invariant()
    def both_see_the_same(self) -> None:
        if self.ledgers:
            seen = [ledger.summary(self.limit, look_only=True) for ledger in self.ledgers.values()]
            assert {**seen[0], "shared_with": []} == {**seen[1], "shared_with": []}

    @invariant()
    def ibkr_locks_nobody(self) -> None:
        assert self.most(one_reset=True) <= min(self.limit, HARD_REFUSAL_LIMIT)
        assert self.most(one_reset=False) <= HARD_REFUSAL_LIMIT

    def most(self, *, one_reset: bool) -> int:
        """Return the most refusals in any 24 hours of real time."""
        return max(
            (
                sum(at <= later < at + DAY_S and (not one_reset or reset == then) for then, later in self.refused)
                for reset, at in self.refused
            ),
            default=0,
        )

    def teardown(self) -> None:
        for ledger in self.ledgers.values():
            ledger.end_turn()
        shutil.rmtree(self.home)


def test_law_2_holds_for_two_profiles_of_one_username() -> None:
    """Submits, answers, crashes, boots, clocks and resets interleaved: IBKR never sees more than one limit allows."""
    run_state_machine_as_test(TwoProfiles, settings=examples(max_examples=50, stateful_step_count=40, deadline=None))
