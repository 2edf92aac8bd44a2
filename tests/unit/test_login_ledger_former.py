"""The ledgers of versions that counted each profile alone: taken over once, whatever happens, and closed for them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import quick_prints
from msgspec.structs import replace

from gwctl.config import Settings, load
from gwctl.credentials import Secret
from gwctl.environment import Environment
from gwctl.login_ledger import ledger as ledger_module
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.rules import (
    OUTCOMES,
    REFUSED,
    SUCCESS,
    LoginRecord,
    Now,
    Question,
    Submit,
    counts,
    joined,
    may_submit,
    refusals_within_day,
)
from gwctl.login_ledger.storage import MOVED, Stored

__all__ = ["quick_prints"]
pytestmark = [pytest.mark.law(2), pytest.mark.usefixtures("quick_prints")]

PAPER = "paper/none"
TWO = '[defaults]\nrejected_limit = 9\n[profiles.a]\nusername = "Reader01"\n[profiles.b]\nusername = "reader01"\n'


def settings_of(home: Path, profile: str) -> Settings:
    return load(profile, environment=Environment({"GWCTL_HOME": str(home)}))


def write_former(home: Path, profile: str, logins: list[tuple[str, str | None]], username: str = "reader01") -> Path:
    """Write a profile's ledger as an earlier version did, one login a minute, and return its file."""
    file = settings_of(home, profile).paths.ledger_file
    at_s = [time.time() - 3600.0]

    def minute() -> float:
        at_s[0] += 60.0
        return at_s[0]

    ledger = Ledger(file, wall_clock=minute, uptime=lambda: None)
    for password, outcome in logins:
        # Earlier versions fingerprinted the username as it was configured.
        stored = Stored.new() if not file.exists() else Stored.from_json(json.loads(file.read_text()))
        print_ = ledger._prints(Secret(f"{username}\n{password}"), stored.salts)[0]
        submit = Submit(minute(), print_, outcome)
        record = replace(
            stored.record,
            submits=(*stored.record.submits, submit),
            worked_print=print_ if outcome == SUCCESS else stored.record.worked_print,
        )
        content = replace(stored, record=record).to_json()
        del content["former_salts"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return file


def as_earlier_version(file: Path) -> LoginRecord:
    """Return what an earlier version reads: the same keys, and no others."""
    raw = json.loads(file.read_text())
    known = {name: raw[name] for name in ("salt", "submits", "worked_print", "refused_print", "locked_reason", "block")}
    return Stored.from_json(known).record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.toml").write_text(TWO)
    return folder


def login(password: str) -> Secret:
    return Secret(f"reader01\n{password}")


def test_both_profiles_ledgers_count_from_the_first_look(home: Path) -> None:
    """Before anything was written, one profile's calls know what the other's earlier version counted."""
    write_former(home, "a", [("x", REFUSED)])
    write_former(home, "b", [("y", None), ("z", REFUSED)])
    for profile in ("a", "b"):
        ledger = Ledger.of(settings_of(home, profile))
        assert ledger.summary(9, look_only=True)["rejected"] == 3
        assert ledger.permission(login("new"), PAPER, 3).code == "locked_out"
        assert not ledger.file.exists(), "only a look"


def test_what_is_known_of_passwords_survives_two_salts_and_two_spellings(home: Path) -> None:
    """A password that worked is known as one that works, one that was refused as refused, in both profiles."""
    write_former(home, "a", [("wrong", REFUSED)], "Reader01")
    write_former(home, "b", [("bad", REFUSED), ("right", SUCCESS)])
    for profile in ("b", "a"):
        Ledger.of(settings_of(home, profile)).prepare()
    a, b = (Ledger.of(settings_of(home, profile)) for profile in ("a", "b"))
    assert a.permission(login("wrong"), PAPER, 9).code == "credentials_rejected"
    for ledger in (a, b):
        assert ledger.permission(login("bad"), PAPER, 9).code == "credentials_rejected"
        assert ledger.has_worked(login("right"))
    assert a.begin_submit(login("right"), PAPER, 9).allowed
    assert a.end_submit(REFUSED), "IBKR's trouble, not the password's"
    assert b.permission(login("right"), PAPER, 9).code == "login_paused"


def test_a_refused_password_is_known_by_every_profiles_spelling(home: Path) -> None:
    """What a profile that spells the username in another way was refused is not sent by this one, either."""
    write_former(home, "a", [("wrong", REFUSED)], "Reader01")
    ledger = Ledger.of(settings_of(home, "b"))
    ledger.prepare()
    assert ledger.begin_submit(login("wrong"), PAPER, 9).code == "credentials_rejected"


def test_reset_holds_though_the_former_ledgers_stay(home: Path) -> None:
    """What was taken over and forgiven does not come back from a profile's former ledger."""
    write_former(home, "a", [("x", REFUSED), ("y", REFUSED)])
    Ledger.of(settings_of(home, "b")).reset()
    for profile in ("a", "b"):
        ledger = Ledger.of(settings_of(home, profile))
        ledger.prepare()
        assert ledger.summary(3)["rejected"] == 0


def test_earlier_version_is_locked_and_told(home: Path) -> None:
    """It would see fewer refusals than there are, so it sends nothing; so does one that never had a ledger."""
    before = as_earlier_version(write_former(home, "a", [("x", REFUSED), ("right", SUCCESS)]))
    for profile in ("a", "b"):
        ledger = Ledger.of(settings_of(home, profile))
        ledger.prepare()
        record = as_earlier_version(ledger.account.own_file)
        assert record.locked_reason == MOVED
        assert not may_submit(record, Question("any", PAPER, 3), Now(time.time())).allowed
        if profile == "a":
            assert record.submits == before.submits


def test_what_an_earlier_version_counts_after_a_persons_reset_counts(home: Path) -> None:
    """A person who reset an earlier version and went on with it brings its refusals along."""
    file = write_former(home, "a", [("x", REFUSED)])
    Ledger.of(settings_of(home, "a")).prepare()
    record = as_earlier_version(file)
    later = Submit(time.time(), "print", REFUSED)
    raw = replace(
        Stored.from_json(json.loads(file.read_text())), record=replace(record, submits=(*record.submits, later))
    )
    content = raw.to_json()
    file.write_text(json.dumps(content))
    ledger = Ledger.of(settings_of(home, "b"))
    ledger.prepare()
    assert ledger.summary(9)["rejected"] == 2
    assert not ledger.summary(9)["locked"], "its lock was the note's"


def test_damaged_former_ledger_is_set_aside(home: Path) -> None:
    """Law 9: it is kept under another name and said; the other profile's counts."""
    write_former(home, "b", [("x", REFUSED)])
    file = settings_of(home, "a").paths.ledger_file
    file.parent.mkdir()
    file.write_text('{"salt": "zz"}')
    ledger = Ledger.of(settings_of(home, "a"))
    aside = ledger.prepare()
    assert aside is not None
    assert aside.read_text() == '{"salt": "zz"}'
    assert ledger.summary(9)["rejected"] == 1


STEPS = """
import json, os, sys, shutil
from pathlib import Path
from gwctl.config import Environment, load
from gwctl.credentials import Secret
from gwctl.errors import GwctlError
from gwctl.login_ledger import ledger as ledger_module
from gwctl.login_ledger.ledger import Ledger
from gwctl.login_ledger.rules import counts
from gwctl.login_ledger.storage import MOVED, Stored

home, before, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "tempfile.mkstemp", "fcntl.flock"}
left = None

def stop(event, arguments):
    global left
    if left is None or event not in EVENTS:
        return
    left -= 1
    if left == 0:
        left = None
        if how == "kill":
            os._exit(9)
        raise OSError(28, "No space left on device")

sys.addaudithook(stop)
original = home.with_name("original")
shutil.copytree(home, original)
ledgers = [load(name, environment=Environment({"GWCTL_HOME": str(home)})).paths.ledger_file for name in "ab"]

def refused(record):
    return sum(map(counts, record.submits))

# Scrypt takes its time, and is no file operation.
ledger_module.fingerprint = lambda secret, salt: (secret.reveal().encode() + bytes.fromhex(salt)).hex()

def act():
    ledger = Ledger.of(load("a", environment=Environment({"GWCTL_HOME": str(home)})))
    ledger.prepare()
    ledger.begin_submit(Secret("reader01\\nnew"), "paper/none", 9)

alone = [refused(Stored.from_json(json.loads(file.read_text())).record) for file in ledgers]
act()
for step in range(1, 1000):
    shutil.rmtree(home)
    shutil.copytree(original, home)
    child = os.fork()
    if child == 0:
        left = step
        try:
            act()
        except (GwctlError, OSError):
            os._exit(9)
        os._exit(9 if left is None else 0)
    _, status = os.waitpid(child, 0)
    for name, file, had in zip("ab", ledgers, alone):
        ledger = Ledger.of(load(name, environment=Environment({"GWCTL_HOME": str(home)})))
        seen = [refused(ledger.look()), refused(ledger.read())]
        assert min(seen) >= before, (step, name, seen)
        earlier = Stored.from_json(json.loads(file.read_text())).record
        assert refused(earlier) >= had, (step, name, earlier)
        is_begun = refused(ledger.look()) > before
        assert not is_begun or earlier.locked_reason == MOVED, (step, name)
        ledger.prepare()
        assert refused(ledger.look()) in {before, before + 1}, (step, name)
        assert Stored.from_json(json.loads(file.read_text())).record.locked_reason == MOVED, (step, name)
    if status == 0:
        print(step)
        break
"""


@pytest.mark.parametrize("how", ["kill", "full disk"])
def test_stopped_at_any_step_the_refusals_are_never_fewer(home: Path, how: str) -> None:
    """Killed, or failing, at each file operation of the take-over and the first submit: nobody counts fewer.

    The next start counts none twice.
    """
    write_former(home, "a", [("x", REFUSED), ("right", SUCCESS), ("y", REFUSED)], "Reader01")
    write_former(home, "b", [("z", None), ("x", REFUSED)])
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(home), "4", how],
        env={"PYTHONPATH": str(Path(ledger_module.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "every step was stopped once"


submits = st.builds(
    Submit,
    st.integers(1_000_000, 1_000_000 + 200_000).map(float),
    st.sampled_from("pqr"),
    st.sampled_from([*sorted(OUTCOMES), None]),
)
records = st.builds(
    LoginRecord,
    st.lists(submits, max_size=8).map(lambda many: tuple(sorted(many, key=lambda one: one.at_s))),
    st.sampled_from(["p", None]),
    st.sampled_from(["q", None]),
    st.sampled_from(["locked", None]),
)


@given(one=records, shared=records, other=records)
def test_joined_ledgers_count_what_either_counts_and_nothing_twice(
    one: LoginRecord, shared: LoginRecord, other: LoginRecord
) -> None:
    """Joined however often, the refusals of any moment are those of both; a common past counts once."""
    past = tuple(replace(submit, print=f"shared {submit.print}") for submit in shared.submits)
    first, second = (
        replace(
            record, submits=(*past, *(replace(submit, print=f"{name} {submit.print}") for submit in record.submits))
        )
        for name, record in (("one", one), ("other", other))
    )
    both = joined(first, second)
    assert joined(both, second) is both
    assert joined(both, first) is both
    wanted = sorted(map(repr, (*past, *first.submits[len(past) :], *second.submits[len(past) :])))
    assert sorted(map(repr, both.submits)) == wanted
    for now_s in (1_000_000.0, 1_086_400.0, 1_150_000.0, 1_200_000.0):
        seen = len(refusals_within_day(both, now_s))
        assert seen >= max(len(refusals_within_day(record, now_s)) for record in (first, second))
    assert sum(map(counts, both.submits)) == len([one for one in wanted if "outcome=None" in one or "'refused'" in one])


def test_success_of_the_later_ledger_settles_the_earlier_ones_lock() -> None:
    """A stale profile's old lock does not lock out the one that has logged in since; a later lock holds."""
    stale = LoginRecord((Submit(1.0, "p", REFUSED),), None, "p", "locked")
    healthy = LoginRecord((Submit(9.0, "q", SUCCESS),), "q")
    for both in (joined(stale, healthy), joined(healthy, stale)):
        assert (both.worked_print, both.refused_print, both.locked_reason) == ("q", None, None)
    later = LoginRecord((Submit(10.0, "p", REFUSED),), None, "p", "locked")
    for both in (joined(later, healthy), joined(healthy, later)):
        assert (both.worked_print, both.refused_print, both.locked_reason) == ("q", "p", "locked")
