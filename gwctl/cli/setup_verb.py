"""`setup`: ask for what a profile needs, log in once, and offer to start at boot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, field

from gwctl.cli.call import Call, offering, verb
from gwctl.cli.guide import SECOND_FACTORS, Guide, ask_for_account, known, short
from gwctl.cli.output import Outcome, ready_line
from gwctl.cli.service_places import Place, SystemdPlace, installed_places, places
from gwctl.cli.service_verbs import Install, install_at
from gwctl.cli.terminal import Terminal
from gwctl.errors import BrowserMissing, Configuration, GwctlError, JavaMissing, ProfileHeld, Unavailable, Usage
from gwctl.lifecycle.account import Keep, keep_secret, secret_file
from gwctl.lifecycle.settings_file import checked, pair_of, save
from gwctl.login.codes import Method
from gwctl.ownership import read_ours
from gwctl.state_file import write_bytes

if TYPE_CHECKING:
    from gwctl.lifecycle.start import Up

NO_SERVICE = "no"


@click.command("setup")
@click.option("--username", help="IBKR username.")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Account kind.")
@click.option("--second-factor", type=click.Choice(list(SECOND_FACTORS)), help="How a login is confirmed.")
@click.option("--keep-password", type=click.Choice([str(keep) for keep in Keep]), help="Where the password is kept.")
@click.option("--keep-totp-secret", type=click.Choice([str(Keep.KEYRING), str(Keep.FILE)]),
              help="Where the TOTP secret is kept.")  # fmt: skip
@click.option("--password-file", metavar="FILE", shell_complete=offering("files"),
              help="File that has the password already.")  # fmt: skip
@click.option("--totp-secret-file", metavar="FILE", shell_complete=offering("files"),
              help="File that has the TOTP secret already.")  # fmt: skip
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Set any other setting; repeat for several.")
@click.option("--at-boot", type=click.Choice([NO_SERVICE, "systemd", "cron", "launchd"]),
              help="What starts it at boot.  [default: ask, else no]")  # fmt: skip
@click.option("--no-login", is_flag=True, help="Do not log in now.")
@click.option("--sandbox", is_flag=True, help="Use the built-in sandbox: no account, no internet.")
@verb
def setup(
    call: Call, *, pairs: tuple[str, ...], at_boot: str | None, no_login: bool, sandbox: bool, **given: str | None
) -> Outcome:
    """Ask for the account, get what is missing, log in once, and offer to start at boot.

    Every question has an option, so it also runs without a terminal; there, a password to be kept is read from stdin.
    Run it again to change answers: Enter keeps the one in brackets.
    """
    answers = {name.replace("_", "-"): value for name, value in given.items()}
    return set_up(call, Wishes(answers, pairs, at_boot, login=not no_login, sandbox=sandbox))


class Wishes(Struct, frozen=True):
    """What the options of a call say; by default nothing, so that everything is asked."""

    answers: Mapping[str, str | None] = field(default_factory=dict)
    """By the name of the option."""
    pairs: tuple[str, ...] = ()
    at_boot: str | None = None
    login: bool = True
    sandbox: bool = False


def set_up(call: Call, wishes: Wishes) -> Outcome:
    """Set the profile up as `setup` does."""
    named = [f"--{name}" for name, value in wishes.answers.items() if value is not None]
    named += ["--set"] * bool(wishes.pairs)
    if wishes.sandbox and named:
        raise Usage(f"the sandbox has an account of its own, so {named[0]} has no use", hint="gwctl setup --sandbox")
    flags = {key: checked(key, value) for key, value in map(pair_of, wishes.pairs)}
    guide = Guide(call, call.settings(), call.settings(flags), wishes.answers, dict(flags))
    place = _place_for(call, wishes.at_boot)
    _look_at_machine(guide, sandbox=wishes.sandbox)
    changed = False
    if not wishes.sandbox:
        ask_for_account(guide)
        changed = _save(guide)
        _get_release(call)
    data: dict[str, Any] = {"profile": call.profile_name, "changed": sorted(guide.values), "ready": False}
    text = f"set up; next: {call.command('up --sandbox' if wishes.sandbox else 'up')}"
    if wishes.login:
        result = _log_in(call, sandbox=wishes.sandbox, changed=changed)
        data |= {"ready": True, "base_url": result.status["gateway"]["base_url"]}
        text = ready_line(result.status, "ready" if result.started else "already ready")
    if place is None and wishes.at_boot is None:
        place = _offered_place(guide, sandbox=wishes.sandbox)
    data["service"], code = _start_at_boot(guide, place, wishes)
    steps = _next_steps(call, running=wishes.login)
    return Outcome(data, "" if call.quiet else "\n".join([text, *steps]), code)


def _look_at_machine(guide: Guide, *, sandbox: bool) -> None:
    """Show Java and the browser, and install a browser if only that is missing; raise one error for all that is."""
    from gwctl.gateway.java import find_java
    from gwctl.login.browser import find_browser
    from gwctl.login.browser_install import install_chromium, look_at_driver
    from gwctl.system_packages import all_missing

    call, settings, variables = guide.call, guide.settings, guide.call.environment.variables
    missing: list[Unavailable] = []
    browser = None
    if not sandbox:
        try:
            java = find_java(settings["java"], variables)
            call.say(f"Java {java.version}: {java.executable}")
        except JavaMissing as error:
            missing.append(error)
    lacking = look_at_driver(variables)
    missing += [] if lacking is None else [lacking]
    try:
        browser = find_browser(settings["browser"], variables)
    except BrowserMissing as error:
        if (
            missing
            or settings["browser"]
            or not guide.confirm(f"{error.message}. Install Playwright's Chromium (about 110 MB)?", default=True)
        ):
            missing.append(error)
    if missing:
        raise all_missing(missing)
    browser = browser or install_chromium(variables)
    call.say(f"browser {browser.kind}: {browser.executable}")


def _get_release(call: Call) -> None:
    from gwctl.lifecycle.preflight import ensure_release

    with Terminal(call) as terminal:
        ensure_release(call.target(), call.settings(), terminal)


def _save(guide: Guide) -> bool:
    """Write the answers and keep the secrets, and return whether a login must be tried anew; raise GwctlError.

    Whatever fails, the files of secrets are as they were.
    """
    call, target = guide.call, guide.call.target()
    before = {file: _content_of(file) for file in (secret_file(target, name) for name in guide.secrets)}

    def keep() -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, (secret, where) in guide.secrets.items():
            kept |= keep_secret(target, name, secret, where)
        guide.values |= kept
        return kept

    try:
        saved = save(target, guide.values, create=None, keep=keep)
    except BaseException:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            elif content != _content_of(file):
                write_bytes(file, content)
        raise
    guide.say(f"saved in {short(saved.file)}{saved.note}")
    for name, (secret, _) in guide.secrets.items():
        found = known(guide, name, {})
        if (None if found is None else found.secret) != secret:
            source = "no source has it" if found is None else f"{found.source} wins"
            raise Configuration(
                f"the {name} is not taken from where it was kept: {source}", hint=call.command("profile show")
            )
    return bool(guide.secrets) or any(saved.settings[key] != guide.before[key] for key in guide.values)


def _content_of(file: Path) -> bytes | None:
    try:
        return read_ours(file)
    except OSError:
        return None


def _log_in(call: Call, *, sandbox: bool, changed: bool) -> Up:
    """Bring the session up with the new settings; raise GwctlError."""
    from gwctl.lifecycle import start
    from gwctl.lifecycle.reach import find_supervisor
    from gwctl.lifecycle.stop import stop

    with Terminal(call) as terminal:
        client = find_supervisor(call.target())
        if client is not None and (changed or client.status().get("drift")):
            _refuse_under_systemd(call)
            terminal.show("stopping the session with the previous settings")
            stop(call.target(), observer=terminal)
        return start.up(call.target(), sandbox=sandbox, observer=terminal)


def _refuse_under_systemd(call: Call) -> None:
    """Raise ProfileHeld if a unit supervises the profile: a session of ours would be outside it."""
    for place in installed_places(call):
        if isinstance(place, SystemdPlace) and place.systemctl.is_active(place.unit):
            restart = f"{place.systemctl.command} restart {place.unit}"
            raise ProfileHeld(f"the settings are saved, and {place.unit} runs with the previous ones", hint=restart)


def _place_for(call: Call, at_boot: str | None) -> Place | None:
    """Return the place that ``--at-boot`` names, None for none; raise Usage if this machine does not have it."""
    if at_boot in {None, NO_SERVICE}:
        return None
    for place in places(call):
        if place.kind == at_boot:
            return place
    raise Usage(f"this machine has no {at_boot} for its users", hint=call.command("setup --at-boot no"))


def _offered_place(guide: Guide, *, sandbox: bool) -> Place | None:
    """Return the place that a person accepts, None if there is none to accept or nobody to ask."""
    if not guide.call.may_ask:
        return None
    place = next(places(guide.call), None)
    if place is None:
        return None
    question = f"Start it at boot with {place.kind}?"
    if place.read() is not None:
        guide.say(f"it is started at boot already, by {place.where}; to see that: {place.verb('show')}")
        question = "Write that anew, with these answers?"
    alone = not sandbox and _can_start_alone(guide)
    return place if guide.confirm(question, default=alone) else None


def _start_at_boot(guide: Guide, place: Place | None, wishes: Wishes) -> tuple[str | None, int]:
    """Install the service; return its kind, None for none, and the exit code: what is set up and ready stays so."""
    if place is None:
        return None, 0
    try:
        _install(guide.call, place, wishes)
    except GwctlError as error:
        guide.say(f"not started at boot: {error.message}" + (f"; try: {error.hint}" if error.hint else ""))
        return None, error.exit_code
    return place.kind, 0


def _install(call: Call, place: Place, wishes: Wishes) -> None:
    """Install the service; a unit of systemd adopts the running gateway. Raise GwctlError; the session then goes on."""
    from gwctl.lifecycle import start
    from gwctl.lifecycle.stop import stop

    let_go = False

    def before_load() -> None:
        nonlocal let_go
        if wishes.login and place.kind == "systemd":
            let_go = True
            stop(call.target(), keep_session=True, observer=Terminal(call))

    new = Install(start=wishes.login, keeps_options=False, before_load=before_load)
    try:
        _, text = install_at(place, {"sandbox": wishes.sandbox}, new)
    except BaseException:
        if let_go:
            start.up(call.target(), sandbox=wishes.sandbox, observer=Terminal(call))
        raise
    for line in text.splitlines():
        call.say(line)


def _can_start_alone(guide: Guide) -> bool:
    """Return whether a login needs nobody and nothing that only a person's session has, such as an open keyring."""
    found = known(guide, "password", {})
    by_file = found is not None and found.source in {"password_file", "password_command"}
    return by_file and guide.call.settings()["second_factor"] != Method.PROMPT


def _next_steps(call: Call, *, running: bool) -> list[str]:
    steps = [
        f'eval "$({call.command("env")})"',
        'curl "$GWCTL_BASE_URL/portfolio/accounts"',
        call.command("status"),
    ]
    return ["to use it:", *(f"  {step}" for step in steps)] if running else []
