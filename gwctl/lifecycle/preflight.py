"""Check in one place what must hold before a supervisor starts or logs in: port, secrets, law 2, release."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gwctl.config import BUILT_IN, Settings
from gwctl.credentials import Found
from gwctl.errors import (
    CredentialsMissing,
    CredentialsRejected,
    LockedOut,
    NeedsPerson,
    SecondFactorNeeded,
    WrongMode,
)
from gwctl.lifecycle.profile import Observer, Profile

if TYPE_CHECKING:
    from gwctl.paths import Paths
    from gwctl.release.store import InstallResult, ReleaseStore


def preflight(profile: Profile, observer: Observer, *, sandbox: bool, by_hand: bool = False) -> dict[str, Found]:
    """Check everything that may forbid a start and install what is missing; return the secrets. Raise GwctlError.

    A running gateway may need no login: take it over even where missing secrets or law 2 would forbid a login (law 4).
    If it does need one, the supervisor makes the same checks first. ``by_hand`` needs no secrets.
    """
    settings = settle_port(profile, profile.settings(), observer)
    found: dict[str, Found] = {}
    if not sandbox and not by_hand:
        found = _what_a_login_needs(profile, settings, observer)
    if not sandbox:
        found |= look_for_ways(profile, settings)
    _prepare(profile, settings, observer, sandbox=sandbox)
    return found


def settle_port(profile: Profile, settings: Settings, observer: Observer) -> Settings:
    """Return the settings with the port that the profile uses from now on, and report a changed port.

    A port that a person set stays, and so does the port of a profile that already had a gateway: clients may know it.
    The choice is stored in the profile's folder, where every later call finds it. Raise GwctlError.
    """
    from gwctl import process
    from gwctl.state_file import read_json, write_json

    setting, paths = settings.values["port"], settings.paths
    _, lost = read_json(paths.chosen_port_file)
    if lost is not None:
        observer.say(f"the file with the profile's port was damaged; moved it to {lost}")
    had_a_gateway = paths.gateway_state_file.exists() or (lost is None and paths.gateway_served_file.exists())
    known = setting.source != BUILT_IN or had_a_gateway
    if known or process.port_is_free(setting.value):
        return settings
    holder = process.find_listener(setting.value)
    if holder is not None and holder.cwd == os.path.realpath(paths.gateway_dir):
        return settings
    from gwctl.profile_registry import free_port_beside

    port = free_port_beside(paths, process.port_is_free)
    write_json(paths.chosen_port_file, {"port": port})
    who = "somebody" if holder is None else holder.describe()
    observer.say(f"port {setting.value} is held by {who}: profile {profile.name!r} uses port {port} from now on")
    return profile.settings()


def _what_a_login_needs(profile: Profile, settings: Settings, observer: Observer) -> dict[str, Found]:
    found: dict[str, Found] = {}
    try:
        found = look_for_secrets(profile, settings, observer)
        check_law_2(profile, settings, found, observer)
    except (CredentialsMissing, NeedsPerson):
        if not _has_gateway_to_adopt(settings):
            raise
    return found


def _has_gateway_to_adopt(settings: Settings) -> bool:
    from gwctl.gateway import launch
    from gwctl.supervisor.served import Served

    served = Served.load(settings.paths)
    ours = served is not None and served.is_for(settings, sandbox=False, upstream=str(settings["upstream"]))
    running = launch.adopt(settings.paths) if ours else None
    return running is not None and running.port == settings["port"]


def look_for_secrets(profile: Profile, settings: Settings, observer: Observer) -> dict[str, Found]:
    """Return the secrets that were found; ask a person for the password last; raise CredentialsMissing."""
    from gwctl.credentials import doubt_of, find, require
    from gwctl.supervisor.attempt import check_totp, sources_of

    def ask(name: str) -> str:
        return observer.ask(f"{name} for {settings['username']}", hidden=True)

    may_ask = observer.can_answer and settings["username"] is not None
    sources = sources_of(profile.environment, prompt=ask if may_ask else None)
    password = find("password", settings, sources)
    totp = find("totp_secret", settings, sources_of(profile.environment))
    require(settings["username"], password, totp, settings.profile)
    check_totp(settings, totp)
    secrets = {name: one for name, one in (("password", password), ("totp_secret", totp)) if one is not None}
    for name, one in secrets.items():
        if (doubt := doubt_of(one)) is not None:
            observer.say(f"the {name}: {doubt}")
    return secrets


def look_for_ways(profile: Profile, settings: Settings) -> dict[str, Found]:
    """Return the notification URLs and tokens; raise Configuration if one is unusable.

    The supervisor gets them at its start: when there is news, the keyring may be locked or a program may hang.
    """
    from gwctl.credentials import find
    from gwctl.integrations.notify import find_secrets
    from gwctl.supervisor.attempt import sources_of

    sources = sources_of(profile.environment)
    return find_secrets(lambda name: find(name, settings, sources))


def check_law_2(profile: Profile, settings: Settings, found: Mapping[str, Found], observer: Observer) -> None:
    """Raise CredentialsRejected or LockedOut, before anything starts, if law 2 forbids the login."""
    from gwctl.login_ledger.ledger import Ledger
    from gwctl.supervisor.attempt import ledger_secret, login_context

    ledger = Ledger(settings.paths.ledger_file)
    if not settings.paths.ledger_file.exists():
        return
    context = login_context(settings, has_totp="totp_secret" in found)
    secret = ledger_secret(str(settings["username"]), found["password"].secret)
    permission = ledger.permission(secret, context, int(settings["rejected_limit"]))
    if permission.allowed or permission.wait_s is not None:
        return
    if permission.code == SecondFactorNeeded.code and observer.can_answer:
        # IBKR refused nothing, and now a person is present.
        ledger.lift_block(code=SecondFactorNeeded.code)
        return
    kinds: tuple[type[NeedsPerson], ...] = (CredentialsRejected, SecondFactorNeeded, WrongMode)
    kind = next((one for one in kinds if one.code == permission.code), LockedOut)
    mend = "correct the password" if kind is CredentialsRejected else "fix the cause"
    hint = f"{mend}, or {profile.command('login --reset-lockout')}"
    raise kind(permission.reason or "locked out", hint=hint)


def _prepare(profile: Profile, settings: Settings, observer: Observer, *, sandbox: bool) -> None:
    """Install the release and the certificate here: that needs large libraries that the supervisor never loads."""
    from gwctl.gateway.keystore import ensure_leaf, kept_leaf
    from gwctl.gateway.launch import adopt

    paths = profile.paths
    if sandbox:
        from gwctl.supervisor.sandbox_process import sandbox_release

        sandbox_release(store_of(paths), paths.cache_dir)
    else:
        ensure_release(profile, settings, observer)
    # A gateway that was left running is identified by the certificate it serves: another one waits for its next start.
    if adopt(paths) is None or kept_leaf(paths) is None:
        ensure_leaf(paths, settings["certificate_names"])


def store_of(paths: Paths) -> ReleaseStore:
    """Return this machine's release store."""
    from gwctl.release.store import ReleaseStore

    return ReleaseStore(paths.releases_dir, paths.cache_dir)


def install_from(profile: Profile, source: str, observer: Observer, sha256: str | None = None) -> InstallResult:
    """Install a release from ``source``; raise what the store raises."""
    with observer.downloading() as progress:
        return store_of(profile.paths).install(source, sha256=sha256, progress=progress)


def ensure_release(profile: Profile, settings: Settings, observer: Observer) -> None:
    """Install the profile's release if it is missing."""
    from gwctl.supervisor.served import choose_release

    if choose_release(settings, store_of(profile.paths)) is not None:
        return
    observer.show("installing the Standard Release")
    result = install_from(profile, str(settings["release"]), observer)
    observer.show(f"installed release {result.release.version}, sha256 {result.release.sha256}")
