"""Every setting that there is, and every secret: name, parser, default and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gwctl.setting_values import (
    parse_address,
    parse_allow_ips,
    parse_any_port,
    parse_browser,
    parse_choice,
    parse_command,
    parse_delay_ms,
    parse_file,
    parse_gateway_port,
    parse_limit,
    parse_names,
    parse_options,
    parse_page,
    parse_program,
    parse_release,
    parse_seconds,
    parse_sha256,
    parse_text,
    parse_upstream,
    parse_users,
    parse_windows,
    parse_yes,
)

OFFICIAL_RELEASE = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"


@dataclass(frozen=True, slots=True)
class Key:
    """The definition of one setting."""

    parse: Callable[[object], Any]
    default: Any
    help: str
    variable: bool = True


_SECRETS = {
    "password": "password",
    "totp_secret": "TOTP secret",
    "notify_webhook": "webhook URL",
    "notify_webhook_token": "webhook's bearer token",
    "notify_urls": "Apprise URLs",
}
SECRET_KEYS = tuple(_SECRETS)
NOTIFY_SECRETS = SECRET_KEYS[2:]
"""Notification URLs: treat them as secrets, because anybody who knows such a URL can usually post to it."""
KEYS: dict[str, Key] = {
    "username": Key(parse_text, None, "IBKR username"),
    "mode": Key(parse_choice("paper", "live"), "paper", "account kind: paper or live"),
    "show_username": Key(parse_yes, True, "whether views for people show the username"),
    "port": Key(parse_gateway_port, 5000, "port the gateway listens on"),
    "upstream": Key(parse_upstream, "https://api.ibkr.com", "IBKR's address, scheme://host[:port]"),
    "release": Key(parse_release, OFFICIAL_RELEASE, "Standard Release: version, file or URL"),
    "release_sha256": Key(parse_sha256, None, "SHA-256 that the release's zip must have"),
    "java": Key(parse_program, None, "path of the java program"),
    "java_options": Key(
        parse_options,
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -XX:+ExitOnOutOfMemoryError",
        "JAVA_TOOL_OPTIONS of the gateway",
    ),
    "browser": Key(parse_browser, None, "path or channel of the browser"),
    "second_factor": Key(
        parse_choice("none", "totp", "push", "command", "prompt"),
        None,
        "second factor: none, totp, push, command or prompt",
    ),
    "second_factor_command": Key(parse_command, None, "program whose stdout is the second factor code", variable=False),
    "second_factor_device": Key(parse_text, None, "device to choose: its value or part of its label"),
    "notify_command": Key(parse_command, None, "program to run for each notification", variable=False),
    "tickle_interval_s": Key(parse_seconds(5, 240), 30.0, "seconds between tickles"),
    "check_interval_s": Key(parse_seconds(1, 60), 5.0, "seconds between session checks"),
    "rejected_limit": Key(parse_limit, 3, "refused logins in 24 h after which gwctl sends no more"),
    "on_competing": Key(
        parse_choice("yield", "take_over"), "yield", "when another session competes: yield or take_over"
    ),
    "maintenance": Key(
        parse_windows,
        ("north-america",),
        "IBKR's maintenance windows: north-america, europe, asia, or '23:45-01:45 America/New_York'",
        variable=False,
    ),
    "allow_ips": Key(parse_allow_ips, ("127.0.0.1",), "addresses that may use the door, besides this machine"),
    "isolation": Key(
        parse_choice("auto", "namespace", "firewall", "off", "required"),
        "auto",
        "keep other users and machines from the gateway: auto (where possible), namespace, required, firewall or off",
    ),
    "allow_users": Key(parse_users, (), "users of this machine, besides you, who may use an isolated gateway"),
    "door": Key(parse_address, None, "address:port for serving the gateway to other machines, with a token"),
    "door_read_only": Key(parse_yes, False, "whether the door lets only requests through that read"),
    "door_token_file": Key(parse_file, None, "file with the door's token, in place of gwctl's own"),
    "door_client_ca": Key(parse_file, None, "PEM file: clients of the door need its certificate in place of a token"),
    "certificate_names": Key(
        parse_names, (), "names and addresses, besides localhost, that clients use to reach the gateway"
    ),
    "health_port": Key(parse_any_port, 0, "port of the health server on loopback; 0 for any free port"),
    "metrics_address": Key(
        parse_address, None, "address:port for serving /livez, /readyz and /metrics to other machines"
    ),
    "auth_delay_ms": Key(parse_delay_ms, None, "the gateway's authDelay in milliseconds"),
    **{f"{name}_file": Key(parse_file, None, f"file with the {what}") for name, what in _SECRETS.items()},
    **{
        f"{name}_command": Key(parse_command, None, f"program whose stdout is the {what}", variable=False)
        for name, what in _SECRETS.items()
    },
    "page": Key(parse_page, None, "selectors that override those of the login page", variable=False),
}
"""All settings of the contract."""


def variable_of(key: str) -> str:
    """Return the name of a setting's environment variable."""
    return f"GWCTL_{key.upper()}"


FILE_KEYS = tuple(key for key, one in KEYS.items() if one.parse is parse_file)
"""The settings that are a file's path."""
PROGRAM_KEYS = ("java", "browser", "release")
"""The settings that are a path if they contain a slash, and otherwise a word."""
