"""`setup`: ask for what a profile needs, check each answer, log in once, and offer to start at boot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome, ready_line
from gwctl.cli.terminal import Terminal
from gwctl.config import Settings
from gwctl.credentials import Found, Secret, find
from gwctl.errors import BrowserMissing, GwctlError, Usage
from gwctl.lifecycle.account import Keep, doubts_of_username, keep_secret, keyring_is_usable, secret_file
from gwctl.lifecycle.settings_file import checked, pair_of, save

if TYPE_CHECKING:
    from gwctl.cli.service_places import Place
    from gwctl.lifecycle.start import Up

SECOND_FACTORS = {
    "none": "IBKR asks for nothing, as with most paper accounts",
    "push": "a notification on your phone, from IBKR Mobile",
    "totp": "a code by time, from a secret that gwctl keeps",
    "prompt": "a code that you type at each login",
}
_ASKS = frozenset({"prompt"})
"""Second factors that only a person at a terminal can give."""
NO_SERVICE = "no"


@dataclass(slots=True)
class Guide:
    """The questions of one call; where nobody can be asked, the flags must have the answers."""

    call: Call
    settings: Settings
    given: Mapping[str, str | None]
    values: dict[str, Any] = field(default_factory=dict)
    """The settings to be written; None removes one."""
    secrets: dict[str, tuple[Secret, Keep]] = field(default_factory=dict)
    """The secrets to be kept, and where."""

    def ask(self, flag: str, text: str, default: str | None, check: Callable[[str], object]) -> str:
        """Return the flag's value, or a person's answer that passes ``check``; raise Usage if nobody can be asked."""
        answer = self.given.get(flag)
        if answer is None and not self.call.may_ask:
            if default is None:
                raise Usage(
                    f"{text} is not known, and nobody can be asked", hint=self.call.command(f"setup --{flag} …")
                )
            answer = default
        if answer is not None:
            check(answer)
            return answer
        while True:
            answer = str(click.prompt(text, default=default, err=True))
            try:
                check(answer)
            except GwctlError as error:
                self.call.say(error.message)
            else:
                return answer

    def choose(self, flag: str, text: str, words: Mapping[str, str], default: str) -> str:
        """Return one of ``words``, whose meanings a person is shown."""
        if self.given.get(flag) is None:
            width = max(map(len, words))
            for word, meaning in words.items():
                self.call.say(f"  {word:<{width}}  {meaning}")

        def check(answer: str) -> None:
            if answer not in words:
                raise Usage(f"{answer!r} is none of {', '.join(words)}", hint=self.call.command(f"setup --{flag} …"))

        return self.ask(flag, text, default, check)

    def confirm(self, text: str, *, default: bool) -> bool:
        """Return a person's yes or no; ``default`` where nobody can be asked."""
        return click.confirm(text, default=default, err=True) if self.call.may_ask else default

    def setting(self, key: str, text: str, default: str | None) -> str:
        """Ask for a setting, and note it if it changed."""
        answer = self.ask(key.replace("_", "-"), text, default, lambda raw: checked(key, raw))
        self.note(key, answer)
        return answer

    def note(self, key: str, answer: str) -> None:
        """Note a setting to be written, unless config.toml has that value already."""
        value, setting = checked(key, answer), self.settings.values[key]
        if setting.value != value or not setting.source.startswith("["):
            self.values[key] = value


@click.command("setup")
@click.option("--username", help="IBKR username.")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Account kind.")
@click.option("--second-factor", type=click.Choice(list(SECOND_FACTORS)), help="How a login is confirmed.")
@click.option("--keep-password", type=click.Choice([str(keep) for keep in Keep]), help="Where the password is kept.")
@click.option("--password-file", metavar="FILE", help="File that has the password already.")
@click.option("--totp-secret-file", metavar="FILE", help="File that has the TOTP secret already.")
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
    return set_up(call, given, pairs=pairs, at_boot=at_boot, no_login=no_login, sandbox=sandbox)


def set_up(  # noqa: PLR0913 - as above
    call: Call,
    given: Mapping[str, str | None] | None = None,
    *,
    pairs: tuple[str, ...] = (),
    at_boot: str | None = None,
    no_login: bool = False,
    sandbox: bool = False,
) -> Outcome:
    """Set the profile up as `setup` does; ``given`` are answers."""
    guide = Guide(call, call.settings(), {name.replace("_", "-"): value for name, value in (given or {}).items()})
    _look_at_machine(guide, sandbox=sandbox)
    changed = False
    if not sandbox:
        _ask_for_account(guide)
        guide.values |= {key: checked(key, value) for key, value in map(pair_of, pairs)}
        for name, (secret, keep) in guide.secrets.items():
            guide.values |= keep_secret(call.target(), name, secret, keep)
        saved = save(call.target(), guide.values, create=None)
        changed = bool(guide.secrets) or any(saved.settings[key] != guide.settings[key] for key in guide.values)
        call.say(f"saved in {_short(saved.file)}{saved.note}")
        _get_release(call)
    data: dict[str, Any] = {"profile": call.profile_name, "changed": sorted(guide.values), "ready": False}
    text = f"set up; next: {call.command('up')}"
    if not no_login:
        result = _log_in(call, sandbox=sandbox, changed=changed)
        data |= {"ready": True, "base_url": result.status["gateway"]["base_url"]}
        text = ready_line(result)
    data["service"] = _start_at_boot(guide, at_boot, sandbox=sandbox, running=not no_login)
    return Outcome(data, "" if call.quiet else "\n".join([text, *_next_steps(call, running=not no_login)]))


def _look_at_machine(guide: Guide, *, sandbox: bool) -> None:
    """Show Java and the browser, and install a browser if there is none; raise GwctlError."""
    from gwctl.gateway.java import find_java
    from gwctl.login.browser import find_browser, install_chromium

    call, settings, variables = guide.call, guide.settings, guide.call.environment.variables
    if not sandbox:
        java = find_java(settings["java"], variables)
        call.say(f"Java {java.version}: {java.executable}")
    try:
        browser = find_browser(settings["browser"], variables)
    except BrowserMissing as missing:
        if settings["browser"] or not guide.confirm(
            f"{missing.message}. Install Playwright's Chromium (about 110 MB)?", default=True
        ):
            raise
        browser = install_chromium(variables)
    call.say(f"browser {browser.kind}: {browser.executable}")


def _get_release(call: Call) -> None:
    from gwctl.lifecycle.preflight import ensure_release

    with Terminal(call) as terminal:
        ensure_release(call.target(), call.settings(), terminal)


def _ask_for_account(guide: Guide) -> None:
    """Ask for everything that belongs to the account, and note it in the guide's values."""
    call, settings = guide.call, guide.settings
    username = guide.setting("username", "IBKR username", settings["username"])
    mode = guide.setting("mode", "account kind, paper or live", settings["mode"])
    for doubt in doubts_of_username(call.target(), username, mode):
        call.say(doubt)
        if guide.given.get("username") is None and not guide.confirm("Is it right all the same?", default=False):
            return _ask_for_account(guide)
    call.say("how a login is confirmed:")
    usual = settings["second_factor"] or ("push" if mode == "live" else "none")
    method = guide.choose("second-factor", "second factor", SECOND_FACTORS, usual)
    guide.note("second_factor", method)
    _ask_for_secret(guide, "password", "IBKR password")
    if method == "totp":
        _ask_for_secret(guide, "totp_secret", "TOTP secret")
    return None


def _ask_for_secret(guide: Guide, name: str, text: str) -> None:
    """Find a secret where the settings and flags say, or ask for it and keep it; raise GwctlError."""
    file = guide.given.get(f"{name.replace('_', '-')}-file")
    if file is not None:
        guide.values[f"{name}_file"] = checked(f"{name}_file", file)
        _known(guide, name)  # raises if it has none
        return
    keeping = f"keep-{name.replace('_', '-')}"
    wanted = guide.given.get(keeping)
    found = None if wanted else _known(guide, name)
    if found is not None and guide.confirm(f"{text} from {found.source}: keep it?", default=True):
        return
    keep = Keep(wanted or guide.choose(keeping, f"where to keep the {text}", dict(_keeps(guide, name)), _usual()))
    if keep is Keep.ASK:
        guide.values[f"{name}_file"] = None
        return
    guide.secrets[name] = _read_secret(guide, name, text), keep


def _short(file: Path) -> str:
    """Return a path as people write it."""
    home = Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)


def _known(guide: Guide, name: str) -> Found | None:
    from gwctl.supervisor.attempt import sources_of

    flags = {key: value for key, value in guide.values.items() if key == f"{name}_file"}
    return find(name, guide.call.settings(flags), sources_of(guide.call.environment))


def _usual() -> str:
    return Keep.KEYRING if keyring_is_usable() else Keep.FILE


def _keeps(guide: Guide, name: str) -> Iterator[tuple[str, str]]:
    if keyring_is_usable():
        yield Keep.KEYRING, "your system's keyring"
    yield Keep.FILE, f"a file that only you can read: {_short(secret_file(guide.call.target(), name))}"
    if name == "password":
        yield Keep.ASK, "nowhere: it asks at each start, and cannot log in by itself"


def _read_secret(guide: Guide, name: str, text: str) -> Secret:
    """Ask for a secret, or read it from stdin; raise Usage if it is empty."""
    if guide.call.may_ask:
        return Secret(str(click.prompt(text, hide_input=True, err=True)))
    value = "" if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not value:
        hint = guide.call.command(f"setup --{name.replace('_', '-')}-file FILE")
        raise Usage(f"no {text} on stdin, and nobody can be asked", hint=hint)
    return Secret(value)


def _log_in(call: Call, *, sandbox: bool, changed: bool) -> Up:
    """Bring the session up with the new settings; raise GwctlError."""
    from gwctl.lifecycle import start
    from gwctl.lifecycle.reach import find_supervisor
    from gwctl.lifecycle.stop import stop

    with Terminal(call) as terminal:
        if changed and find_supervisor(call.target()) is not None:
            terminal.show("stopping the session with the previous settings")
            stop(call.target(), observer=terminal)
        return start.up(call.target(), sandbox=sandbox, observer=terminal)


def _start_at_boot(guide: Guide, wanted: str | None, *, sandbox: bool, running: bool) -> str | None:
    """Install the service that the flag names or a person accepts, and return its kind; None for none."""
    from gwctl.cli.service_places import places
    from gwctl.cli.service_verbs import install_at

    call = guide.call
    possible = {place.kind: place for place in places(call)}
    if wanted is None and possible and call.may_ask:
        kind = next(iter(possible))
        if guide.confirm(f"Start it at boot with {kind}?", default=not sandbox and _can_start_alone(guide)):
            wanted = kind
    if wanted in {None, NO_SERVICE}:
        return None
    if wanted not in possible:
        raise Usage(f"this machine has no {wanted} for its users", hint=call.command("service show --help"))
    place: Place = possible[str(wanted)]
    if running and place.kind == "systemd":  # its unit adopts the gateway
        from gwctl.lifecycle.stop import stop

        stop(call.target(), keep_session=True, observer=Terminal(call))
    _, text = install_at(place, {"sandbox": sandbox})
    call.say(text)
    return place.kind


def _can_start_alone(guide: Guide) -> bool:
    """Return whether a login needs nobody: no password to be typed, and no code."""
    settings = guide.call.settings()
    return settings["second_factor"] not in _ASKS and _known(guide, "password") is not None


def _next_steps(call: Call, *, running: bool) -> list[str]:
    steps = [
        f'eval "$({call.command("env")})"',
        'curl "$GWCTL_BASE_URL/portfolio/accounts"',
        call.command("status"),
    ]
    return ["to use it:", *(f"  {step}" for step in steps)] if running else []
