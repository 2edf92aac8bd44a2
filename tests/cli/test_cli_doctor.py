"""``gwctl doctor`` as people and scripts see it: the real program on an isolated machine."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Home, one_line_with_hint
from doctor_rig import Machine, a_sound_machine, tree
from release_fakes import release_zip

from gwctl.doctor import CHECKS

ROOT_IS_WARNED = os.geteuid() == 0
"""The login's browser runs without its sandbox then."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with a_sound_machine(tmp_path, release_zip()) as sound:
        yield sound


def test_json_is_the_contracts_envelope(machine: Machine) -> None:
    """--json has findings with exactly these keys in order, and a count per state; warnings exit with 0."""
    machine.variables["GWCTL_ISOLATION"] = "off"
    done = machine.gwctl("doctor", "--json").check(0)
    assert done.stderr == ""
    envelope = done.envelope
    assert (envelope["command"], envelope["exit_code"], envelope["error"]) == ("doctor", 0, None)
    data = envelope["data"]
    assert {tuple(one) for one in data["findings"]} == {("check", "state", "what", "where", "remedy")}
    assert [one["check"] for one in data["findings"]] == [check.code for check in CHECKS]
    summary = data["summary"]
    assert list(summary) == ["ok", "warning", "failed", "not_checked", "took_s"]
    assert (summary["warning"], summary["failed"], summary["not_checked"]) == (1 + ROOT_IS_WARNED, 0, 1)


def test_a_line_a_check_with_the_remedy_below(machine: Machine) -> None:
    """For a person: 80 columns, the next command below each failure, exit 1; -q shows only problems."""
    machine.paths.keystore_file.chmod(0o644)
    done = machine.gwctl("--no-color", "doctor").check(1)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    paths = [line for line in lines if len(line) > 80]
    assert all(len(line.split()) <= 2 for line in paths), "only a path that does not fit is longer"
    at = next(
        n
        for n, line in enumerate(lines)
        if line.startswith("failed       permissions  gwctl.p12 is readable by others")
    )
    assert any(line.strip().startswith("try: chmod go=") for line in lines[at : at + 4])
    warned = "1 warning, " if ROOT_IS_WARNED else ""
    assert lines[-1].split(" (")[0] == f"{len(CHECKS) - 2 - ROOT_IS_WARNED} ok, {warned}1 failed, 1 not checked"
    quiet = machine.gwctl("doctor", "-q").check(1).stdout
    assert "failed       permissions" in quiet
    assert "ok  " not in quiet
    machine.paths.keystore_file.chmod(0o600)
    quiet = machine.gwctl("doctor", "-q").check(0).stdout
    assert quiet.startswith("warning      browser") if ROOT_IS_WARNED else quiet == ""


def test_it_changes_nothing(machine: Machine) -> None:
    """Everything, damaged files included, is unchanged afterwards, in the home and around it."""
    for name in ("supervisor.json", "gateway.json", "sandbox.json", "ledger.json", "budgets.json", "last-end.json"):
        machine.write_state(machine.paths.profile_dir / name, '{"half')
    machine.write_state(machine.paths.journal_file, '{"half')
    evidence = machine.paths.evidence_dir / "20260101T000000Z-1-refused"
    evidence.mkdir(parents=True)
    machine.write_state(evidence / "steps.json", '{"half')
    before = tree(machine.folder)
    machine.gwctl("doctor").check(1)
    assert tree(machine.folder) == before


def test_an_empty_home_is_not_made(home: Home) -> None:
    """On a machine without gwctl's files doctor says what is missing and creates nothing."""
    done = home.gwctl("doctor", "--json", GWCTL_UPSTREAM=f"http://127.0.0.1:{home.port}").check(1)
    said = {one["check"]: one for one in done.envelope["data"]["findings"]}
    assert said["secrets"]["remedy"] == "gwctl profile create default --username NAME"
    assert (said["clock"]["state"], said["clock"]["what"]) == ("not_checked", "needs upstream")
    assert not home.home.exists()


def test_a_home_that_cannot_be_written(machine: Machine) -> None:
    """Only `permissions` reports a profile folder that its owner cannot write to."""
    machine.paths.profile_dir.chmod(0o500)
    try:
        findings = machine.gwctl("doctor", "--json", without_root=True).envelope["data"]["findings"]
    finally:
        machine.paths.profile_dir.chmod(0o700)
    wrong = [one for one in findings if one["state"] in {"warning", "failed"} and one["check"] != "browser"]
    assert [(one["check"], one["what"]) for one in wrong] == [("permissions", "gwctl cannot write to this folder")]


def test_a_profile_is_named_in_the_remedies(machine: Machine) -> None:
    """The commands to type name the requested profile."""
    done = machine.gwctl("--profile", "two", "doctor", "--json", GWCTL_USERNAME="").check(1)
    said = {one["check"]: one for one in done.envelope["data"]["findings"]}
    assert said["settings"]["remedy"] == "gwctl profile create two"
    assert said["secrets"]["remedy"] == "gwctl profile create two --username NAME"


@pytest.mark.browser
def test_a_running_sandbox_is_well_and_stays_so(sandbox: Home) -> None:
    """With a session running, all checks pass, the real browser starts (root is warned), the session is unchanged."""
    before = sandbox.status()
    said: dict[str, Any] = {one["check"]: one for one in sandbox.gwctl("doctor", "--json").envelope["data"]["findings"]}
    well = ("java", "port", "certificate", "upstream", "supervisor", "session", "leftovers", "permissions")
    assert {code: said[code]["state"] for code in well} == dict.fromkeys(well, "ok"), said
    assert said["browser"]["state"] == ("warning" if os.geteuid() == 0 else "ok"), said
    warned = [entry for entry in sandbox.journal() if entry.get("code") == "browser_as_root"]
    assert len(warned) == (os.geteuid() == 0)
    after = sandbox.status()
    assert after["ready"]
    same = [(one["gateway"]["pid"], one["supervisor"]["pid"], one["login"]["last_at"]) for one in (before, after)]
    assert same[0] == same[1]


def test_a_bundle_is_written_once(machine: Machine) -> None:
    """The bundle is a private zip of the documented files; it overwrites a file only with --force."""
    file = machine.folder / "report.zip"
    done = machine.gwctl("doctor", "--bundle", "report.zip", "--json").check(0)
    assert done.envelope["data"]["bundle"] == "report.zip"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as archive:
        findings = json.loads(archive.read("doctor.json"))["findings"]
        assert [one["check"] for one in findings] == [check.code for check in CHECKS]
        versions = json.loads(archive.read("versions.json"))
        assert versions["release"] == "20230424-a27ed421"
    before = file.read_bytes()
    error = one_line_with_hint(machine.gwctl("doctor", "--bundle", "report.zip").check(2))
    assert error == "--bundle report.zip: the file already exists\ngwctl doctor --bundle report.zip --force"
    assert file.read_bytes() == before
    machine.gwctl("doctor", "--bundle", "report.zip", "--force").check(0)
    one_line_with_hint(machine.gwctl("doctor", "--bundle", "gone/report.zip").check(2))
    one_line_with_hint(machine.gwctl("doctor", "--bundle", str(machine.folder), "--force").check(2))


def test_a_bundle_that_cannot_be_written_is_no_bundle(machine: Machine) -> None:
    """An unwritable folder exits with 69 and leaves neither a bundle nor part of one."""
    folder = machine.folder / "shut"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        done = machine.gwctl("doctor", "--bundle", "shut/report.zip", without_root=True).check(69)
    finally:
        folder.chmod(0o700)
    assert "cannot write" in one_line_with_hint(done)
    assert os.listdir(folder) == []  # noqa: PTH208 - names only
