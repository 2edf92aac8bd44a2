"""The sides that are compared: gwctl and the peer, IBeam, each with its own gateway and the one stand-in for IBKR."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import psutil
from processes import words_of
from rig import Rig

from benchmark import client, memory
from benchmark.rows import OURS, PEER

PEER_PACKAGE = "ibeam==0.5.12"
READY_WITHIN_S = 240.0
ENDS_WITHIN_S = 30.0


class Side(Protocol):
    """One way of keeping a session."""

    name: str
    port: int
    check_every_s: float
    """How often it looks at the session by itself; 0 if it does not."""

    def up(self) -> float | None:
        """Start from nothing; return the seconds until a client has a session, None if it never comes."""

    def again(self) -> float | None:
        """Start after the keeper was killed, as what restarts it does; return as ``up``."""

    def down(self) -> None:
        """Stop, and leave no process."""

    def processes(self) -> list[psutil.Process]:
        """Return the whole tree: the gateway, and what keeps it."""

    def gateway(self) -> psutil.Process:
        """Return the gateway's JVM."""

    def keeper(self) -> psutil.Process:
        """Return the process that keeps the session."""


def jvm_of(processes: list[psutil.Process]) -> psutil.Process:
    """Return the one gateway among these processes."""
    for one in processes:
        if "GatewayStart" in words_of(one):
            return one
    raise LookupError("no gateway is running")


class Ours:
    """gwctl as a user starts it: ``gwctl up``."""

    name = OURS
    check_every_s = 5.0

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.port = rig.port
        self.began_s = 0.0
        """When the last ``up`` was called, in seconds since 1970."""

    def up(self, *argv: str) -> float | None:
        """Run ``gwctl up``; a client has a session when it returns."""
        self.began_s, began_s = time.time(), time.monotonic()
        self._rig.gwctl("up", *argv).check(0)
        took_s = time.monotonic() - began_s
        if not client.is_ready(self.port):
            raise AssertionError("gwctl up returned, and a client has no session")
        return took_s

    def phases(self) -> dict[str, float]:
        """Return after how many seconds each step of the last ``up`` was done, by the journal."""
        done: dict[str, float] = {}
        for entry in self._rig.journal():
            at_s = datetime.fromisoformat(entry["at"]).timestamp() - self.began_s
            match entry:
                case {"kind": "start"}:
                    done["the supervisor runs"] = at_s
                case {"kind": "gateway", "answered_s": float(answered_s)}:
                    done["Java is started"] = at_s - answered_s
                    done["the gateway answers"] = at_s
                case {"kind": "step", "step": "page opened"}:
                    done["the login page is open"] = at_s
                case {"kind": "step", "step": "submitted"}:
                    done["the form is sent"] = at_s
                case {"kind": "login"}:
                    done["IBKR has accepted the login"] = at_s
                case {"kind": "phase", "phase": "ready"}:
                    done["the session is there"] = at_s
        return done

    def again(self) -> float | None:
        """Run ``gwctl up``, as cron or a service manager does."""
        return self.up()

    def down(self) -> None:
        """Run ``gwctl down``."""
        self._rig.gwctl("down").check(0)

    def processes(self) -> list[psutil.Process]:
        """Return supervisor, gateway and front."""
        return memory.below(self._rig.profile_dir)

    def gateway(self) -> psutil.Process:
        """Return the JVM."""
        return psutil.Process(self._rig.status()["gateway"]["pid"])

    def keeper(self) -> psutil.Process:
        """Return the supervisor."""
        return psutil.Process(self._rig.status()["supervisor"]["pid"])

    def timed(self, *argv: str) -> float:
        """Return the seconds that one call takes as a person starts it."""
        began_s = time.monotonic()
        self._rig.gwctl(*argv).check(0)
        return time.monotonic() - began_s


@dataclass
class Peer:
    """IBeam on the release as shipped, in a process namespace of its own: it ends every gateway that it can see."""

    folder: Path
    python: Path
    release_zip: Path
    port: int
    health_port: int
    upstream_port: int
    username: str
    password: str
    auth_delay_ms: int
    name: str = PEER
    check_every_s: float = 60.0
    _running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def up(self) -> float | None:
        """Start it; return the seconds until a client has a session."""
        gateway = self.folder / "gateway"
        if not gateway.exists():
            self._unpack(gateway)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        for name in ("inputs", "outputs", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "IBEAM_ACCOUNT": self.username,
            "IBEAM_PASSWORD": self.password,
            "IBEAM_USE_PAPER_ACCOUNT": "True",
            "IBEAM_GATEWAY_DIR": str(gateway),
            "IBEAM_GATEWAY_BASE_URL": f"https://localhost:{self.port}",
            "IBEAM_CHROME_DRIVER_PATH": shutil.which("chromedriver") or "chromedriver",
            "IBEAM_INPUTS_DIR": str(self.folder / "inputs"),
            "IBEAM_OUTPUTS_DIR": str(self.folder / "outputs"),
            # Its own default wants two more classes, which the page in the fixtures does not have.
            "IBEAM_SUBMIT_EL": "CSS_SELECTOR@@.xyz-button-login",
            "IBEAM_HEALTH_SERVER_PORT": str(self.health_port),
        }
        starter = next(self.python.parents[1].glob("lib/python*/site-packages/ibeam/ibeam_starter.py"))
        namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [*namespace, str(self.python), str(starter)],
                cwd=self.folder,
                env=environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return client.wait_ready(self.port, READY_WITHIN_S)

    def _unpack(self, gateway: Path) -> None:
        with zipfile.ZipFile(self.release_zip) as archive:
            archive.extractall(gateway)
        inner = [one for one in gateway.rglob("run.sh") if one.parent.name == "bin"]
        if inner[0].parents[1] != gateway:
            raise AssertionError(f"the release has an unknown layout: {inner[0]}")
        inner[0].chmod(0o755)
        write_conf(gateway / "root" / "conf.yaml", self.port, self.upstream_port, self.auth_delay_ms)

    def again(self) -> float | None:
        """Start it again, as a container's restart does; what was in its namespace has ended with it."""
        self.down()
        return self.up()

    def down(self) -> None:
        """End it and all that it started: with the namespace's first process the kernel ends all others."""
        if self._running is None:
            return
        self._running.kill()
        self._running.wait()
        self._running = None
        psutil.wait_procs(memory.below(self.folder), ENDS_WITHIN_S)

    def processes(self) -> list[psutil.Process]:
        """Return IBeam, the gateway, and a browser while there is one."""
        return memory.below(self.folder)

    def gateway(self) -> psutil.Process:
        """Return the JVM."""
        return jvm_of(self.processes())

    def keeper(self) -> psutil.Process:
        """Return IBeam's own process."""
        return next(one for one in self.processes() if "ibeam_starter" in words_of(one) and one.name() != "unshare")


def write_conf(conf: Path, port: int, upstream_port: int, auth_delay_ms: int) -> None:
    """Point the release as shipped at the stand-in for IBKR; nothing else is changed."""
    text = conf.read_text()
    for key, value in (
        ("listenPort", port),
        ("proxyRemoteHost", f'"http://127.0.0.1:{upstream_port}"'),
        ("proxyRemoteSsl", "false"),
        ("authDelay", auth_delay_ms),
    ):
        text, number = re.subn(rf"(?m)^(\s*){key}:.*$", rf"\g<1>{key}: {value}", text)
        if number == 0:
            text += f"{key}: {value}\n"
    conf.write_text(text)


def peer_python(folder: Path) -> Path:
    """Return the Python of the peer's own virtual environment, made if needed; raise LookupError without a network."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        got = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", PEER_PACKAGE], check=False, capture_output=True, text=True
        )
        if got.returncode != 0:
            shutil.rmtree(folder)
            raise LookupError(f"cannot be installed: {(got.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return python
