"""Each check of the doctor is broken alone, with real files, sockets and processes, and only that check reports it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import doctor_breaks as broken
import psutil
import pytest
from doctor_breaks import Break
from doctor_rig import Machine, a_sound_machine, program
from msgspec.structs import replace
from release_fakes import release_zip

from gwctl.doctor import CHECKS
from gwctl.doctor.case import State, Tried
from gwctl.environment import Environment
from gwctl.gateway import ca_bundle, keystore
from gwctl.login.browser import find_browser
from gwctl.login.worker_client import LoginWorker


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with a_sound_machine(tmp_path, release_zip()) as sound:
        yield sound


def test_a_sound_machine_has_nothing_wrong(machine: Machine) -> None:
    """On a sound machine no check warns or fails; only the session is not checked, because none is running."""
    findings = machine.findings()
    assert machine.wrong() == {}
    assert [one.check for one in findings if one.state is State.NOT_CHECKED] == ["session"]
    assert {one.check for one in findings} == {check.code for check in CHECKS}


BREAKS: list[tuple[str, str, State, Break, str]] = [
    ("python", "lacks a library", State.FAILED, broken.lose_a_library, "not-there-at-all"),
    ("python", "is too old", State.FAILED, broken.need_a_newer_python, "needs Python >=9.9"),
    ("disk", "is full", State.FAILED, broken.small_disk(5_000_000, 10**6), "5 MB free"),
    ("disk", "has few inodes", State.WARNING, broken.small_disk(10**12, 500), "500 inodes"),
    ("scratch", "is gone", State.FAILED, broken.no_scratch, "does not exist"),
    ("home", "is open to others", State.FAILED, broken.shared_home, "other users can write"),
    ("settings", "lets in no network", State.FAILED, broken.setting("GWCTL_ALLOW_IPS", "10.0.0.0/33"), "10.0.0.0/33"),
    ("settings", "has an unknown key", State.FAILED, broken.config('usrname = "x"\n'), "did you mean|unknown key"),
    (
        "permissions",
        "has a key for all",
        State.FAILED,
        broken.chmod("keystore_file", 0o644),
        "gwctl.p12 is readable by others",
    ),
    ("permissions", "has a folder for all", State.FAILED, broken.chmod("profile_dir", 0o755), "default is readable"),
    ("permissions", "has a release for all", State.FAILED, broken.release_open_to_write, "writable by others"),
    ("state_files", "is no JSON", State.FAILED, broken.damage("budget_file"), "budgets.json is damaged"),
    (
        "state_files",
        "is no ledger",
        State.FAILED,
        broken.damage("ledger_file", '{"submits": 1}'),
        "ledger.json is damaged",
    ),
    ("state_files", "was damaged", State.WARNING, broken.kept_damage, "earlier damage"),
    ("java", "is too old", State.FAILED, broken.old_java, "1.8.0_151"),
    ("java", "is not there", State.FAILED, broken.setting("GWCTL_JAVA", "/gone/java"), "does not run"),
    ("browser", "lacks a library", State.FAILED, broken.browser(broken.MISSES_A_LIBRARY), "missing: libnss3.so"),
    ("browser", "hangs", State.FAILED, broken.browser("sleep 60"), "did not start within"),
    ("browser", "says nothing", State.FAILED, broken.browser("echo 'GPU trouble' >&2; exit 3"), "GPU trouble"),
    ("browser", "says why", State.FAILED, broken.browser(broken.DIES_OF_ITS_SOCKET), "Socket path too long"),
    ("browser", "is killed", State.FAILED, broken.browser("kill -9 $$"), "memory runs out"),
    ("browser", "is not there", State.FAILED, broken.setting("GWCTL_BROWSER", "/gone/chrome"), "does not exist"),
    ("release", "was changed", State.FAILED, broken.change_the_release, "index.html"),
    ("release", "is pinned and gone", State.FAILED, broken.setting("GWCTL_RELEASE", "20990101-x"), "is not installed"),
    ("release", "is not installed", State.WARNING, broken.remove_the_release, "no Standard Release"),
    ("port", "is held", State.FAILED, broken.take_the_port, "is held by python"),
    (
        "port",
        "is another profile's",
        State.FAILED,
        broken.running(broken.gateway_of_another_profile),
        "in use by profile 'two'",
    ),
    ("localhost", "is elsewhere", State.FAILED, broken.localhost("10.9.8.7"), "10.9.8.7"),
    ("localhost", "is IPv6 only", State.FAILED, broken.localhost("::1"), "calls the gateway at 127.0.0.1"),
    ("localhost", "is nothing", State.FAILED, broken.localhost(), "does not resolve"),
    ("certificate", "has ended", State.FAILED, broken.certificate("_LEAF_LIFE_DAYS", 1), "certificate expired on"),
    ("certificate", "ends soon", State.WARNING, broken.certificate("_LEAF_LIFE_DAYS", 8), "expires on"),
    (
        "certificate",
        "authority has ended",
        State.FAILED,
        broken.certificate("_CA_LIFE_DAYS", 1),
        "authority expired on",
    ),
    ("certificate", "authority signs all", State.FAILED, broken.wider_authority, "more names than this machine"),
    ("certificate", "authority has another key", State.FAILED, broken.other_ca_key, "no matching key"),
    ("certificate", "is another's", State.FAILED, broken.foreign_leaf, "not signed by our authority"),
    ("certificate", "has no keystore", State.FAILED, broken.other_keystore, "does not open"),
    ("certificate", "bundle is old", State.WARNING, broken.stale_bundle, "bundle"),
    ("isolation", "is off", State.WARNING, broken.setting("GWCTL_ISOLATION", "off"), "OPEN: other users"),
    ("door", "is missing", State.FAILED, broken.setting("GWCTL_ALLOW_IPS", "192.168.1.*"), "192.168.1.*"),
    ("secrets", "is for all", State.FAILED, broken.password_file(b"x\n", 0o644), "every user"),
    ("secrets", "is for a group", State.WARNING, broken.password_file(b"x\n", 0o640), "other users"),
    ("secrets", "ends in a blank", State.WARNING, broken.password_file(b"x \n"), "blank"),
    ("secrets", "is empty", State.FAILED, broken.password_file(b"\n"), "is empty"),
    ("secrets", "is not there", State.WARNING, broken.without("GWCTL_PASSWORD_FILE"), "no password"),
    ("secrets", "has no user", State.FAILED, broken.without("GWCTL_USERNAME"), "no username"),
    ("secrets", "is not base32", State.FAILED, broken.setting("GWCTL_TOTP_SECRET", "1!8"), "not base32"),
    (
        "secrets",
        "has a command that fails",
        State.FAILED,
        broken.config('totp_secret_command = ["false"]\n'),
        "exited with code 1",
    ),
    ("secrets", "has no TOTP secret", State.FAILED, broken.setting("GWCTL_SECOND_FACTOR", "totp"), "no TOTP secret"),
    ("upstream", "is not there", State.FAILED, broken.nobody_there, "HTTPS_PROXY is set"),
    ("upstream", "has no name", State.FAILED, broken.no_such_name, "does not resolve"),
    ("upstream", "has no name server", State.FAILED, broken.mute_name_server, "no name server"),
    ("upstream", "is mute", State.FAILED, broken.mute_ibkr, "sent no answer"),
    ("upstream", "is ill", State.WARNING, broken.ill_ibkr, "503"),
    ("upstream", "is another", State.FAILED, broken.false_ibkr, "cannot be trusted"),
    ("clock", "is wrong", State.FAILED, broken.clock(7200), "behind"),
    ("clock", "is a little off", State.WARNING, broken.clock(-25), "ahead"),
    ("maintenance", "is now", State.WARNING, broken.open_window, "is open until"),
    ("supervisor", "was killed", State.WARNING, broken.killed_supervisor, "was killed"),
    ("supervisor", "does not answer", State.FAILED, broken.supervisor(answers=False), "does not answer"),
    ("supervisor", "does not turn", State.FAILED, broken.supervisor(live=False), "is stuck"),
    ("supervisor", "holds nothing", State.WARNING, broken.supervisor(holds=False), "lock"),
    ("supervisor", "is older", State.WARNING, broken.supervisor(version="0.0.1"), "0.0.1"),
    ("session", "is locked", State.FAILED, broken.session("locked_out"), "locked_out: refused"),
    ("session", "is on its way", State.WARNING, broken.session("logging_in"), "logging_in"),
    ("drift", "was changed", State.WARNING, broken.drift, "java_options was changed"),
    ("last_end", "gave up", State.FAILED, broken.bad_end, "IBKR refused it"),
    (
        "secrets",
        "has a number for a name",
        State.WARNING,
        broken.setting("GWCTL_USERNAME", "DU1234567"),
        "account number",
    ),
    ("login", "is locked", State.FAILED, broken.logins("refused", worked_before=False), "locked"),
    ("login", "was refused", State.WARNING, broken.logins("refused", worked_before=True), "1 of 3 refusals"),
    ("budget", "waits", State.WARNING, broken.pause, "the next login is in 10 min"),
    ("budget", "is spent", State.WARNING, broken.spent, "login for"),
    ("leftovers", "has a supervisor", State.FAILED, broken.running(broken.stray_supervisor), "supervisor (pid"),
    ("leftovers", "has a gateway", State.FAILED, broken.running(broken.gateway, recorded=False), "gateway (pid"),
    ("leftovers", "has a browser", State.FAILED, broken.running(broken.stray_browser), "login's browser (pid"),
    (
        "leftovers",
        "is not supervised",
        State.WARNING,
        broken.running(broken.gateway, recorded=True),
        "without a supervisor",
    ),
    ("logs", "are large", State.WARNING, broken.large_logs, "600 MB"),
    ("unattended", "has a cron line", State.FAILED, broken.cron_line, "/gone/bin/gwctl"),
    ("unattended", "has a unit", State.FAILED, broken.unit, "/gone/bin/gwctl"),
]


@pytest.mark.parametrize(
    ("code", "state", "breaks", "said"),
    [pytest.param(code, state, breaks, said, id=f"{code} {how}") for code, how, state, breaks, said in BREAKS],
)
def test_what_is_broken_is_said_by_its_check_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, code: str, state: State, breaks: Break, said: str
) -> None:
    """One thing is broken: its check reports it with a remedy, no other check does, and no process is left."""
    children = set(psutil.Process().children(recursive=True))
    with breaks(machine, monkeypatch) or nullcontext():
        started = set(psutil.Process().children(recursive=True)) - children
        wrong = machine.wrong()
        assert list(wrong) == [code], wrong
        assert wrong[code].state is state
        assert any(words in wrong[code].what for words in said.split("|")), wrong[code]
        assert wrong[code].remedy
        left = [one for one in set(psutil.Process().children(recursive=True)) - children - started if one.is_running()]
        assert not [one for one in left if one.status() != psutil.STATUS_ZOMBIE]
    assert list(Path(machine.folder / "scratch").iterdir()) == []


def test_every_check_is_broken_here() -> None:
    """Every check has a test that breaks it; `time_zones` needs a separate process, below."""
    assert {check.code for check in CHECKS} - {code for code, *_ in BREAKS} == {"time_zones"}


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (f"{broken.FATAL} zygote_host_impl_linux.cc:117] No usable sandbox!", "allow user namespaces"),
        (f"{broken.FATAL} shared_memory.cc:252] Creating shared memory in /dev/shm/x failed: No space", "chmod 1777"),
        (f"{broken.FATAL} file.cc:1] write: No space left on device", "free space"),
        (f"{broken.FATAL} process_singleton_posix.cc:315] Socket path too long: /x", "set TMPDIR to a short path"),
        (f"{broken.FATAL} thread.cc:9] pthread_create: Resource temporarily unavailable (11)", "raise the limits"),
        ("chrome: error while loading shared libraries: libnss3.so: cannot open", "playwright install-deps"),
        ("sh: /opt/chrome: Permission denied", "let this user run it"),
        ("GPU trouble", "gwctl browser install, or name another one"),
    ],
)
def test_a_browser_that_does_not_start_has_the_remedy_of_its_cause(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, said: str, remedy: str
) -> None:
    """Only a browser that is missing, or fails without a known reason, is to be installed."""
    broken.browser(f"echo '{said}' >&2; exit 1")(machine, monkeypatch)
    found = machine.wrong()["browser"]
    assert found.state is State.FAILED
    assert remedy in str(found.remedy)


def test_the_browser_starts_as_for_a_login(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's browser has the arguments and variables of a login's, but for the names of its folders."""
    program_file = Path(machine.variables["GWCTL_BROWSER"])
    broken.browser(f"env | sort > {machine.folder}/seen; printf '%s\\n' \"$@\" >> {machine.folder}/seen; exit 1")(
        machine, monkeypatch
    )

    def started() -> list[str]:
        lines = (machine.folder / "seen").read_text().splitlines()
        names = re.compile(r"[^ =]*/gwctl-login-\w+|playwright_chromiumdev_profile-\w+")
        return [names.sub("FOLDER", line) for line in lines if not line.startswith(("_=", "PWD=", "OLDPWD="))]

    leaf = keystore.ensure_leaf(machine.paths)
    machine.wrong()
    by_doctor = started()
    environ = Environment(machine.variables).variables

    async def log_in() -> None:
        browser = find_browser(str(program_file), environ)
        scratch = machine.paths.login_scratch_dir
        async with LoginWorker.start(browser, leaf.spki_pin_base64, scratch, environ=environ) as worker:
            await worker.await_browser(lambda _step: None)

    asyncio.run(log_in())
    assert by_doctor == started()
    assert any("spki-list=" in line for line in by_doctor)


@pytest.mark.parametrize(
    ("logins", "evidence", "state", "said"),
    [
        ([("refused", -7200), ("success", -3600)], [("refused", -7199)], State.OK, "last success at"),
        ([("success", -3600)], [("page_never_came", -7200)], State.OK, "0 of 3 refusals"),
        ([("success", -3600)], [("page_never_came", -60)], State.WARNING, "the login form never appeared"),
        ([("success", -3600), ("refused", -60)], [("refused", -59)], State.WARNING, "IBKR refused the username or the"),
        ([("success", -3600), ("refused", -60)], [("timed_out", -90000)], State.WARNING, "last refused at"),
        (
            [("success", -9), ("refused", -6)],
            [("refused", -90000), ("refused", -5)],
            State.WARNING,
            "1 of 3 refusals in 24 h",
        ),
        ([], [("browser_failed", -60)], State.WARNING, "the browser did not start, or exited"),
        ([], [], State.OK, "none yet"),
    ],
)
def test_only_a_failure_after_the_last_success_is_one(
    machine: Machine,
    *,
    logins: list[tuple[str, float]],
    evidence: list[tuple[str, float]],
    state: State,
    said: str,
) -> None:
    """An old refusal or old evidence before a success is well; the newest evidence is named, refusals are counted."""
    broken.past_logins(machine, logins, evidence)
    [found] = [one for one in machine.findings() if one.check == "login"]
    assert found.state is state
    assert said in found.what


@pytest.mark.parametrize(("uid", "state"), [(0, State.WARNING), (10001, State.OK)])
def test_a_browser_without_its_sandbox(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, uid: int, state: State
) -> None:
    """Root is warned, with what to do; for another user, as in a container, it is a remark."""
    monkeypatch.setattr("gwctl.login.browser.is_root", lambda: uid == 0)
    machine.ports = replace(machine.ports, try_browser=lambda _case, _browser: Tried(has_sandbox=False))
    [found] = [one for one in machine.findings() if one.check == "browser"]
    assert (found.state, "it starts, without its sandbox" in found.what) == (state, True)
    assert found.remedy == ("run gwctl as a user other than root" if uid == 0 else None)


def test_no_time_zones(machine: Machine) -> None:
    """Without any time zone database, that is the finding, and checks that need the settings do not run."""
    empty = machine.folder / "empty"
    (empty / "tzdata").mkdir(parents=True)
    (empty / "tzdata" / "__init__.py").write_text("")
    done = machine.gwctl("doctor", "--json", PYTHONTZPATH=str(empty), PYTHONPATH=str(empty)).check(1)
    findings = done.envelope["data"]["findings"]
    assert [one["check"] for one in findings if one["state"] in {"warning", "failed"}] == ["time_zones"]
    assert {one["check"]: one["what"] for one in findings}["settings"] == "needs time_zones"
    assert {one["check"]: one["what"] for one in findings}["release"] == "needs settings"


def test_an_authority_may_sign_for_names_that_were_asked_for(machine: Machine) -> None:
    """Names from `certificate_names` are no fault of the authority, and neither are several addresses."""
    machine.variables["GWCTL_CERTIFICATE_NAMES"] = "curlew.example,10.9.8.7"
    machine.variables["GWCTL_NOTIFY_URLS"] = "json://a/b\njson://c/d"
    keystore.ensure_leaf(machine.paths, ("curlew.example", "10.9.8.7"))
    ca_bundle.write_bundle(machine.paths.ca_dir, ("curlew.example", "10.9.8.7"))
    assert machine.wrong() == {}


def test_lines_that_start_a_gwctl_that_is_there(machine: Machine) -> None:
    """A line with variables before a Python and its module, one found on the crontab's PATH, and a unit are fine."""
    program(machine.folder / "own bin" / "gwctl", "true")
    lines = [
        f"PATH={machine.folder / 'bin'}:/usr/bin",
        f"*/5 * * * * GWCTL_HOME=/x {sys.executable} -m gwctl --profile two up --quiet",
        "@reboot gwctl up --quiet",
        f"1 2 3 4 5 '{machine.folder}/own bin/gwctl' up >/dev/null",
    ]
    (machine.folder / "crontab").write_text("\n".join(lines) + "\n")
    assert list(machine.wrong()) == ["unattended"], "there is no gwctl on that PATH yet"
    program(machine.folder / "bin" / "gwctl", "true")
    unit = machine.folder / ".config" / "systemd" / "user" / "gwctl-default.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(f'[Service]\nExecStart="{machine.folder}/own bin/gwctl" "up" "--foreground"\n')
    said = {one.check: one for one in machine.findings()}["unattended"]
    assert (said.state, said.what) == (State.OK, f"{unit}, the crontab")


def test_a_file_of_another_user(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of ours with another owner is named, with the command that corrects it."""
    file = machine.paths.leaf_file
    me = os.geteuid()
    if me == 0:
        os.chown(file, 65534, -1)
        wrong = machine.wrong()
    else:  # only root can give a file away: so this process pretends to be another user
        monkeypatch.setattr("gwctl.doctor.files.os.geteuid", lambda: me + 1)
        wrong = machine.wrong()
    assert list(wrong) == ["permissions", *(["certificate"] if me == 0 else [])]
    assert "owned by another user" in wrong["permissions"].what
    assert str(wrong["permissions"].remedy).startswith("sudo chown -R ")


def test_settings_that_name_secrets_are_for_their_owner() -> None:
    """A config.toml that names the source of a secret causes a warning if others can read it, and only then."""
    with tempfile.TemporaryDirectory(prefix="gwctl-doctor-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with a_sound_machine(folder, release_zip()) as machine:
            machine.write_config('[defaults]\nmaintenance = []\ntotp_secret_command = ["echo", "JBSWY3DPEHPK3PXP"]\n')
            machine.paths.config_file.chmod(0o644)
            assert machine.wrong() == {}, "its folder is for its owner alone"
            machine.home.chmod(0o755)
            wrong = machine.wrong()
            assert [(code, one.state) for code, one in wrong.items()] == [("settings", State.WARNING)]
            assert wrong["settings"].remedy == f"chmod 600 {machine.paths.config_file}"


def test_a_secret_is_never_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any fault of a secret, no finding contains the secret."""
    machine.variables["GWCTL_TOTP_SECRET"] = "Canary-Is-Not-Base32"
    broken.password_file(b"Quail-Harbor-5521 \n", 0o644)(machine, monkeypatch)
    said = " ".join(f"{one.what} {one.remedy} {one.where}" for one in machine.findings() if one.check == "secrets")
    assert "not base32" in said
    assert "blank" in said
    assert "Quail" not in said
    assert "Canary" not in said
