"""The gateway of one profile: prepare, launch or adopt, watch, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

from msgspec.structs import replace

from gwctl import process
from gwctl.config import Settings
from gwctl.core.messages import CauseRead
from gwctl.errors import GatewayFailed, GwctlError, ProfileHeld, ReleaseMissing, TimedOut
from gwctl.gateway import java, keystore, launch
from gwctl.gateway import work_folder as home
from gwctl.gateway.client import GatewayClient, PortCheck
from gwctl.gateway.firewalled import is_loaded, load_firewall, record_firewall, recorded_firewall, unload_firewall
from gwctl.gateway.isolated import FrontFailed, Isolation, by_firewall, choose_isolation
from gwctl.gateway.log_diagnosis import Cause, read_cause
from gwctl.isolation.firewall import Firewall
from gwctl.login.browser import find_browser
from gwctl.paths import Paths
from gwctl.release.store import Release, ReleaseStore
from gwctl.signals import whole
from gwctl.state_file import make_private_dir
from gwctl.supervisor.class_archives import ClassArchives
from gwctl.supervisor.front_keeper import FrontKeeper
from gwctl.supervisor.hints import Hints
from gwctl.supervisor.probe import Probe
from gwctl.supervisor.sandbox_process import StandInRecord, ensure_stand_in, sandbox_release
from gwctl.supervisor.served import Served, choose_release, read_again, require_pinned

log = logging.getLogger("gwctl.supervisor")

START_DEADLINE_S = 60.0
STOP_GRACE_S = 5.0
HARD_GRACE_S = 0.05
LOGOUT_TIMEOUT_S = 3.0
ADOPTION_TIMEOUT_S = 3.0
SETTINGS_TIMEOUT_S = 5.0
LOG_MAX_BYTES = 5_000_000
LOGS_KEPT = 3


class GatewayKeeper:
    """Implements the loop's GatewayPort over real processes."""

    def __init__(  # noqa: PLR0913 - the inputs of a gateway
        self,
        settings: Settings,
        environ: Mapping[str, str],
        probe: Probe,
        *,
        sandbox: bool,
        fast: bool = False,
        on_pin: Callable[[str], None],
        on_note: Callable[..., object],
        on_hint: Callable[[bool | None], None],
        load: Callable[[], Settings] | None = None,
        is_ours: Callable[[], Awaitable[bool]],
    ) -> None:
        self.settings = settings
        self.paths: Paths = settings.paths
        self.environ = environ
        self.probe = probe
        self.sandbox, self.fast = sandbox, fast
        self.on_pin = on_pin
        self.on_note = on_note
        self.load = load
        self.running: launch.RunningGateway | None = None
        self.release: Release | None = None
        self.base_url = f"https://localhost:{settings['port']}"
        self._client: GatewayClient | None = None
        self.classes = ClassArchives(self.paths, environ)
        self.hints = Hints(on_hint, push=settings["push"])
        self._stand_in: StandInRecord | None = None
        self._is_ours = is_ours
        self._isolation: Isolation | None = None
        self._was_isolated = False
        self._front = FrontKeeper(self.paths, environ, on_note)
        self.probe.came_back = self._front.came_back
        self.probe.gateway_is_late, self.probe.gateway_owes_s = self.hints.gateway_is_late, self.hints.gateway_owes_s

    async def start(self, *, adopt: bool) -> None:
        """Launch or adopt the gateway, and point the probe at it; raises GwctlError and then leaves nothing running."""
        self.probe.forget_session()
        if not await self._is_ours():
            raise ProfileHeld("another gwctl supervises this profile now")
        await asyncio.to_thread(make_private_dir, self.paths.profile_dir)
        store = ReleaseStore(self.paths.releases_dir, self.paths.cache_dir)
        if adopt and await self._adopt(store):
            return
        await launch.clear_leftovers(self.paths, grace_s=STOP_GRACE_S)
        began_s = time.monotonic()
        await self._read_settings_again()
        release, upstream, java_found, leaf = await self._gather(store)
        isolation = await asyncio.to_thread(choose_isolation, self.settings, upstream, self.environ)
        self.on_pin(leaf.spki_pin_base64)
        self.release = release
        prepared = await self._prepare(release, upstream, leaf, isolation)
        if prepared.set_aside:
            names = ", ".join(map(str, prepared.set_aside))
            text = f"unknown files on the gateway's class path were moved to {home.aside_dir(self.paths)}: {names}"
            self.on_note("warning", code="unknown_files", text=text)
        if prepared.crash_reports:
            text = f"crash reports of the gateway hold secrets and were deleted: {', '.join(prepared.crash_reports)}"
            self.on_note("warning", code="crash_reports", text=text)
        served = Served.now(self.settings, sandbox=self.sandbox, upstream=upstream)
        prepared_s = time.monotonic()
        runtime = launch.Runtime(
            release.path,
            java_found,
            self.environ,
            java_options=self.settings["java_options"],
            python=sys.executable,
            network=isolation.network,
            class_options=await self.classes.options(
                release.path, java_found, self.settings["java_options"], crashed=bool(prepared.crash_reports)
            ),
        )
        async with served.recorded(self.paths):
            try:
                self.running = await self._launch(prepared, runtime, isolation.firewall)
            except FrontFailed as error:
                if self.settings["isolation"] != "auto":
                    raise
                self.on_note("warning", code="isolation_failed", text=error.message)
                await launch.clear_leftovers(self.paths, grace_s=STOP_GRACE_S)
                isolation = await asyncio.to_thread(by_firewall, self.settings, error.message)
                prepared = await self._prepare(release, upstream, leaf, isolation)
                self.running = await self._launch(prepared, replace(runtime, network=None), isolation.firewall)
        self._settle_isolation(isolation)
        self.on_note(
            "gateway",
            pid=self.running.java.pid,
            port=self.settings["port"],
            release=release.version,
            prepared_s=round(prepared_s - began_s, 3),
            answered_s=round(time.monotonic() - prepared_s, 3),
        )
        await self._connect(leaf)
        self.hints.start(self.settings["port"], self.paths.ca_file, leaf.der)

    async def _prepare(
        self, release: Release, upstream: str, leaf: keystore.Leaf, isolation: Isolation
    ) -> home.PreparedHome:
        """Write the gateway's folder."""
        settings = home.GatewaySettings(
            port=self.settings["port"],
            upstream=upstream,
            certificate_names=self.settings["certificate_names"],
            auth_delay_ms=self.settings["auth_delay_ms"],
            java_options=self.settings["java_options"],
            tls=isolation.network is None,
        )
        return await asyncio.to_thread(home.prepare_home, self.paths, release.path, settings, leaf)

    async def _launch(
        self, prepared: home.PreparedHome, runtime: launch.Runtime, firewall: Firewall | None
    ) -> launch.RunningGateway:
        """Launch the gateway, its firewall first; if it fails, that is removed."""
        if firewall is not None:
            if not process.port_is_free(firewall.port):  # the table there may be another profile's
                raise launch.port_busy(self.paths, firewall.port)
            await whole(record_firewall, self.paths, firewall)
            if (why := await whole(load_firewall, firewall)) is not None:
                raise GatewayFailed(f"the firewall of the gateway's port cannot be loaded: {why}", hint="gwctl doctor")
        try:
            return await launch.launch(self.paths, prepared, runtime, deadline_s=START_DEADLINE_S)
        except BaseException as error:
            if isinstance(error, GatewayFailed | TimedOut):
                self.classes.distrust()
            await asyncio.shield(asyncio.to_thread(unload_firewall, self.paths))
            raise

    def _settle_isolation(self, isolation: Isolation) -> None:
        """Note how the new gateway is isolated, warn if the one before was better off, and keep its front running."""
        if self._was_isolated and isolation.is_open:
            text = f"the gateway is no longer isolated: {isolation.reason}"
            self.on_note("warning", code="isolation_lost", text=text)
        self._isolation = isolation
        self._was_isolated = not isolation.is_open
        if self.running is not None:
            self._front.watch(self.running)

    async def _read_settings_again(self) -> None:
        """Reload the gateway's settings; if they cannot be read, keep the earlier ones."""
        if self.load is None:
            return
        try:
            async with asyncio.timeout(SETTINGS_TIMEOUT_S):
                self.settings = await asyncio.to_thread(read_again, self.settings, self.load)
        except (GwctlError, TimeoutError) as error:
            what = error.message if isinstance(error, GwctlError) else f"{self.paths.config_file} cannot be read now"
            text = f"{what}: the gateway starts with the previous settings"
            self.on_note("warning", code="settings_unusable", text=text)

    async def _gather(self, store: ReleaseStore) -> tuple[Release, str, java.Java | None, keystore.Leaf]:
        """Find everything that a gateway needs, in parallel."""
        if not self.fast:
            find_browser(self.settings["browser"], self.environ)
        names = self.settings["certificate_names"]
        leaf_task = asyncio.create_task(asyncio.to_thread(keystore.ensure_leaf, self.paths, names))
        stand_in_task = java_task = unchanged = None
        if self.sandbox:
            mode = self.settings["mode"]
            stand_in_task = asyncio.create_task(ensure_stand_in(self.paths, self.environ, mode, self._stand_in))
        try:
            release = await asyncio.to_thread(self._find_release, store)
            if release.kind == "standard":
                java_task = asyncio.create_task(asyncio.to_thread(java.find_java, self.settings["java"], self.environ))
            unchanged = asyncio.create_task(asyncio.to_thread(self._require_unchanged, store, release))
            leaf = await leaf_task
            self.on_pin(leaf.spki_pin_base64)
            java_found = None if java_task is None else await java_task
            self._stand_in = await stand_in_task if stand_in_task is not None else None
            upstream = str(self.settings["upstream"]) if self._stand_in is None else self._stand_in.url
            await unchanged
        finally:
            tasks = [task for task in (leaf_task, stand_in_task, java_task, unchanged) if task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
        return release, upstream, java_found, leaf

    def _find_release(self, store: ReleaseStore) -> Release:
        if self.sandbox:
            found = sandbox_release(store, self.paths.cache_dir)
            if found.kind == "standard":
                require_pinned(self.settings, found)
            return found
        release = choose_release(self.settings, store)
        if release is None:
            raise ReleaseMissing("no Standard Release is installed", hint="gwctl release install")
        return release

    def _require_unchanged(self, store: ReleaseStore, release: Release) -> None:
        """Raise ReleaseBroken rather than start files that were not installed; a running gateway may go on (law 4)."""
        if release.kind == "standard":  # the sandbox's own was just compared, and restored if needed
            store.require_unchanged(release.version)

    async def _adopt(self, store: ReleaseStore) -> bool:
        running = await asyncio.to_thread(launch.adopt, self.paths)
        if running is None:
            return False
        if running.port != self.settings["port"] or not await asyncio.to_thread(self._serves_us):
            await self._log_out(running)
            return False
        isolation = Isolation(running.network) if running.network is not None else await self._reload_firewall()
        wanted = self.settings["isolation"]
        lacks_network = running.network is None and wanted in {"namespace", "required"}
        if lacks_network or (isolation.is_open and wanted == "firewall"):
            log.warning("the running gateway (pid %s) is not isolated; starting a new one", running.java.pid)
            await self._log_out(running)
            return False
        leaf = await asyncio.to_thread(keystore.kept_leaf, self.paths)
        if leaf is None:
            log.warning("the running gateway's certificate is damaged (pid %s); starting a new one", running.java.pid)
            return False
        await self._front.ensure(running)
        client = await self._connect(leaf)
        if await client.front_door(timeout_s=ADOPTION_TIMEOUT_S) is not PortCheck.OURS:
            log.warning("the running gateway (pid %s) does not answer; starting a new one", running.java.pid)
            await self._front.close()
            return False
        self.running = running
        self._settle_isolation(isolation)
        self.release = next((one for one in store.list() if one.path == running.release_path), None)
        self.on_pin(leaf.spki_pin_base64)
        self.on_note("adopted", pid=running.java.pid, port=running.port)
        self.hints.start(running.port, self.paths.ca_file, leaf.der)
        return True

    async def _reload_firewall(self) -> Isolation:
        """Load the recorded firewall of a running gateway again, for what happened to it meanwhile."""
        firewall = await asyncio.to_thread(recorded_firewall, self.paths)
        if firewall is None:
            return Isolation(None, "the gateway was started without isolation")
        why = await whole(load_firewall, firewall)
        return Isolation(None, firewall=firewall) if why is None else Isolation(None, why)

    async def keep_firewall(self) -> None:
        """Load the running gateway's firewall again if it is gone: a reload of the machine's rules flushes it, too."""
        firewall = None if self._isolation is None else self._isolation.firewall
        if firewall is None or await asyncio.to_thread(is_loaded, firewall) or self.running is None:
            return
        self.on_note("warning", code="firewall_gone", text=f"the table {firewall.table} was removed; loading it again")
        self._settle_isolation(await self._reload_firewall())

    async def _log_out(self, running: launch.RunningGateway) -> None:
        """End the session of a gateway that will be replaced: otherwise it would compete with the next one."""
        leaf = await asyncio.to_thread(keystore.kept_leaf, self.paths)
        if leaf is None:
            return
        with contextlib.suppress(TimeoutError, GwctlError):
            async with (
                asyncio.timeout(LOGOUT_TIMEOUT_S),
                GatewayClient(running.port, self.paths.ca_file, leaf.der) as client,
            ):
                await client.logout()

    def _serves_us(self) -> bool:
        """Return whether the recorded gateway was launched for the same account and upstream as this supervisor."""
        served = Served.load(self.paths)
        if self.sandbox:
            self._stand_in = StandInRecord.load(self.paths)
            upstream = self._stand_in.url if self._stand_in is not None else None
        else:
            upstream = str(self.settings["upstream"])
        return served is not None and served.is_for(self.settings, sandbox=self.sandbox, upstream=upstream)

    async def _connect(self, leaf: keystore.Leaf) -> GatewayClient:
        if self._client is not None:
            await self._client.close()
        self._client = GatewayClient(self.settings["port"], self.paths.ca_file, leaf.der)
        self.probe.client = self._client
        return self._client

    async def wait_ended(self) -> None:
        """Return when the gateway's process is gone."""
        if self.running is None:
            raise GatewayFailed("no gateway was started")
        await self.running.wait_ended()

    async def stop(self, *, logout: bool, hard: bool = False) -> None:
        """Log out if ``logout``, end all processes of the gateway and forget it. Safe when nothing runs.

        ``hard`` is for a hung gateway: SIGKILL follows SIGTERM at once, because it could not finish anything.
        """
        grace_s = HARD_GRACE_S if hard else STOP_GRACE_S
        running, client = self.running, self._client
        self.running, self._client, self.probe.client = None, None, None
        self._isolation = None
        await self.hints.close()
        if client is not None:
            if logout:
                with contextlib.suppress(TimeoutError, GwctlError):
                    async with asyncio.timeout(LOGOUT_TIMEOUT_S):
                        await client.logout()
            await client.close()
        await self._front.close()
        if running is not None:
            report = await running.stop(grace_s)
            for left in report.left_alone:
                log.warning("left alone: pid %s, %s", left.pid, left.why)
        if await self._is_ours():
            await launch.clear_leftovers(self.paths, grace_s=grace_s)

    def why(self) -> CauseRead:
        """Return why IBKR does not validate the login, from the gateway's log since its start.

        Only a refusal needs a person; all other causes in the log (IBKR cannot be reached or returns errors, the
        brokerage session was refused) pass by themselves.
        """
        since_s = self.running.started_at_s if self.running is not None else 0.0
        cause = read_cause(self.paths.gateway_dir, since_s=since_s)
        if cause in {Cause.LOGIN_NOT_VALIDATED, Cause.GAVE_UP}:
            return CauseRead(text=cause.text)
        return CauseRead(ibkr_ill=cause in {Cause.UPSTREAM_ILL, Cause.UPSTREAM_UNREACHABLE})

    def let_go(self) -> None:
        """Leave the gateway running when the supervisor ends."""
        if self.running is not None:
            self.running.let_go()

    async def close(self) -> None:
        """Stop watching; the gateway and its front keep running."""
        await self.hints.close()
        await self._front.close()

    def rotate_log(self) -> None:
        """Keep ``gateway.log`` within its size limit."""
        with contextlib.suppress(GwctlError):
            process.rotate_by_truncation(self.paths.gateway_log, max_bytes=LOG_MAX_BYTES, keep=LOGS_KEPT)

    def pid(self) -> int | None:
        """Return the pid of the running gateway, None if none runs."""
        return None if self.running is None else self.running.java.pid

    def describe_isolation(self) -> dict[str, object] | None:
        """Return the ``isolation`` object of ``status``."""
        return None if self._isolation is None else self._isolation.describe()

    def describe(self) -> dict[str, object]:
        """Return the process's part of the ``gateway`` object of ``status``."""
        running = self.running
        return {
            "pid": running.java.pid if running else None,
            "port": self.settings["port"],
            "base_url": f"{self.base_url}/v1/api",
            "ca_file": str(self.paths.ca_file),
            "release": self.release.version if self.release else None,
            "uptime_s": round(time.time() - running.started_at_s, 1) if running else None,
            "rss_bytes": running.rss_bytes() if running else None,
        }
