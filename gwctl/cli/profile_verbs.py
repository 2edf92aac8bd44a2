"""`profile`, `secret` and `notify`: accounts, their secrets and their notifications."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, SuggestingGroup, global_options, verb
from gwctl.cli.output import Outcome, rows
from gwctl.config import (
    BUILT_IN,
    KEYS,
    SECRET_KEYS,
    Setting,
    check_ports,
    check_profile_name,
    load,
    parse_value,
    profile_names,
    read_file,
)
from gwctl.credentials import check_name, doubt_of, find, import_keyring
from gwctl.errors import Configuration, CredentialsMissing, ProfileHeld, Unavailable, Usage
from gwctl.profile_registry import choose_port, known_names, ports_by_profile
from gwctl.state_file import make_missing, write_bytes
from gwctl.supervisor.control import SupervisorClient

if TYPE_CHECKING:
    from gwctl.integrations.notify import Message, Way

LOCK_TIMEOUT_S = 30.0
_SOURCE = "the command line"


@click.group("profile", cls=SuggestingGroup)
@global_options
def profile() -> None:
    """List, show, create, change and delete profiles."""


@profile.command("list")
@verb
def list_(call: Call) -> Outcome:
    """List the profiles with port, account kind and phase."""
    from gwctl.lifecycle.fleet import look_at
    from gwctl.lifecycle.reach import port_of

    names = profile_names(call.environment)
    known = set(known_names(call.paths))
    found: list[dict[str, Any]] = []
    for name, (status, _) in zip(names, look_at(call.target(), names), strict=True):
        settings = load(name, environment=call.environment)
        found.append(
            {
                "profile": name,
                "port": port_of(settings),
                "health_port": settings["health_port"],
                "mode": settings["mode"],
                "username": settings["username"],
                "phase": status["phase"],
                "ready": status["ready"],
                "sandbox": status.get("sandbox", False),
            }
        )
    for row in found:
        same = [one["profile"] for one in found if one["port"] == row["port"] and one is not row]
        row["port_shared_with"] = [name for name in same if {name, row["profile"]} <= known]
    return Outcome({"profiles": names, "details": found}, rows(_lines(found)))


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len("PROFILE"), *(len(row["profile"]) for row in found))
    yield f"{'PROFILE':<{width}}   PORT  MODE   PHASE"
    for row in found:
        sandbox = " (sandbox)" if row["sandbox"] else ""
        shared = f"; port also of {', '.join(row['port_shared_with'])}" if row["port_shared_with"] else ""
        yield f"{row['profile']:<{width}}  {row['port']:>5}  {row['mode']:<5}  {row['phase']}{sandbox}{shared}"


@profile.command("show")
@click.argument("name", required=False)
@verb
def show(call: Call, *, name: str | None) -> Outcome:
    """Show each setting and its source, and the path of config.toml."""
    settings = load(name or call.profile_name, environment=call.environment)
    width = max(map(len, settings.values))
    lines = [
        f"{key:<{width}}  {_shown(settings.shown(key))}  ({setting.source})" for key, setting in settings.values.items()
    ]
    file = settings.paths.config_file
    lines += ["", f"settings file: {file}{'' if file.exists() else ' (does not exist yet)'}"]
    data = {"profile": settings.profile, "settings": settings.to_json(), "config_file": str(file)}
    return Outcome(data, rows(lines))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@profile.command("create")
@click.argument("name")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Set any setting; repeat for several.")
@click.option("--username", help="IBKR username.")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Account kind.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT",
              help="Port of the gateway.  [default: the lowest port from 5000 up that no profile has]")  # fmt: skip
@verb
def create(  # noqa: PLR0913 - one argument an option
    call: Call, *, name: str, pairs: tuple[str, ...], username: str | None, mode: str | None, port: int | None
) -> Outcome:
    """Create profile NAME in config.toml; comments and other profiles there stay unchanged."""
    import tomlkit

    check_profile_name(name)
    wanted: dict[str, Any] = {"username": username, "mode": mode, "port": port}
    wanted |= dict(_pair(text) for text in pairs)
    values = {key: _checked(key, value) for key, value in wanted.items() if value is not None}
    with _writing(call) as (file, document):
        load(name, environment=call.environment)  # reject an invalid value before writing anything
        if name in read_file(file).get("profiles", {}):
            raise Configuration(f"profile {name!r} already exists in {file}", hint=_how_to_change(file, name))
        note = _say_shared(call, name, values)
        if "port" not in values:
            values["port"] = _choose_port(call, name, values)
        _check_together(call, name, values)
        table = tomlkit.table()
        for key in dict.fromkeys([*wanted, *values]):
            if key in values:
                table[key] = values[key]
        _profiles_in(document)[name] = table
    settings = load(name, environment=call.environment)
    return Outcome(
        {"profile": name, "file": str(file), "settings": settings.to_json()},
        f"created {name} in {file}, port {values['port']}{note}\n"
        f"next: gwctl --profile {name} secret set password, or GWCTL_PASSWORD_FILE; then gwctl --profile {name} up",
    )


@profile.command("set")
@click.argument("name")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…")
@verb
def set_(call: Call, *, name: str, pairs: tuple[str, ...]) -> Outcome:
    """Change settings of profile NAME in config.toml; a running profile uses them from its next start."""
    import tomlkit

    check_profile_name(name)
    values = {key: _checked(key, value) for key, value in (_pair(text) for text in pairs)}
    with _writing(call) as (file, document):
        if name not in profile_names(call.environment):
            raise Configuration(f"unknown profile {name!r}", hint=f"gwctl profile create {name}")
        _check_together(call, name, values)
        note = _say_shared(call, name, values)
        profiles = _profiles_in(document)
        if name not in profiles:
            profiles[name] = tomlkit.table()
        for key, value in values.items():
            profiles[name][key] = value
    settings = load(name, environment=call.environment)
    return Outcome(
        {"profile": name, "file": str(file), "settings": settings.to_json()}, f"changed {name} in {file}{note}"
    )


def _how_to_change(file: Path, name: str) -> str:
    return f"gwctl profile set {name} KEY=VALUE, edit {file}, or gwctl profile delete {name}"


@contextmanager
def _writing(call: Call) -> Iterator[tuple[Path, Any]]:
    """Yield the document of config.toml, locked against other writers, and write it at the end.

    Raise Configuration, changing nothing, for a file with an error, and ProfileHeld if another gwctl keeps it locked.
    """
    import tomlkit
    from filelock import FileLock, Timeout

    file = call.paths.config_file
    make_missing(file.parent)
    try:
        with FileLock(file.with_name(f"{file.name}.lock"), mode=0o600).acquire(timeout=LOCK_TIMEOUT_S):
            profile_names(call.environment)
            before = file.read_text(encoding="utf-8-sig") if file.exists() else ""
            document = tomlkit.parse(before)
            yield file, document
            if (text := tomlkit.dumps(document)) != before:
                write_bytes(file, text.encode())
    except Timeout:
        raise ProfileHeld(f"another gwctl is writing {file}", hint="the same command again") from None


def _profiles_in(document: Any) -> Any:  # noqa: ANN401 - tomlkit's own
    import tomlkit

    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
    return document["profiles"]


def _choose_port(call: Call, name: str, values: dict[str, Any]) -> int:
    """Return a port that no profile has and that is free now, for a profile without one."""
    from gwctl.process import port_is_free

    taken = {port for other, ports in ports_by_profile(call.paths).items() if other != name for port in ports}
    return choose_port(taken | {values.get("health_port", 0)}, port_is_free)


def _say_shared(call: Call, name: str, values: dict[str, Any]) -> str:
    """Return a note if another profile also has a port that a person chose: they may be meant to take turns."""
    chosen = {values[key] for key in ("port", "health_port") if key in values}
    others = ports_by_profile(call.paths)
    sharing = sorted(other for other, ports in others.items() if other != name and ports & chosen)
    return f"; {', '.join(sharing)} has that port too, so only one of them can run" if sharing else ""


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in KEYS:
        if key in SECRET_KEYS:
            raise Usage(f"{key} must not be in config.toml", hint=f"gwctl secret set {key}")
        # The value may be a secret in the wrong place: do not repeat it.
        raise Usage(f"--set {key!r} is not KEY=VALUE with a known key", hint="known keys: " + ", ".join(KEYS))
    return key, value


def _checked(key: str, value: object) -> Any:  # noqa: ANN401 - a setting's own type
    parsed = parse_value(key, value, _SOURCE, hint="gwctl profile show")
    return list(parsed) if isinstance(parsed, tuple) else parsed


def _check_together(call: Call, name: str, values: dict[str, Any]) -> None:
    """Raise Configuration, before anything is written, if ``values`` do not fit the profile's other settings."""
    settings: Mapping[str, Setting] = {key: Setting(one.default, BUILT_IN) for key, one in KEYS.items()}
    with suppress(Configuration):  # a bad value that is there already can be replaced
        settings = load(name, environment=call.environment).values
    check_ports({**settings, **{key: Setting(value, _SOURCE) for key, value in values.items()}})


@profile.command("delete")
@click.argument("name")
@verb
def delete(call: Call, *, name: str) -> Outcome:
    """Delete profile NAME from config.toml, and its folder; the refused logins of its username stay counted."""
    from gwctl.gateway.launch import adopt
    from gwctl.login_ledger.ledger import Ledger

    paths = call.target().with_name(name).paths
    if SupervisorClient.find(paths) is not None or adopt(paths) is not None:
        raise ProfileHeld(f"profile {name!r} is running", hint=f"gwctl --profile {name} down")
    if name not in profile_names(call.environment):
        raise Configuration(f"unknown profile {name!r}", hint="gwctl profile list")
    ledger = Ledger.of(load(name, environment=call.environment))
    if ledger.exists:
        ledger.prepare()
        if ledger.account.name is None and ledger.summary(1)["rejected"]:
            raise Configuration(
                f"profile {name!r} has refused logins of the last 24 h, and its settings name no username to count",
                hint=f"GWCTL_USERNAME=NAME gwctl profile delete {name}, or wait",
            )
    with _writing(call) as (_, document):
        if name in document.get("profiles", {}):
            del document["profiles"][name]
    shutil.rmtree(paths.profile_dir, ignore_errors=True)
    return Outcome({"profile": name}, f"deleted {name}")


_NO_KEYRING = "pipx inject gwctl keyring, or put the secret in a file and set GWCTL_{}_FILE"


@click.group("secret", cls=SuggestingGroup)
@global_options
def secret() -> None:
    """Manage `password`, `totp_secret`, `notify_webhook`, `notify_webhook_token` and `notify_urls`."""


def _keyring(name: str) -> Any:  # noqa: ANN401 - an optional library without types
    try:
        return import_keyring()
    except ImportError:
        raise Unavailable("the keyring extra is not installed", hint=_NO_KEYRING.format(name.upper())) from None


@secret.command("set")
@click.argument("name")
@verb
def set_secret(call: Call, *, name: str) -> Outcome:
    """Store a secret in the keyring; ask for it, or read it from stdin if that is not a terminal."""
    name = check_name(name)
    keyring = _keyring(name)
    if sys.stdin.isatty():
        if call.no_input:
            raise Usage("--no-input, but nothing on stdin", hint=f"gwctl secret set {name} < FILE")
        value = str(click.prompt(name, hide_input=True, confirmation_prompt=True, err=True))
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise Usage(f"{name} is empty", hint=f"gwctl secret set {name} < FILE")
    try:
        keyring.set_password(f"gwctl:{call.profile_name}", name, value)
    except keyring.errors.KeyringError:
        raise Unavailable("no usable keyring", hint=_NO_KEYRING.format(name.upper())) from None
    return Outcome({"name": name, "source": "keyring"}, f"stored {name} of {call.profile_name} in the keyring")


@secret.command("delete")
@click.argument("name")
@verb
def delete_secret(call: Call, *, name: str) -> Outcome:
    """Remove a secret from the keyring."""
    name = check_name(name)
    keyring = _keyring(name)
    try:
        keyring.delete_password(f"gwctl:{call.profile_name}", name)
    except keyring.errors.KeyringError:
        raise CredentialsMissing(f"{name} is not in the keyring", hint=f"gwctl secret check {name}") from None
    return Outcome({"name": name}, f"removed {name} of {call.profile_name}")


@secret.command("check")
@click.argument("name", default="password")
@verb
def check(call: Call, *, name: str) -> Outcome:
    """Show which source has a secret, without showing the secret."""
    from gwctl.supervisor.attempt import check_totp, sources_of

    name = check_name(name)
    settings = call.settings()
    found = find(name, settings, sources_of(call.environment))
    if found is None:
        raise CredentialsMissing(
            f"no source has a {name}",
            hint=f"{call.command('secret set ' + name)}, or GWCTL_{name.upper()}_FILE",
        )
    if name == "totp_secret":
        check_totp(settings, found)
    doubt = doubt_of(found)
    text = f"{name}: {found.source}" + (f"; {doubt}" if doubt else "")
    return Outcome({"name": name, "source": found.source, **({"doubt": doubt} if doubt else {})}, text)


@click.group("notify", cls=SuggestingGroup)
@global_options
def notify() -> None:
    """Test notifications."""


@notify.command("test")
@verb
def test(call: Call) -> Outcome:
    """Send a test message by every configured way and show each result; exit 69 if one failed."""
    from gwctl.integrations.notify import ways_of
    from gwctl.lifecycle.preflight import look_for_ways
    from gwctl.supervisor.wiring import trial

    settings = call.settings()
    ways = ways_of(settings, look_for_ways(call.target(), settings), call.environment.variables)
    if not ways:
        raise Configuration(
            f"profile {settings.profile!r} has no notifications configured",
            hint=f"{call.command('secret set notify_webhook')}, or notify_command in config.toml",
        )
    results = asyncio.run(_send(ways, trial(settings.profile)))
    failed = [result for result in results if not result["ok"]]
    lines = [
        f"{result['way']}: {'sent' if result['ok'] else 'FAILED'}: {result['said']} "
        f"({result['took_s']:.1f} s, {result['source']})"
        for result in results
    ]
    return Outcome(
        {"profile": settings.profile, "ways": results}, "\n".join(lines), Unavailable.exit_code if failed else 0
    )


async def _send(ways: list[Way], message: Message) -> list[dict[str, Any]]:
    async def send(way: Way) -> dict[str, Any]:
        began_s = time.monotonic()
        delivery = await way.send(message)
        took_s = round(time.monotonic() - began_s, 3)
        return {"way": way.name, "source": way.source, "ok": delivery.ok, "said": delivery.said, "took_s": took_s}

    return list(await asyncio.gather(*map(send, ways)))
