"""Ways to break one part of a sound machine, for tests of the doctor; contains no tests."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doctor_rig import Machine, a_process, an_ibkr, program
from msgspec.structs import replace

from gwctl import process
from gwctl.config import load
from gwctl.credentials import Secret
from gwctl.doctor import network
from gwctl.environment import Environment
from gwctl.gateway import ca_bundle, keystore
from gwctl.login.worker_client import StartLimits
from gwctl.login_ledger.ledger import Ledger
from gwctl.state_file import make_private_dir
from gwctl.times import utc

LISTENER = (
    "import socket, sys, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
    "s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('up', flush=True); time.sleep(600)"
)
SLEEPER = "import sys, time; f = open(sys.argv[1], 'a'); print('up', flush=True); time.sleep(600)"

# The breaks. Each gets the machine; what it yields lasts while the doctor checks.

Break = Callable[[Machine, pytest.MonkeyPatch], AbstractContextManager[Any] | None]


def installed_with(machine: Machine, patch: pytest.MonkeyPatch, line: str) -> None:
    info = machine.folder / "site" / "gwctl-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gwctl\nVersion: 9\n{line}\n")
    patch.syspath_prepend(str(info.parent))


def lose_a_library(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    installed_with(machine, patch, "Requires-Dist: not-there-at-all>=2")


def need_a_newer_python(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    installed_with(machine, patch, "Requires-Python: >=9.9")


def shared_home(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.home.chmod(0o777)


def small_disk(free_bytes: int, inodes: int) -> Break:
    def fill(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        full = SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096, f_blocks=9e9, f_files=9e9, f_favail=inodes)

        def disk(path: Path) -> Any:
            return full if path.is_relative_to(machine.home) else os.statvfs(path)

        machine.ports = replace(machine.ports, disk=disk)

    return fill


def no_scratch(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.variables["TMPDIR"] = str(machine.folder / "gone")


def setting(name: str, value: str) -> Break:
    return lambda machine, _patch: machine.variables.__setitem__(name, value)


def config(text: str) -> Break:
    return lambda machine, _patch: machine.write_config("[defaults]\nmaintenance = []\n" + text)


def chmod(name: str, mode: int) -> Break:
    return lambda machine, _patch: getattr(machine.paths, name).chmod(mode)


def release_open_to_write(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    next(machine.paths.releases_dir.rglob("run.sh")).chmod(0o777)


def damage(name: str, text: str = "{") -> Break:
    return lambda machine, _patch: machine.write_state(getattr(machine.paths, name), text)


def kept_damage(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.write_state(machine.paths.profile_dir / "ledger.json.damaged-20260101T000000-1", "{")


def old_java(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    program(Path(machine.variables["GWCTL_JAVA"]), "echo 'java version \"1.8.0_151\"' >&2")


def browser(script: str) -> Break:
    def write(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        machine.ports = replace(machine.ports, try_browser=None, browser_limits=StartLimits(2.0))
        program(Path(machine.variables["GWCTL_BROWSER"]), script)

    return write


FATAL = "[7:7:1128/1.1:FATAL:content/browser/"
DIES_OF_ITS_SOCKET = (
    "echo '[7:7:1128/1.1:FATAL:chrome/browser/process_singleton_posix.cc:315] Socket path too long: /x' >&2; exit 1"
)
MISSES_A_LIBRARY = (
    "echo 'chrome: error while loading shared libraries: libnss3.so: cannot open shared object file' >&2; exit 127"
)


def change_the_release(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    next(machine.paths.releases_dir.rglob("index.html")).write_text("<html>changed</html>")


def remove_the_release(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(machine.paths.releases_dir)


@contextmanager
def held(port: int) -> Iterator[None]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


def take_the_port(machine: Machine, _patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    return held(machine.port)


def localhost(*addresses: str) -> Break:
    def say(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        def resolve(host: str, port: int) -> list[str]:
            if host != "localhost":
                return [host]
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return list(addresses)

        machine.ports = replace(machine.ports, resolve=resolve)

    return say


def new_certificate(machine: Machine, patch: pytest.MonkeyPatch, name: str, days: int) -> None:
    patch.setattr(keystore, name, days)
    files = (machine.paths.leaf_file, *(machine.paths.ca_dir.iterdir() if name == "_CA_LIFE_DAYS" else ()))
    for file in files:
        file.unlink()
    keystore.ensure_leaf(machine.paths)
    ca_bundle.write_bundle(machine.paths.ca_dir)


def certificate(name: str, days: int) -> Break:
    return lambda machine, patch: new_certificate(machine, patch, name, days)


def wider_authority(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    plain = keystore._ca_certificate

    def unconstrained(key: Any, names: Any) -> Any:
        builder = plain(key, names)
        kept = [one for one in builder._extensions if one.oid.dotted_string != "2.5.29.30"]
        builder._extensions[:] = kept
        return builder

    patch.setattr(keystore, "_ca_certificate", unconstrained)
    new_certificate(machine, patch, "_CA_LIFE_DAYS", 3650)


def foreign_leaf(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    other = replace(machine.paths, data_dir=machine.folder / "other", state_dir=machine.folder / "other")
    keystore.ensure_leaf(other)
    shutil.copy(other.leaf_file, machine.paths.leaf_file)


def other_keystore(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.paths.keystore_file.write_bytes(b"no keystore")


def other_ca_key(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    other = keystore.ensure_ca(machine.folder / "other-ca")
    shutil.copy(other.key_file, machine.paths.ca_dir / "ca.key")


def stale_bundle(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.paths.ca_bundle_file.write_bytes(b"of last year")


def password_file(content: bytes, mode: int = 0o600) -> Break:
    def write(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        file = Path(machine.variables["GWCTL_PASSWORD_FILE"])
        file.write_bytes(content)
        file.chmod(mode)

    return write


def without(name: str) -> Break:
    def take(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        del machine.variables[name]

    return take


def nobody_there(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        machine.variables["GWCTL_UPSTREAM"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
    machine.variables["HTTPS_PROXY"] = "http://proxy.example:3128"


def no_such_name(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.variables["GWCTL_UPSTREAM"] = "https://not-there.invalid"


def mute_name_server(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network, "_RESOLVE_TIMEOUT_S", 0.2)

    def resolve(host: str, port: int) -> list[str]:
        if host != "localhost":
            time.sleep(1)  # as long as a name server without an answer blocks its caller
        return ["127.0.0.1"]

    machine.ports = replace(machine.ports, resolve=resolve)


def mute_ibkr(machine: Machine, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network, "_ANSWER_TIMEOUT_S", 0.3)
    machine.ibkr.mute.set()


def ill_ibkr(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    machine.ibkr.status = 503


@contextmanager
def in_its_place(machine: Machine) -> Iterator[None]:
    certificate_file, key_file = machine.folder / "false.pem", machine.folder / "false.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key_file), "-out", str(certificate_file)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    with an_ibkr(context) as false:
        machine.variables["GWCTL_UPSTREAM"] = f"https://localhost:{false.port}"
        yield


def false_ibkr(machine: Machine, _patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    return in_its_place(machine)


def clock(ahead_s: float) -> Break:
    return lambda machine, _patch: setattr(machine.ibkr, "ahead_s", ahead_s)


def open_window(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    now = dt.datetime.now(dt.UTC)
    begins, ends = now - dt.timedelta(hours=1), now + dt.timedelta(hours=1)
    machine.write_config(f'[defaults]\nmaintenance = ["{begins:%H:%M}-{ends:%H:%M} UTC"]\n')


def supervisor(**said: Any) -> Break:
    return lambda machine, _patch: machine.supervised(**said)


def killed_supervisor(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    with machine.supervised():
        pass


def session(phase: str) -> Break:
    return supervisor(status={"phase": phase, "ready": False, "reason": "refused"})


def drift(machine: Machine, patch: pytest.MonkeyPatch) -> AbstractContextManager[None] | None:
    changed = {
        "setting": "java_options",
        "text": "java_options was changed since the gateway started",
        "remedy": "gwctl restart",
    }
    return supervisor(status={"drift": [changed]})(machine, patch)


def bad_end(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    end = {"exit_code": 77, "code": "credentials_rejected", "text": "IBKR refused it", "hint": "correct it"}
    machine.write_state(machine.paths.last_end_file, {**end, "at_s": time.time()})


def logins(outcome: str, *, worked_before: bool) -> Break:
    def log_in(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
        ledger = Ledger.of(load(machine.paths.profile, environment=Environment(machine.variables)))
        for one in [*(["success"] if worked_before else []), outcome]:
            assert ledger.begin_submit(Secret("x\ny"), "paper/none", 3).allowed
            ledger.end_submit(one)

    return log_in


def past_logins(machine: Machine, logins: list[tuple[str, float]], evidence: list[tuple[str, float]]) -> None:
    """Write logins of the past and the evidence of failed ones: an outcome and its time, seconds from now, of each."""
    now_s = time.time()
    settings = load(machine.paths.profile, environment=Environment(machine.variables))
    password = "wrong"
    for outcome, at_s in logins:
        password = "right" if outcome == "success" else password
        ledger = Ledger.of(settings)
        ledger.wall_clock, ledger.uptime = partial(float, now_s + at_s), lambda: None
        assert ledger.begin_submit(Secret(password), "paper/none", 3).allowed
        ledger.end_submit(outcome)
    for outcome, at_s in evidence:
        folder = machine.paths.evidence_dir / f"{utc(now_s + at_s)}-{outcome}"
        make_private_dir(folder)
        steps = {"outcome": outcome, "at": utc(now_s + at_s), "text": "", "submits": 1, "steps": []}
        machine.write_state(folder / "steps.json", steps)


def pause(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    kept = {"failed_logins": 2, "login_pause_s": 600, "login_not_before": time.time() + 600}
    machine.write_state(machine.paths.budget_file, kept)


def spent(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    machine.write_state(machine.paths.budget_file, {"spent": {"login": [now_s - n for n in range(20)]}})


@contextmanager
def stray_supervisor(machine: Machine) -> Iterator[None]:
    argv = [sys.executable, "-c", SLEEPER, str(machine.paths.supervisor_lock)]
    machine.paths.supervisor_lock.touch(mode=0o600)
    with a_process(argv, machine.paths.profile_dir):
        yield


@contextmanager
def gateway(machine: Machine, *, recorded: bool) -> Iterator[None]:
    with a_process([sys.executable, "-c", LISTENER, str(machine.port)], machine.paths.gateway_dir) as child:
        known = process.identify(child.pid)
        assert known is not None
        if recorded:
            told = {"java": known.to_json(), "shell": None, "port": machine.port, "release": "x", "started_at_s": 1.0}
            told["network"] = {"host": "127.0.0.1", "port": 1, "uids": [os.geteuid()]}
            machine.write_state(machine.paths.gateway_state_file, told)
            conf = machine.paths.gateway_dir / "root" / "conf.yaml"
            conf.parent.mkdir(mode=0o700, exist_ok=True)
            machine.write_state(conf, "# its front ends TLS\nlistenSsl: false\n")
        yield


@contextmanager
def gateway_of_another_profile(machine: Machine) -> Iterator[None]:
    folder = machine.paths.profiles_dir / "two" / "gateway"
    folder.mkdir(parents=True, mode=0o700)
    with a_process([sys.executable, "-c", LISTENER, str(machine.port)], folder):
        yield


@contextmanager
def stray_browser(machine: Machine) -> Iterator[None]:
    folder = machine.paths.login_scratch_dir / "gwctl-login-x"
    folder.mkdir(parents=True, mode=0o700)
    machine.paths.login_scratch_dir.chmod(0o700)
    with a_process([sys.executable, "-c", SLEEPER, os.devnull], folder):
        yield


def running(what: Callable[..., AbstractContextManager[None]], **how: Any) -> Break:
    return lambda machine, _patch: what(machine, **how)


def large_logs(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    log = machine.paths.logs_dir / "gateway.log"
    log.touch(mode=0o600)
    os.truncate(log, 600_000_000)  # a hole: it takes no space


def cron_line(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    lines = "MAILTO=me\n# 1 2 3 4 5 /not/gwctl\n*/5 * * * * /gone/bin/gwctl up --quiet\n"
    (machine.folder / "crontab").write_text(lines)


def unit(machine: Machine, _patch: pytest.MonkeyPatch) -> None:
    folder = machine.folder / "units"
    folder.mkdir()
    (folder / "gwctl@.service").write_text("[Service]\nExecStart=/gone/bin/gwctl up --foreground\n")
