"""Start a gateway and recognize it later: the race to readiness, the record on disk, adoption, the stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl import process, state_file
from gwctl.errors import GatewayFailed, GwctlError, JavaMissing, PortBusy, TimedOut
from gwctl.gateway.firewalled import unload_firewall
from gwctl.gateway.isolated import HOSTS_FILE, FrontFailed, Network, PortTaken, entering, is_isolated, start_front
from gwctl.gateway.java import Java, how_to_install
from gwctl.gateway.log_diagnosis import Cause, read_cause
from gwctl.gateway.work_folder import PreparedHome, clear_leavings, ends_tls, is_standin
from gwctl.ownership import open_ours
from gwctl.paths import Paths
from gwctl.process import Identity, Spawned, StopReport
from gwctl.profile_registry import neighbour_on
from gwctl.signals import whole

UTF_8_LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
"""A locale that every system has."""
_ARGV = ("bash", "bin/run.sh", "root/conf.yaml")
_KNOCK_PAUSE_S = 0.025
_KNOCK_TIMEOUT_S = 5.0
_GRACE_AFTER_FAILURE_S = 2.0
_CANNOT_LISTEN = b"Server listen failed"
_LOOKED_AT_BYTES = 64 * 1024
_LOG_MAX_BYTES = 5_000_000
_LOG_KEEP = 3
_LOGS_HINT = "gwctl logs --gateway"


class Runtime(Struct, frozen=True):
    """What runs a gateway: the release, Java (or Python for the sandbox), and the base environment."""

    release_path: Path
    java: Java | None
    environ: Mapping[str, str]
    java_options: str = ""
    python: str | None = None
    network: Network | None = None
    """The network of its own that the gateway gets; None to put it into this machine's."""
    class_options: str = ""
    """``_JAVA_OPTIONS``: those of the archive of its classes."""


@dataclass(slots=True)
class RunningGateway:
    """A gateway that serves: its shell process, its listener, its port, its start time, its network."""

    java: Identity
    """The process that listens: the JVM, or the sandbox's Python."""
    shell: Identity | None
    """``run.sh``, the listener's parent; None if only that one has ended."""
    port: int
    release_path: Path
    started_at_s: float
    spawned: Spawned | None = field(default=None, repr=False, compare=False)
    network: Network | None = None
    """Its own network; None if it is in this machine's."""
    front: Identity | None = None
    """The process that lets programs in to an isolated gateway."""
    front_spawned: Spawned | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the object for the state file."""
        return {
            "java": self.java.to_json(),
            "shell": None if self.shell is None else self.shell.to_json(),
            "port": self.port,
            "release": str(self.release_path),
            "started_at_s": self.started_at_s,
            "network": None if self.network is None else self.network.to_json(),
            "front": None if self.front is None else self.front.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> RunningGateway | None:
        """Return the gateway in a state file, without proof; None if it names none that became ready."""
        match value:
            case {
                "java": told_java,
                "shell": told_shell,
                "port": int(port),
                "release": str(release),
                "started_at_s": int() | float() as started_at_s,
            }:
                java, shell = Identity.from_json(told_java), Identity.from_json(told_shell)
                if java is None:
                    return None
                found = cls(java, shell, port, Path(release), float(started_at_s))
                told = value if isinstance(value, dict) else {}  # earlier versions do not record the rest
                found.network = Network.from_json(told.get("network"))
                found.front = Identity.from_json(told.get("front"))
                return found
            case _:
                return None

    def is_alive(self) -> bool:
        """Say whether the listener's process is running."""
        return process.is_alive(self.java)

    def rss_bytes(self) -> int | None:
        """Return the listener's resident memory; None if it has ended."""
        return process.rss_bytes(self.java)

    async def wait_ended(self) -> None:
        """Return as soon as the listener's process has ended."""
        await process.wait_ended(self.java)
        self._collect()

    async def stop(self, grace_s: float) -> StopReport:
        """Stop the gateway and its shell, with SIGKILL after ``grace_s``; an empty report if it has already ended."""
        report = await process.stop(_known(self.shell, self.java, self.front), grace_s=grace_s)
        self._collect()
        return report

    def let_go(self) -> None:
        """Leave it running when this process ends, for the next supervisor to adopt (law 4)."""
        for spawned in (self.spawned, self.front_spawned):
            if spawned is not None:
                spawned.let_go()

    def _collect(self) -> None:
        for spawned in (self.spawned, self.front_spawned):
            if spawned is not None:
                spawned.poll()
        if self.shell is None or self.java.pid != self.shell.pid:
            process.reap(self.java)


def adopt(paths: Paths) -> RunningGateway | None:
    """Return the gateway that an earlier supervisor left running, if it is provably ours and holds its port.

    The proof is pid, creation time and working directory; the caller must check that it answers with our key. A damaged
    state file is set aside.
    """
    value, _ = state_file.read_json(paths.gateway_state_file)
    return recognised(paths, RunningGateway.from_json(value))


def recognised(paths: Paths, known: RunningGateway | None) -> RunningGateway | None:
    """Return ``known`` if it is provably the profile's gateway and holds its port; changes no file."""
    home = os.path.realpath(paths.gateway_dir)
    if known is None or known.java.cwd != home or not process.is_ours(known.java):
        return None
    if not process.listens(known.java, known.port):
        return None
    if known.network is not None and ends_tls(paths):
        return None  # of an earlier version, which ended TLS inside: today's front cannot talk to it
    if known.shell is not None and not process.is_ours(known.shell):
        known.shell = None
    if known.front is not None and not process.is_ours(known.front):
        known.front = None
    return known


def find_unrecorded(paths: Paths, port: int, release_path: Path) -> RunningGateway | None:
    """Return the gateway of a lost state file: the process that holds ``port`` and works in the profile's folder.

    An isolated one holds the port of its own network, even after its front has ended. The gateway is ours only if it
    also answers with our key (``client.knock``), which the caller must check first.
    """
    home = os.path.realpath(paths.gateway_dir)
    listener = process.find_listener(port)
    holder = None if listener is None or listener.pid is None else process.identify(listener.pid)
    front = holder if holder is not None and holder.cwd == home else None
    inside = [one for one in process.inhabitants(paths.gateway_dir) if one != front and process.listens(one, port)]
    if inside:
        network = None if ends_tls(paths) else _network_served(paths)
        return RunningGateway(inside[0], None, port, release_path, time.time(), network=network, front=front)
    return None if front is None else RunningGateway(front, None, port, release_path, time.time())


def _network_served(paths: Paths) -> Network | None:
    """Return the network of the last launch, by what it was connected to."""
    match state_file.look_at_json(paths.gateway_served_file)[0]:
        case {"upstream": str(upstream), "made_with": {"allow_users": [*users]}}:
            with contextlib.suppress(GwctlError, ValueError):
                return Network.to(upstream, [str(user) for user in users])
    return None


async def clear_leftovers(paths: Paths, *, grace_s: float) -> StopReport:
    """Stop what the state file names and is provably ours, even if it never became ready, and delete the record.

    Stop also what works in the gateway's folder and in a network of its own; then remove the port's firewall.
    """
    report = await process.stop(await asyncio.to_thread(_recorded, paths), grace_s=grace_s)
    if not report.survivors:
        await whole(unload_firewall, paths)
        await whole(paths.gateway_state_file.unlink, missing_ok=True)
    return report


def _recorded(paths: Paths) -> list[Identity]:
    value, _ = state_file.read_json(paths.gateway_state_file)
    told = value or {}
    java, shell, front = (Identity.from_json(told.get(name)) for name in ("java", "shell", "front"))
    # A process group reserves its leader's pid, so its members are ours unless another process has that pid.
    orphans = [] if shell is None or process.identify(shell.pid) else process.members_of_group(shell.pid)
    home = os.path.realpath(paths.gateway_dir)
    recorded = [one for one in (*_known(java, shell, front), *orphans) if one.cwd == home]
    # An isolated gateway without a record does not hold the port, and would run beside the next one.
    there = process.inhabitants(paths.gateway_dir)
    strays = [one for one in there if is_isolated(one.pid) and process.listening_ports(one)]
    port = told.get("port")
    fronts = [one for one in there if isinstance(port, int) and one not in strays and process.listens(one, port)]
    return list(dict.fromkeys((*recorded, *strays, *fronts)))


async def launch(paths: Paths, prepared: PreparedHome, runtime: Runtime, *, deadline_s: float = 60.0) -> RunningGateway:
    """Start the gateway in its prepared folder and return as soon as it answers with our key.

    That races against its exit, its message that it cannot listen, and the deadline (law 6); unless it wins, everything
    started is stopped again. Raises PortBusy, JavaMissing, GatewayFailed, TimedOut.
    """
    if not process.port_is_free(prepared.port):
        raise port_busy(paths, prepared.port)
    env = _environment(runtime)
    await asyncio.to_thread(_tidy, paths, prepared.gateway_dir)
    offset = paths.gateway_log.stat().st_size if paths.gateway_log.exists() else 0
    started_at_s = time.time()
    begun: list[Spawned] = []
    network = runtime.network

    def begin() -> None:
        argv = _ARGV if network is None else entering(paths, network, _ARGV)
        begun.append(process.spawn(argv, cwd=prepared.gateway_dir, env=env, log_file=paths.gateway_log))
        # Recorded before it is ready, so that the next start finds a gateway whose starter is killed now.
        early = {"shell": begun[0].identity.to_json(), "port": prepared.port, "release": str(runtime.release_path)}
        state_file.write_json(paths.gateway_state_file, early | {"java": None, "started_at_s": started_at_s})

    try:
        await whole(begin)
        spawned = begun[0]
        if network is not None:
            try:
                begun.append(await start_front(paths, spawned.pid, prepared.port, network, runtime.environ))
            except FrontFailed:
                ended = spawned.poll()
                if ended is None:
                    raise
                raise _ended(ended, _printed(paths.gateway_log, offset), prepared.gateway_dir) from None
        await _race(paths, prepared, spawned, offset, deadline_s)
        java = _who_listens(spawned.identity, prepared.port)
        running = RunningGateway(
            java, spawned.identity, prepared.port, runtime.release_path, started_at_s, spawned=spawned, network=network
        )
        if network is not None:
            running.front, running.front_spawned = begun[1].identity, begun[1]
        await whole(state_file.write_json, paths.gateway_state_file, running.to_json())
    except BaseException as error:
        for one in reversed(begun):
            await asyncio.shield(_undo(paths, one))
        if isinstance(error, PortTaken):
            raise port_busy(paths, prepared.port) from None
        raise
    return running


def _tidy(paths: Paths, gateway_dir: Path) -> None:
    clear_leavings(gateway_dir)
    process.rotate_by_truncation(paths.gateway_log, max_bytes=_LOG_MAX_BYTES, keep=_LOG_KEEP)


def _environment(runtime: Runtime) -> dict[str, str]:
    # A JVM reads file names by its locale: in C, POSIX or a missing locale, it cannot find a folder such as Jürgen.
    extra = {"LC_ALL": UTF_8_LOCALE}
    if runtime.java is not None:
        # Besides /etc/hosts, which another program may replace: a file in the working directory (Java 9 and newer).
        hosts = [] if runtime.network is None else [f"-Djdk.net.hosts.file={HOSTS_FILE}"]
        extra["PATH"] = os.pathsep.join([str(runtime.java.bin_dir), runtime.environ.get("PATH", os.defpath)])
        # Without the file in /tmp that shows every user its class names and counters; the user's own options come last.
        extra["JAVA_TOOL_OPTIONS"] = " ".join(["-XX:-UsePerfData", *hosts, runtime.java_options])
        if runtime.class_options:
            extra["_JAVA_OPTIONS"] = runtime.class_options
    elif not is_standin(runtime.release_path):
        raise JavaMissing("this release needs Java", hint=how_to_install())
    if runtime.python is not None:
        extra["GWCTL_PYTHON"] = runtime.python
    return process.environment_of(process.Child.OURS, runtime.environ, extra)


async def _race(paths: Paths, prepared: PreparedHome, spawned: Spawned, offset: int, deadline_s: float) -> None:
    ready = asyncio.ensure_future(_until_ours(paths, prepared))
    ended = asyncio.ensure_future(spawned.wait_ended())
    refused = asyncio.ensure_future(_until_printed(paths.gateway_log, offset))
    runners: set[asyncio.Future[Any]] = {ready, ended, refused}
    try:
        await asyncio.wait(runners, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise _ended(ended.result(), _printed(paths.gateway_log, offset), prepared.gateway_dir)
        if refused.done():
            raise port_busy(paths, prepared.port)
        if not ready.done():
            raise _too_slow(prepared, deadline_s)
        ready.result()
    finally:
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)


async def _until_ours(paths: Paths, prepared: PreparedHome) -> None:
    from gwctl.gateway.client import PortCheck, knock
    from gwctl.http_requests import trust_only

    context = trust_only(paths.ca_file)
    leaf_der = prepared.leaf.der
    answered = None
    while answered is not PortCheck.OURS:
        answered = await knock(prepared.port, context, leaf_der, timeout_s=_KNOCK_TIMEOUT_S)
        if answered is not PortCheck.OURS:
            await asyncio.sleep(_KNOCK_PAUSE_S)


async def _until_printed(log_file: Path, offset: int) -> None:
    while _CANNOT_LISTEN not in _printed(log_file, offset):  # noqa: ASYNC110 - a file has no event to wait for
        await asyncio.sleep(_KNOCK_PAUSE_S)


def _printed(log_file: Path, offset: int) -> bytes:
    try:
        with os.fdopen(open_ours(log_file), "rb") as log:
            log.seek(offset)
            return log.read(_LOOKED_AT_BYTES)
    except OSError:
        return b""


def _who_listens(shell: Identity, port: int) -> Identity:
    for one in [*process.descendants(shell), shell]:
        if process.listens(one, port):
            return one
    raise GatewayFailed(
        f"the gateway answers on port {port}, but no process of ours holds it", hint="gwctl down, then gwctl up"
    )


async def _undo(paths: Paths, spawned: Spawned) -> None:
    # Without the shell, its process group still holds what it started, which works in the same folder.
    orphans = [one for one in process.members_of_group(spawned.pgid) if one.cwd == spawned.identity.cwd]
    report = await process.stop([spawned.identity, *orphans], grace_s=_GRACE_AFTER_FAILURE_S)
    spawned.poll()
    for one in (*report.ended, *report.killed):
        if one.pid != spawned.pid:
            process.reap(one)
    if not report.survivors:
        with contextlib.suppress(OSError):
            await whole(paths.gateway_state_file.unlink, missing_ok=True)


def _known(*identities: Identity | None) -> list[Identity]:
    return [one for one in identities if one is not None]


def port_busy(paths: Paths, port: int) -> PortBusy:
    """Return the error of a port that the gateway cannot have; it names the holder and a free port."""
    holder = process.find_listener(port)
    neighbour = neighbour_on(paths, "port", port, holder.cwd if holder is not None else None)
    if neighbour is not None:
        return neighbour
    who = "somebody" if holder is None else holder.describe()
    free = process.next_free(port)
    other = "" if free is None else f", or use another port: `export GWCTL_PORT={free}`, then the same command"
    return PortBusy(f"port {port} is held by {who}", hint=f"stop it{other}")


def _ended(code: int, printed: bytes, gateway_dir: Path) -> GwctlError:
    if b"Could not create the Java Virtual Machine" in printed or b"Unrecognized" in printed:
        return GatewayFailed("Java rejected its options", hint="correct `java_options` (GWCTL_JAVA_OPTIONS)")
    if b"Failed to load configuration file" in printed:
        return GatewayFailed(
            "the gateway rejected its root/conf.yaml", hint="try another release: gwctl release install"
        )
    if b"Could not find or load main class" in printed:
        return GatewayFailed(
            f"Java cannot find the gateway's classes in {gateway_dir}",
            hint="gwctl release verify, or set GWCTL_HOME to a folder whose path has ASCII letters only",
        )
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return GatewayFailed(f"the gateway exited {how} during its start", hint=_LOGS_HINT)


def _too_slow(prepared: PreparedHome, deadline_s: float) -> GwctlError:
    cause = read_cause(prepared.gateway_dir)
    why = "" if cause is Cause.NONE else f": {cause.text}"
    return TimedOut(f"the gateway did not answer with our key within {deadline_s:g} s{why}", hint=_LOGS_HINT)
