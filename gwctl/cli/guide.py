"""The questions of `setup`, about an account and its secrets, each answer checked."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, field

from gwctl.cli.call import Call
from gwctl.cli.columns import folded, width_of
from gwctl.cli.output import write
from gwctl.config import Settings
from gwctl.credentials import Found, Secret, find
from gwctl.errors import Configuration, GwctlError, Usage
from gwctl.lifecycle.account import Keep, doubts_of_username, keyring_is_usable, secret_file
from gwctl.lifecycle.settings_file import checked
from gwctl.login.codes import Method
from gwctl.plain_text import one_line
from gwctl.supervisor.attempt import method_of, sources_of

SECOND_FACTORS = {
    "none": "IBKR asks for nothing, as with most paper accounts",
    "push": "a notification on your phone, from IBKR Mobile",
    "totp": "a code by time, from a secret that gwctl keeps",
    "prompt": "a code that you type at each login",
    "command": "a program prints the code (second_factor_command)",
}


class Guide(Struct):
    """The questions of one call; where nobody can be asked, the flags must have the answers."""

    call: Call
    before: Settings
    settings: Settings
    """The profile's as before, but with what was given for settings that are not asked for."""
    given: Mapping[str, str | None]
    values: dict[str, Any] = field(default_factory=dict)
    """The settings to be written; None removes one."""
    secrets: dict[str, tuple[Secret | None, Keep]] = field(default_factory=dict)
    """The secrets that were given, and where they are to be kept."""
    lacking: list[tuple[str, str]] = field(default_factory=list)
    """What is missing where nobody can be asked, and the option that gives it."""

    def lack(self, what: str, option: str) -> None:
        """Note what nobody can be asked for."""
        self.lacking.append((what, option))

    def require_all(self) -> None:
        """Raise Usage with everything that is missing."""
        if self.lacking:
            what, options = (part for part in zip(*self.lacking, strict=True))
            hint = self.call.command(f"setup {' '.join(options)}")
            raise Usage(f"{', '.join(what)}, and nobody can be asked", hint=hint)

    def say(self, text: str) -> None:
        """Write a line for a person; one that is asked must see what it is about, also where little is to be said."""
        if self.call.may_ask:
            write(folded(one_line(text), width_of(sys.stderr)), sys.stderr)
        else:
            self.call.say(text)

    def ask(
        self, flag: str, text: str, default: str | None, check: Callable[[str], object], *, is_word: bool = False
    ) -> str:
        """Return the flag's value, or a person's answer that passes ``check``; ``is_word`` takes it in any case.

        Where nobody can be asked, return the default; without one, note that it is missing and return nothing.
        """
        answer = self.given.get(flag)
        if answer is None and not self.call.may_ask:
            if default is None:
                self.lack(f"{text} is not known", f"--{flag} …")
                return ""
            answer = default
        if answer is not None:
            check(answer)
            return answer
        while True:
            answer = str(click.prompt(text, default=default, err=True)).strip()
            answer = answer.lower() if is_word else answer
            try:
                check(answer)
            except GwctlError as error:
                self.say(error.message)
            else:
                return answer

    def choose(self, flag: str, text: str, words: Mapping[str, str], default: str) -> str:
        """Return one of ``words``, whose meanings a person is shown."""
        if self.given.get(flag) is None and self.call.may_ask:
            width = max(map(len, words))
            for word, meaning in words.items():
                self.say(f"  {word:<{width}}  {meaning}")

        def check(answer: str) -> None:
            if answer not in words:
                raise Usage(f"{answer!r} is none of {', '.join(words)}", hint=self.call.command(f"setup --{flag} …"))

        return self.ask(flag, text, default, check, is_word=True)

    def confirm(self, text: str, *, default: bool) -> bool:
        """Return a person's yes or no; ``default`` where nobody can be asked."""
        return click.confirm(text, default=default, err=True) if self.call.may_ask else default

    def setting(self, key: str, text: str, default: str | None) -> str:
        """Ask for a setting, and note it; return nothing if it is missing."""
        flag, is_word = key.replace("_", "-"), key == "mode"
        answer = self.ask(flag, text, default, lambda raw: checked(key, raw), is_word=is_word)
        if answer:
            self.note(key, answer)
        return answer

    def refuse_variable(self, key: str) -> None:
        """Raise Configuration if a variable sets ``key``, which would win over what is to be written."""
        source = self.settings.values[key].source
        if source.startswith("$"):
            raise Configuration(f"{source} is set, and would win over the answer", hint=f"unset {source[1:]}")

    def note(self, key: str, answer: str) -> None:
        """Note a setting to be written, unless config.toml has that value already.

        Raise Configuration if a variable would win over it.
        """
        value, setting = checked(key, answer), self.settings.values[key]
        if setting.value != value:
            self.refuse_variable(key)
        if setting.value != value or not setting.source.startswith("["):
            self.values[key] = value


def ask_for_account(guide: Guide) -> None:
    """Ask for everything that belongs to the account, and note it in the guide's values; raise GwctlError.

    What is missing where nobody can be asked is one error at the end.
    """
    call, settings = guide.call, guide.settings
    while True:
        username = guide.setting("username", "IBKR username", settings["username"])
        mode = guide.setting("mode", "account kind, paper or live", settings["mode"])
        doubts = list(doubts_of_username(call.target(), username, mode)) if username else []
        for doubt in doubts:
            guide.say(doubt)
        if not doubts or guide.given.get("username") is not None or not call.may_ask:
            break
        if guide.confirm("Is it right all the same?", default=False):
            break
    is_same = settings["username"] in {None, username}
    method = _ask_for_second_factor(guide, mode, is_same=is_same)
    _ask_for_secret(guide, "password", "IBKR password", is_same=is_same)
    if method == Method.TOTP:
        _ask_for_secret(guide, "totp_secret", "TOTP secret", is_same=is_same)
    elif not is_same and known(guide, "totp_secret") is not None:
        guide.secrets["totp_secret"] = None, Keep.ASK  # it is another account's
    guide.require_all()


def _ask_for_second_factor(guide: Guide, mode: str, *, is_same: bool) -> str:
    """Return how a login is confirmed; what gwctl would do anyway is not written."""
    settings = guide.settings
    words = {name: text for name, text in SECOND_FACTORS.items() if name != Method.COMMAND}
    if settings["second_factor_command"]:
        words = dict(SECOND_FACTORS)
    has_totp = guide.given.get("totp-secret-file") is not None or (is_same and known(guide, "totp_secret") is not None)
    by_itself = method_of(settings, has_totp=has_totp)
    usual = Method.NONE if by_itself is Method.AUTO else by_itself
    if mode == "live" and settings["username"] is None and by_itself is Method.AUTO:
        usual = Method.PUSH
    if guide.given.get("second-factor") is None and guide.call.may_ask:
        guide.say("how a login is confirmed:")
    method = guide.choose("second-factor", "second factor", words, str(usual))
    unsaid = settings["second_factor"] is None and guide.given.get("second-factor") is None
    if not unsaid or method != (Method.NONE if by_itself is Method.AUTO else by_itself):
        guide.note("second_factor", method)
    return method


def _ask_for_secret(guide: Guide, name: str, text: str, *, is_same: bool) -> None:
    """Find a secret where the settings and flags say, or ask for it; raise GwctlError.

    One that belongs to another username is not used.
    """
    flag = name.replace("_", "-")
    option = f"--{flag}-file FILE"
    file = guide.given.get(f"{flag}-file") or guide.values.get(f"{name}_file")
    if file is not None:
        path = str(checked(f"{name}_file", file))
        if Path(path).exists() and not Path(path).is_file():
            raise Usage(
                f"{path} is no regular file, so it is not there at the next login",
                hint=guide.call.command(f"setup {option}"),
            )
        guide.note(f"{name}_file", path)
        known(guide, name, {f"{name}_file": path})  # raises if it has none
        return
    wanted = guide.given.get(f"keep-{flag}")
    if wanted:
        guide.refuse_variable(f"{name}_file")
    found = None if wanted or not is_same else known(guide, name)
    if found is not None and guide.confirm(f"{text} from {found.source}: keep it?", default=True):
        return
    if not guide.call.may_ask and wanted is None and sys.stdin.isatty():
        guide.lack(f"the {text} is not known", option)
        return
    keep = Keep(
        wanted or guide.choose(f"keep-{flag}", f"where to keep the {text}", dict(_keeps(guide, name)), _usual())
    )
    secret = None if keep is Keep.ASK else _read_secret(guide, text, option)
    while secret is not None and name == "totp_secret" and (fault := _fault_of_totp(secret)) is not None:
        if not guide.call.may_ask:
            raise Usage(fault, hint=guide.call.command(f"setup {option}"))
        guide.say(f"{fault}; it is the long text beside IBKR's QR code, not a code of six digits")
        secret = _read_secret(guide, text, option)
    guide.secrets[name] = secret, keep


def _fault_of_totp(secret: Secret) -> str | None:
    from gwctl.login.codes import BadSecret, bytes_of

    try:
        bytes_of(secret.reveal())
    except BadSecret as error:
        return str(error)
    return None


def short(file: Path) -> str:
    """Return a path as people write it."""
    home = os.environ.get("HOME", "")
    return f"~/{file.relative_to(home)}" if home.startswith("/") and file.is_relative_to(home) else str(file)


def known(guide: Guide, name: str, flags: Mapping[str, Any] | None = None) -> Found | None:
    """Return a secret that a source has: as the guide's settings say, or with ``flags`` as config.toml does now."""
    settings = guide.settings if flags is None else guide.call.settings(flags)
    return find(name, settings, sources_of(guide.call.environment))


def _usual() -> str:
    return Keep.KEYRING if keyring_is_usable() else Keep.FILE


def _keeps(guide: Guide, name: str) -> Iterator[tuple[str, str]]:
    if keyring_is_usable():
        yield Keep.KEYRING, "your system's keyring"
    yield Keep.FILE, f"a file that only you can read: {short(secret_file(guide.call.target(), name))}"
    if name == "password":
        yield Keep.ASK, "nowhere: it asks at each start, and cannot log in by itself"


def _read_secret(guide: Guide, text: str, option: str) -> Secret | None:
    """Ask for a secret, or read a line of stdin; note if that is empty, and raise Usage if it is no text."""
    if guide.call.may_ask:
        return Secret(str(click.prompt(text, hide_input=True, err=True)))
    try:
        value = sys.stdin.readline().rstrip("\r\n") if _has_a_line(guide) else ""
        value.encode()  # what is no UTF-8 fails here, if not before
    except UnicodeError:
        hint = guide.call.command(f"setup {option}")
        raise Usage(f"the {text} on stdin is not UTF-8 text", hint=hint) from None
    if value:
        return Secret(value)
    guide.lack(f"no {text} on stdin", option)
    return None


def _has_a_line(guide: Guide) -> bool:
    """Return whether to read stdin; if the call fails in any case, it does not wait for an open pipe."""
    return not sys.stdin.isatty() and (not guide.lacking or bool(select.select([sys.stdin], [], [], 0)[0]))
