"""State files as a crash, a full disk, another version or a person may leave them: read, or set aside, never lost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corpus.state_files import INPUTS
from fuzzing import about, bounded, damaged, encoded, fuzzed, memory_folder, sampled, swept
from hypothesis import given
from ledgers import quick_prints

from gwctl import process
from gwctl.background_writer import Work
from gwctl.config import Settings, load
from gwctl.core.kept import recall
from gwctl.core.tables import Snapshot
from gwctl.credentials import Secret
from gwctl.environment import Environment
from gwctl.errors import GwctlError
from gwctl.gateway.keystore import _is_sound, _names_in, kept_leaf, leaf_facts_file
from gwctl.gateway.launch import RunningGateway, _network_served, _recorded, adopt
from gwctl.history.alerts import Alerts
from gwctl.history.journal import Seen
from gwctl.lifecycle.follow import last_words
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.reach import port_of
from gwctl.lifecycle.status import look
from gwctl.login.failures import CAUSE_FILE, STEPS_FILE, latest
from gwctl.login_ledger.ledger import Ledger
from gwctl.paths import Paths
from gwctl.profile_registry import ports_by_profile
from gwctl.release.newer import is_due, notices_of
from gwctl.release.served_file import ServedFile
from gwctl.release.store import ReleaseStore
from gwctl.state_file import look_at_json, read_json
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.supervisor.handover import LeaseHolder
from gwctl.supervisor.kept_budgets import KeptBudgets
from gwctl.supervisor.registration import _recorded_socket, remove_socket
from gwctl.supervisor.sandbox_process import StandInRecord
from gwctl.supervisor.served import Served, made_with

__all__ = ["quick_prints"]
pytestmark = pytest.mark.usefixtures("quick_prints")
ME = process.identify(os.getpid())
assert ME is not None
SELF = ME.to_json()
GONE = {"pid": 2**22 + 1, "created_s": 12.5, "cwd": "/nowhere", "boot_id": "b"}
PASSWORD = Secret("correct horse")


@dataclass(frozen=True)
class Kind:
    """One kind of state file: where it is, what it holds, and all that reads it."""

    file: Callable[[Paths], Path]
    good: Any
    read: Callable[[Paths], object]


def _profile(paths: Paths) -> Profile:
    return Profile(environment=Environment({"GWCTL_HOME": str(paths.config_dir), "GWCTL_USERNAME": "wren"}))


def _settings(paths: Paths) -> Settings:
    return load("default", environment=_profile(paths).environment)


def _read_supervisor(paths: Paths) -> None:
    port_of(_settings(paths))
    ports_by_profile(paths)
    with contextlib.suppress(NoSupervisor):
        SupervisorClient.find(paths)
    look(_profile(paths))
    remove_socket(paths, _recorded_socket(paths))


def _read_gateway(paths: Paths) -> None:
    found = RunningGateway.from_json(look_at_json(paths.gateway_state_file)[0])
    if found is not None:
        json.dumps(found.to_json())
        found.rss_bytes()
    adopt(paths)
    _recorded(paths)


def _read_served(paths: Paths) -> None:
    _network_served(paths)
    made_with(paths)
    served = Served.load(paths)
    if served is not None:
        served.is_for(_settings(paths), sandbox=False, upstream=served.upstream)


def _read_port(paths: Paths) -> None:
    port = _settings(paths)["port"]
    assert type(port) is int
    assert 0 < port < 65_536
    ports_by_profile(paths)


def _read_ledger(paths: Paths) -> None:
    ledger = Ledger(paths.ledger_file)
    json.dumps(ledger.summary(3, look_only=True))
    json.dumps(ledger.summary(3))
    ledger.prepare()
    ledger.read()
    permission = ledger.begin_submit(PASSWORD, "paper", 3)
    assert permission.wait_s is None or math.isfinite(permission.wait_s)
    ledger.end_submit("uncounted")
    assert isinstance(json.loads(paths.ledger_file.read_bytes()), dict)
    json.dumps(ledger.summary(3))


def do_now(work: Work) -> None:
    """Do what is for a background thread."""
    work()


def _read_budgets(paths: Paths) -> None:
    said = KeptBudgets(paths.budget_file, do_now).recall()
    snapshot = recall(Snapshot(), said.kept, said.wall_minus_monotonic_s, time.monotonic())
    assert all(math.isfinite(at) for times in snapshot.spent.times.values() for at in times)
    assert math.isfinite(snapshot.login_not_before)
    KeptBudgets(paths.budget_file, do_now).keep(snapshot)
    assert isinstance(json.loads(paths.budget_file.read_bytes()), dict)


def _read_news(paths: Paths) -> None:
    desk = Alerts("default", time.time, read_json(paths.news_file)[0])
    at = "2026-11-29T08:00:00.000Z"
    for entry in (
        {"kind": "start"},
        {"kind": "phase", "phase": "recovering", "reason": "x"},
        {"kind": "end", "text": "x"},
    ):
        desk.see({"n": 1, "at": at, **entry})
    desk.look("no session", at)
    desk.see({"n": 2, "at": at, "kind": "phase", "phase": "ready", "reason": "x"})
    json.dumps(desk.to_json())


def _read_end(paths: Paths) -> None:
    json.dumps(look(_profile(paths))[0])
    last_words(_profile(paths), 0.0)


def _read_evidence(paths: Paths) -> None:
    found = latest(paths.evidence_dir)
    if found is not None:
        json.dumps(found.to_json())
        assert found.todo


def _read_leaf(paths: Paths) -> None:
    paths.leaf_file.write_bytes(b"no PEM")
    paths.profile_dir.joinpath("keystore.password").write_bytes(b"x")
    kept_leaf(paths)
    _names_in(leaf_facts_file(paths))
    _is_sound(leaf_facts_file(paths), [paths.leaf_file], 7, 365)


def _read_check(paths: Paths) -> None:
    entry = paths.releases_dir / "20230424-a27ed421"
    (entry / "clientportal.gw").mkdir(parents=True, exist_ok=True)
    (entry / "release.json").write_bytes(encoded(RELEASE))
    (entry / "served.json").write_bytes(encoded(SERVED_FILE))
    is_due(paths.release_check_file)
    notices_of(_settings(paths), _profile(paths).environment)


def _read_releases(paths: Paths) -> None:
    store = ReleaseStore(paths.releases_dir, paths.cache_dir)
    (paths.releases_dir / "20230424-a27ed421" / "clientportal.gw").mkdir(parents=True, exist_ok=True)
    for one in store.list():
        json.dumps({**{name: str(getattr(one, name)) for name in ("version", "path", "source", "size_bytes")}})
    store.current()


SUPERVISOR = {
    "pid": 4711,
    "created_s": 12.5,
    "identity": GONE,
    "control": "/nowhere/control.sock",
    "port": 1,
    "token": "t",
    "instance": "0123",
    "sandbox": False,
    "gateway_port": 5000,
}
SUBMIT = {"at_s": 1795000000.0, "print": "p", "outcome": "refused", "uptime": {"boot": "b", "up_s": 5.0}}
STEPS = {
    "outcome": "refused",
    "at": "2026-11-29T08:00:00Z",
    "text": "Invalid",
    "submits": 1,
    "steps": [["page", 12.5]],
    "page_version": "current",
    "evidence": None,
}
RELEASE = {
    "version": "20230424-a27ed421",
    "sha256": "0" * 64,
    "source": "x.zip",
    "installed_at": "2026",
    "kind": "standard",
    "size_bytes": 5,
    "format": 1,
    "source_key": "k",
    "files": {"bin/run.sh": {"sha256": "0" * 64, "size_bytes": 5}},
}
SERVED_FILE = {"url": "https://x.example/y.zip", "etag": '"1"', "last_modified": "Mon, 24 Apr 2023", "size_bytes": 5}
SERVED = {
    "sandbox": False,
    "upstream": "https://api.ibkr.com",
    "salt": "00",
    "user": "abc",
    "made_with": {"allow_users": ["root"], "java_options": ""},
}
BUDGETS = {
    "spent": {"login": [1795000000.0], "restart": [1.0]},
    "calm_at": 5.0,
    "failed_logins": 1,
    "blocked": False,
    "often": False,
    "take_overs": 0,
    "took_over_at": None,
    "login_pause_s": 5.0,
    "login_not_before": 1795000000.0,
}
FACTS = {"sha256": "0" * 64, "not_after_s": 1795000000, "spki_pin_base64": "x", "names": ["localhost"]}
KINDS: dict[str, Kind] = {
    "supervisor": Kind(lambda paths: paths.supervisor_state_file, SUPERVISOR, _read_supervisor),
    "gateway": Kind(
        lambda paths: paths.gateway_state_file,
        {
            "java": SELF,
            "shell": GONE,
            "port": 5000,
            "release": "/r",
            "started_at_s": 5.5,
            "front": GONE,
            "network": {"host": "api.ibkr.com", "port": 443, "uids": [0]},
        },
        _read_gateway,
    ),
    "served": Kind(lambda paths: paths.gateway_served_file, SERVED, _read_served),
    "port": Kind(lambda paths: paths.chosen_port_file, {"port": 5001}, _read_port),
    "ledger": Kind(
        lambda paths: paths.ledger_file,
        {
            "salt": "00ff",
            "submits": [SUBMIT, SUBMIT],
            "worked_print": "w",
            "refused_print": None,
            "locked_reason": None,
            "block": {"print": "p", "context": "c", "code": "x", "reason": "r"},
        },
        _read_ledger,
    ),
    "budgets": Kind(lambda paths: paths.budget_file, BUDGETS, _read_budgets),
    "news": Kind(
        lambda paths: paths.news_file,
        {"told": {"long_outage": 1795000000.0}, "sent_s": [1.0], "open": ["long_outage"], "away_s": 5.0},
        _read_news,
    ),
    "end": Kind(
        lambda paths: paths.last_end_file,
        {"at_s": 1795000000.0, "exit_code": 75, "code": "timed_out", "text": "it ended", "hint": None},
        _read_end,
    ),
    "sandbox": Kind(
        lambda paths: paths.sandbox_state_file,
        {"identity": SELF, "port": 1, "admin_token": "t", "mode": "paper"},
        StandInRecord.load,
    ),
    "seen": Kind(
        lambda paths: paths.journal_seen_file,
        {"at": "2026-11-29T08:00:00.000Z", "ready": True},
        lambda paths: Seen.load(paths.journal_seen_file),
    ),
    "leaf": Kind(leaf_facts_file, FACTS, _read_leaf),
    "steps": Kind(lambda paths: paths.evidence_dir / "1" / STEPS_FILE, STEPS, _read_evidence),
    "cause": Kind(lambda paths: paths.evidence_dir / "1" / CAUSE_FILE, {"cause": "c", "text": "t"}, _read_evidence),
    "release": Kind(lambda paths: paths.releases_dir / "20230424-a27ed421" / "release.json", RELEASE, _read_releases),
    "check": Kind(
        lambda paths: paths.release_check_file,
        {
            "asked_at_s": 1795000000.0,
            "release": {"version": "20230424-a27ed421", "newer": True, "installed": SERVED_FILE},
            "gwctl": {"version": "9.1", "page": "https://x.example/releases"},
        },
        _read_check,
    ),
    "served_file": Kind(
        lambda paths: paths.releases_dir / "20230424-a27ed421" / "served.json",
        SERVED_FILE,
        lambda paths: ServedFile.kept(paths.releases_dir / "20230424-a27ed421"),
    ),
    "choice": Kind(lambda paths: paths.releases_dir / "current.json", {"version": "20230424"}, _read_releases),
}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a folder in memory, if there is one: the surfaces are files, not disks."""
    with memory_folder() as folder:
        yield folder


def play(home: Path, kind: Kind, raw: bytes) -> None:
    """Read ``raw`` as this kind of file; its content must still be somewhere beside it afterwards."""
    shutil.rmtree(home)
    home.mkdir(mode=0o700)
    paths = Paths.for_profile("default", home)
    file = kind.file(paths)
    for folder in (paths.profile_dir, file.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.name == CAUSE_FILE:
        file.with_name(STEPS_FILE).write_bytes(encoded(STEPS))
    file.write_bytes(raw)
    with bounded(), contextlib.suppress(GwctlError):
        kind.read(paths)
    assert any(kept.is_file() for kept in file.parent.iterdir() if kept.name.startswith(file.name)), "the file is lost"


@pytest.mark.parametrize("name", KINDS)
def test_a_good_file_is_read(name: str, home: Path) -> None:
    """A file as we write it is read and stays where it is, so the other tests are about the damage."""
    play(home, KINDS[name], encoded(KINDS[name].good))
    assert not list(home.rglob("*.damaged-*"))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_input_is_read_or_set_aside(case: str, name: str, home: Path) -> None:
    """Every input that was ever interesting to one kind of file is played as each of them."""
    play(home, KINDS[name], INPUTS[case])


@pytest.mark.parametrize("name", KINDS)
def test_a_wrong_value_in_any_field_is_read_or_set_aside(name: str, home: Path) -> None:
    """Every field of every kind of file gets each value that is wrong in some way, and is left out."""
    kind = KINDS[name]
    for raw in sampled(swept(kind.good), one_in=8):
        with about(raw):
            play(home, kind, raw)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_or_set_aside(name: str, home: Path) -> None:
    """Whatever is in a state file, its readers return or raise our own errors, and the file is not deleted."""
    kind = KINDS[name]

    @fuzzed(20, share=len(KINDS))
    @given(damaged(kind.good))
    def check(raw: bytes) -> None:
        play(home, kind, raw)

    check()


def test_any_lease_is_read_or_is_none() -> None:
    """What a process says of itself to hold a session is a holder or nothing."""

    @fuzzed(200)
    @given(damaged({"identity": SELF, "label": "l"}))
    def check(raw: bytes) -> None:
        with bounded(), contextlib.suppress(ValueError, RecursionError):
            value = json.loads(raw)
            holder = LeaseHolder.from_json(value)
            assert holder is None or holder.identity.pid > 1

    check()
