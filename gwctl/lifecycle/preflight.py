"""Check in one place what must hold before a supervisor starts or logs in: port, secrets, law 2, release."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gwctl.config import BUILT_IN, Settings
from gwctl.credentials import Credentials, Found
from gwctl.errors import (
    Configuration,
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


class Checked(Struct, frozen=True):
    """The settings to start with, and the secrets that were found."""

    settings: Settings
    secrets: dict[str, Found] = field(default_factory=dict)


def preflight(profile: Profile, observer: Observer, *, sandbox: bool, by_hand: bool = False) -> Checked:
    """Check everything that may forbid a start, and install what is missing. Raise GwctlError.

    Every start calls this once, in the process that a person waits for: `up`, `up --foreground`, ``gwctl.up()``.
    ``by_hand`` needs no secrets.

    The supervisor repeats only what can change in between, at the moment that it acts:

    - the profile's lock and the kind of a gateway left running, before it touches anything (law 1);
    - the port, just before the gateway binds it: another program may have taken it (``gateway.launch``);
    - the secrets, at each login: hours later, in an outage, a rotated password must not be sent in its old form;
    - the ledger, before the login page is opened and, under the ledger's lock, just before each submit (law 2);
    - the installed release, whose folder each start of the gateway needs.

    A running gateway may need no login: take it over even where secrets or law 2 would forbid a login (law 4). If it
    does need one, the supervisor's own checks refuse it.
    """
    from gwctl.supervisor.door_keeper import check_door
    from gwctl.supervisor.served import refuse_other_kind

    if not profile.paths.supervisor_state_file.exists():  # one that lives is said to be there, when it is met
        refuse_other_kind(profile.paths, profile.name, sandbox=sandbox)
    settings = settle_port(profile, profile.settings(), observer)
    try:
        check_door(settings)
    except Configuration as error:
        if sandbox or not _has_gateway_to_adopt(settings):
            raise
        observer.say(f"{error.message}: the running gateway keeps its list until `{profile.command('restart')}`")
    found: dict[str, Found] = {}
    if not sandbox and not by_hand:
        found = _what_a_login_needs(profile, settings, observer)
    if not sandbox:
        found |= look_for_ways(profile, settings)
    _prepare(profile, settings, observer, sandbox=sandbox)
    return Checked(settings, found)


def settle_port(profile: Profile, settings: Settings, observer: Observer) -> Settings:
    """Return the settings with the port that the profile uses from now on, and report a changed port.

    A port that a person set stays, and so does the port of a profile that already had a gateway: clients may know it.
    The choice is stored in the profile's folder, where every later call finds it. Raise GwctlError.
    """
    from gwctl import process
    from gwctl.state_file import read_json, write_json

    port, paths = settings["port"], settings.paths
    _, lost = read_json(paths.chosen_port_file)
    if lost is not None:
        observer.say(f"the file with the profile's port was damaged; moved it to {lost}")
    is_lost = lost is not None and settings.values["port"].source == BUILT_IN
    if not (settings.may_change_port or is_lost) or process.port_is_free(port):
        return settings
    holder = process.find_listener(port)
    if holder is not None and holder.cwd == os.path.realpath(paths.gateway_dir):
        return settings
    from gwctl.profile_registry import free_port_beside

    chosen = free_port_beside(paths, process.port_is_free)
    write_json(paths.chosen_port_file, {"port": chosen})
    who = "somebody" if holder is None else holder.describe()
    observer.say(f"port {port} is held by {who}: profile {profile.name!r} uses port {chosen} from now on")
    return profile.settings()


def has_lost_port(settings: Settings) -> bool:
    """Return whether another process has taken the port that gwctl chose: `settle_port` will choose another."""
    from gwctl import process

    return settings.may_change_port and not process.port_is_free(settings["port"])


def _what_a_login_needs(profile: Profile, settings: Settings, observer: Observer) -> dict[str, Found]:
    found: dict[str, Found] = {}
    try:
        credentials, found = _look_for_secrets(profile, settings, observer)
        _check_law_2(profile, settings, credentials, has_person=observer.can_answer)
    except (Configuration, NeedsPerson):
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


def check_login(
    profile: Profile, settings: Settings, observer: Observer, *, by_person: bool = False
) -> dict[str, Found]:
    """Return the secrets of a login that law 2 allows; ask a person for the password last.

    Raise Configuration if something is missing or unusable, CredentialsRejected or LockedOut if law 2 forbids the
    login. ``by_person``: a person asks for this login.
    """
    credentials, found = _look_for_secrets(profile, settings, observer)
    _check_law_2(profile, settings, credentials, has_person=by_person or observer.can_answer)
    return found


def _look_for_secrets(profile: Profile, settings: Settings, observer: Observer) -> tuple[Credentials, dict[str, Found]]:
    from gwctl.credentials import doubt_of, readers_of
    from gwctl.supervisor.attempt import find_login, sources_of

    def ask(name: str) -> str:
        return observer.ask(f"{name} for {settings['username']}", hidden=True)

    may_ask = observer.can_answer and settings["username"] is not None
    sources = sources_of(profile.environment, prompt=ask if may_ask else None, notes_keyring=True)
    credentials, found = find_login(settings, sources)
    for name, one in found.items():
        if (doubt := doubt_of(one)) is not None:
            observer.say(f"the {name}: {doubt}")
        file = settings[f"{name}_file"]
        if file is not None and (who := readers_of(Path(file))) is not None:
            observer.say(f"{who} can read the {name}'s file: chmod 600 {shlex.quote(file)}")
    return credentials, found


def look_for_ways(profile: Profile, settings: Settings) -> dict[str, Found]:
    """Return the notification URLs and tokens; raise Configuration if one is unusable.

    The supervisor gets them at its start: when there is news, the keyring may be locked or a program may hang.
    """
    from gwctl.credentials import find
    from gwctl.integrations.notify import find_secrets
    from gwctl.supervisor.attempt import sources_of

    sources = sources_of(profile.environment, notes_keyring=True)
    return find_secrets(lambda name: find(name, settings, sources))


def _check_law_2(profile: Profile, settings: Settings, credentials: Credentials, *, has_person: bool) -> None:
    from gwctl.login_ledger.ledger import Ledger
    from gwctl.supervisor.attempt import Attempt

    ledger = Ledger.of(settings)
    if not ledger.exists:
        return
    attempt = Attempt(ledger, credentials, settings)
    permission = attempt.permission()
    if permission.code == SecondFactorNeeded.code and has_person:
        # IBKR refused nothing, and now a person is present.
        attempt.ledger.lift_block(code=SecondFactorNeeded.code)
        permission = attempt.permission()
    if permission.allowed or permission.wait_s is not None:
        return
    kinds: tuple[type[NeedsPerson], ...] = (CredentialsRejected, SecondFactorNeeded, WrongMode)
    kind = next((one for one in kinds if one.code == permission.code), LockedOut)
    remedy = "fix the cause"
    if kind is CredentialsRejected:
        remedy = "; ".join(filter(None, (attempt.first_to_check(), "correct the username or the password")))
    hint = f"{remedy}, or {profile.command('login --reset-lockout')}"
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
    result = install_from(profile, str(settings["release"]), observer, settings["release_sha256"])
    observer.show(f"installed release {result.release.version}, sha256 {result.release.sha256}")
