"""What the running gateway serves: its release and settings; and drift, the settings that changed since its start."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.background_writer import BackgroundWriter
from gwctl.config import Settings, usual_profile
from gwctl.errors import GwctlError, PortBusy, ProfileHeld, ReleaseBroken, ReleaseMissing
from gwctl.gateway import keystore
from gwctl.gateway.launch import adopt
from gwctl.paths import Paths
from gwctl.release.store import Release, ReleaseStore
from gwctl.session_status import Drift as DriftStatus
from gwctl.session_status import typed
from gwctl.signals import whole
from gwctl.state_file import look_at_json, read_json, write_json
from gwctl.supervisor.control import SupervisorRecord


def choose_release(settings: Settings, store: ReleaseStore) -> Release | None:
    """Return the installed release that the settings ask for, None if it must be downloaded first.

    A version is looked up; the official address means the current release; another file or URL must be downloaded if no
    installed release came from it. Raise ReleaseMissing, and ReleaseBroken if it is not from the pinned zip.
    """
    wanted = str(settings["release"])
    standard = [release for release in store.list() if release.kind == "standard"]
    named = [release for release in standard if wanted in {release.version, release.source}]
    if not named and settings.values["release"].source == "built in":
        current = store.current()
        named = [] if current is None or current.kind != "standard" else [current, *standard]
    pinned = settings["release_sha256"]
    suitable = [release for release in named if pinned in {None, release.sha256}]
    if suitable:
        return suitable[0]
    if named:
        require_pinned(settings, named[0])
    if "/" not in wanted and not wanted.endswith(".zip"):
        raise ReleaseMissing(f"release {wanted!r} is not installed", hint="gwctl release list")
    return None


def require_pinned(settings: Settings, release: Release) -> None:
    """Raise ReleaseBroken if the settings pin the release's zip and ``release`` is from another one."""
    pinned = settings["release_sha256"]
    if pinned not in {None, release.sha256}:
        raise ReleaseBroken(
            f"release {release.version} is from a zip with the SHA-256 {release.sha256}, not the pinned {pinned} "
            f"(release_sha256, {settings.values['release_sha256'].source})",
            hint=f"{command(settings, 'release install [URL|FILE]')} with the pinned zip, or correct release_sha256",
        )


_MADE_WITH = ("auth_delay_ms", "java_options", "isolation", "allow_users")


class Served(Struct, frozen=True):
    """What a gateway was launched for; ``user`` is a salted hash of username and account kind, not a name."""

    sandbox: bool
    upstream: str
    salt: str
    user: str
    made_with: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the gateway was started with and that are not in its folder."""

    @classmethod
    def now(cls, settings: Settings, *, sandbox: bool, upstream: str) -> Served:
        """Return the record for a gateway that is launched now."""
        salt = secrets.token_hex(16)
        made = {key: _as_recorded(settings[key]) for key in _MADE_WITH}
        return cls(sandbox, upstream, salt, _user(settings, salt, sandbox=sandbox), made)

    @classmethod
    def load(cls, paths: Paths) -> Served | None:
        """Return the record of the last launch; None if there is none or it is damaged (and then set aside)."""
        raw, _ = read_json(paths.gateway_served_file)
        match raw:
            case {"sandbox": bool(sandbox), "upstream": str(upstream), "salt": str(salt), "user": str(user)}:
                # Earlier versions recorded the setting as it was written.
                return cls(sandbox, upstream.rstrip("/"), salt, user, _made_with(raw))
            case _:
                return None

    def save(self, paths: Paths) -> None:
        """Write the record whole; raise DiskTrouble."""
        write_json(
            paths.gateway_served_file,
            {
                "sandbox": self.sandbox,
                "upstream": self.upstream,
                "salt": self.salt,
                "user": self.user,
                "made_with": dict(self.made_with),
            },
        )

    @contextlib.asynccontextmanager
    async def recorded(self, paths: Paths) -> AsyncIterator[None]:
        """Write the record for the launch in this block; raise DiskTrouble.

        If another process has the port, a first record is removed again: no client can know a port without a gateway.
        """
        is_first = not paths.gateway_served_file.exists()
        await whole(self.save, paths)
        try:
            yield
        except PortBusy:
            if is_first:
                paths.gateway_served_file.unlink(missing_ok=True)
            raise

    def is_for(self, settings: Settings, *, sandbox: bool, upstream: str | None) -> bool:
        """Return whether a gateway with this record may be adopted for ``settings``."""
        if (self.sandbox, self.upstream) != (sandbox, upstream):
            return False
        user = _user(settings, self.salt, sandbox=sandbox)
        return hmac.compare_digest(self.user.encode(errors="replace"), user.encode())


def made_with(paths: Paths) -> Mapping[str, Any]:
    """Return the recorded settings of the last launch that are not in its folder; change no file."""
    return _made_with(look_at_json(paths.gateway_served_file)[0])


def _as_recorded(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _made_with(raw: dict[str, Any] | None) -> Mapping[str, Any]:
    told = (raw or {}).get("made_with")
    return told if isinstance(told, dict) else {}


def _user(settings: Settings, salt: str, *, sandbox: bool) -> str:
    # The sandbox has one play account of the profile's kind, with any username.
    who = f"{settings['mode']}\n{'sandbox' if sandbox else settings['username']}"
    return hashlib.sha256(f"{salt}\n{who}".encode(errors="surrogatepass")).hexdigest()


def refuse_other_kind(paths: Paths, profile: str, *, sandbox: bool) -> None:
    """Raise ProfileHeld, changing nothing, if a gateway of the other kind (sandbox or IBKR) was left running."""
    served = Served.load(paths)
    if served is None or served.sandbox == sandbox or adopt(paths) is None:
        return
    left, up = ("the sandbox", "up --sandbox") if served.sandbox else ("a session at IBKR", "up")
    down, again = (typed(profile, verb, usual_profile(paths)) for verb in ("down", up))
    raise ProfileHeld(
        f"profile {profile!r} still has a gateway running with {left}", hint=f"{down}, or to go on with it: {again}"
    )


def serves_sandbox(paths: Paths) -> bool:
    """Return whether the last gateway was launched for the sandbox; change no file."""
    return (look_at_json(paths.gateway_served_file)[0] or {}).get("sandbox") is True


def up_again(paths: Paths) -> str:
    """Return the verb that starts again, or takes over, what runs or was killed here, of the sandbox or of IBKR."""
    record = SupervisorRecord.from_json(look_at_json(paths.supervisor_state_file)[0])
    sandbox = record.sandbox if record else serves_sandbox(paths) and adopt(paths) is not None
    return "up --sandbox" if sandbox else "up"


log = logging.getLogger("gwctl.supervisor")

READ_AGAIN = ("certificate_names", "auth_delay_ms", "java_options", "isolation", "allow_users")
"""Settings of the gateway that are read again each time it starts."""
_NEED_ANOTHER_GATEWAY = frozenset({"username", "mode", "port", "upstream", "release", "release_sha256", "java"})
_LOOK_EVERY_S = 5.0
_FIRST_LOOK_S = 1.0


class Drift(Struct, frozen=True):
    """One setting that is not in force yet, and the command that applies it."""

    setting: str
    text: str
    remedy: str

    def to_status(self) -> DriftStatus:
        """Return the object for ``status``."""
        return {"setting": self.setting, "text": self.text, "remedy": self.remedy}


def read_again(settings: Settings, load: Callable[[], Settings]) -> Settings:
    """Return ``settings`` with the gateway's settings reloaded; raise Configuration if they are invalid."""
    now = load()
    return replace(settings, values={**settings.values, **{key: now.values[key] for key in READ_AGAIN}})


def drift_of_gateway(paths: Paths, configured: Settings) -> list[Drift]:
    """Return the settings of ``configured`` that the running gateway was not started with, as far as known."""
    started_with = made_with(paths)
    remedy = command(configured, "restart")
    found: list[Drift] = []
    names = keystore.certified_names(paths)
    if set(names) != set(configured["certificate_names"]):
        found.append(
            Drift("certificate_names", _differ("certificate_names", names, configured["certificate_names"]), remedy)
        )
    changed = [key for key in READ_AGAIN if key in started_with and started_with[key] != _as_recorded(configured[key])]
    return found + [Drift(key, f"{key} was changed since the gateway started", remedy) for key in changed]


def drift_of_supervisor(started_with: Settings, configured: Settings) -> list[Drift]:
    """Return the settings of ``configured`` that the supervisor was not started with and does not reload."""
    found: list[Drift] = []
    again = up_again(configured.paths)
    for key, setting in configured.values.items():
        if key in READ_AGAIN or started_with[key] == setting.value:
            continue
        remedy = ", then ".join(command(configured, again if verb == "up" else verb) for verb in applied_by(key))
        found.append(Drift(key, f"{key} was changed since the supervisor started", remedy))
    return found


def applied_by(key: str) -> tuple[str, ...]:
    """Return the commands, without ``gwctl``, that put a changed setting into force."""
    if key in READ_AGAIN:
        return ("restart",)
    return ("down" if key in _NEED_ANOTHER_GATEWAY else "down --keep-session"), "up"


def command(settings: Settings, rest: str) -> str:
    """Return a gwctl command for the settings' profile."""
    return typed(settings.profile, rest, usual_profile(settings.paths))


def down_then_up(settings: Settings) -> str:
    """Return the commands that apply all settings and variables of the person who types them."""
    return f"{command(settings, 'down')}, then {command(settings, up_again(settings.paths))}"


def _differ(key: str, running: Iterable[str], configured: Iterable[str]) -> str:
    said = [", ".join(values) or "none" for values in (running, configured)]
    return f"{key}: the gateway runs with {said[0]}; the settings say {said[1]}"


class DriftWatch:
    """Checks periodically whether settings have changed; ``found`` is the last result.

    A thread reads the files, and only if one of them has changed.
    """

    def __init__(
        self,
        started_with: Settings,
        load: Callable[[], Settings],
        gateway_pid: Callable[[], int | None],
        on_note: Callable[..., object],
    ) -> None:
        self.found: list[Drift] = []
        self._started_with = started_with
        self._load = load
        self._gateway_pid = gateway_pid
        self._on_note = on_note
        self._seen: tuple[object, ...] = ()
        self._poked = asyncio.Event()
        self._scribe = BackgroundWriter("gwctl-settings")

    def poke(self) -> None:
        """Check now, because a new gateway runs."""
        self._poked.set()

    async def watch(self) -> None:
        """Check until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._poked.wait()
            self._poked.clear()
            await self.look(self._gateway_pid())

    async def look_first(self, pid: int) -> None:
        """Check before gateway ``pid`` is adopted, so that `gwctl up` shows the result; skip a slow disk."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self.look(pid)

    async def look(self, pid: int | None) -> None:
        """Check once, and journal new drift."""
        before = {one.text for one in self.found}
        found = await self._looked(pid)
        if found is None:
            return
        self.found = found
        for one in found:
            if one.text not in before:
                self._on_note("warning", code="settings_drift", text=f"{one.text}; to apply it: {one.remedy}")

    async def _looked(self, pid: int | None) -> list[Drift] | None:
        """Return the thread's result; the thread may hang on a file without blocking the loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Drift] | None] = loop.create_future()

        def tell(found: list[Drift] | None) -> None:
            if not answer.done():
                answer.set_result(found)

        def look() -> None:
            found = None
            try:
                found = self._look(pid)
            except Exception:  # the session comes first
                log.exception("could not check the settings")
            loop.call_soon_threadsafe(tell, found)

        self._scribe.do(look)
        return await answer

    def _look(self, pid: int | None) -> list[Drift] | None:
        paths = self._started_with.paths
        conf_file = paths.gateway_dir / "root" / "conf.yaml"
        files = (paths.config_file, conf_file, paths.gateway_served_file, keystore.leaf_facts_file(paths))
        seen = (pid, *(_stamp(file) for file in files))
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            configured = self._load()
            of_gateway = drift_of_gateway(paths, configured) if pid is not None else []
        except GwctlError as error:
            remedy = error.hint or command(self._started_with, "doctor")
            return [Drift(paths.config_file.name, error.message, remedy)]
        return of_gateway + drift_of_supervisor(self._started_with, configured)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - one call for three numbers
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
