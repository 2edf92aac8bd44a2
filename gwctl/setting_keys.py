"""Every setting that there is, and every secret: name, parser, default and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from gwctl.known_words import Choice
from gwctl.setting_times import parse_login_hours, parse_moments, parse_windows
from gwctl.setting_values import (
    parse_address,
    parse_allow_ips,
    parse_any_port,
    parse_browser,
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
    parse_yes,
)

OFFICIAL_RELEASE = "https://download2.interactivebrokers.com/portal/clientportal.gw.zip"


class Key(Struct, frozen=True):
    """The definition of one setting; ``example`` is a value other than the default, as config.toml has it."""

    parse: Callable[[object], Any]
    default: Any
    help: str
    example: Any
    variable: bool = True


SECRETS = {
    "password": "password",
    "totp_secret": "TOTP secret",
    "notify_webhook": "webhook URL",
    "notify_webhook_token": "webhook's bearer token",
    "notify_urls": "Apprise URLs",
}
"""The secrets, each with what it is."""
SECRET_KEYS = tuple(SECRETS)
NOTIFY_SECRETS = SECRET_KEYS[2:]
"""Notification URLs: treat them as secrets, because anybody who knows such a URL can usually post to it."""
KEYS: dict[str, Key] = {
    "username": Key(parse_text, None, "IBKR username", "trader123"),
    "mode": Key(Choice("paper", "live"), "paper", "account kind: paper or live", "live"),
    "show_username": Key(parse_yes, True, "whether views for people show the username", False),
    "port": Key(parse_gateway_port, 5000, "port the gateway listens on", 5001),
    "upstream": Key(
        parse_upstream, "https://api.ibkr.com", "IBKR's address, scheme://host[:port]", "http://127.0.0.1:8080"
    ),
    "release": Key(parse_release, OFFICIAL_RELEASE, "Standard Release: version, file or URL", "~/clientportal.gw.zip"),
    "release_sha256": Key(
        parse_sha256,
        None,
        "SHA-256 that the release's zip must have",
        "5d9c68c6c50ed3d02a2fcf54f63993b6c1fbbc2d27a5d7eae7a2d4ec1d9b1d1c",
    ),
    "check_for_updates": Key(
        parse_yes,
        True,
        "whether to ask once a day for a newer Standard Release and gwctl, and say so; not in CI by default",
        False,
    ),
    "java": Key(parse_program, None, "path of the java program", "/opt/java/bin/java"),
    "java_options": Key(
        parse_options,
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -XX:+ExitOnOutOfMemoryError",
        "JAVA_TOOL_OPTIONS of the gateway",
        "-Xmx256m",
    ),
    "browser": Key(parse_browser, None, "path or channel of the browser", "chromium"),
    "second_factor": Key(
        Choice("none", "totp", "push", "command", "prompt"),
        None,
        "second factor: none, totp, push, command or prompt",
        "push",
    ),
    "second_factor_command": Key(
        parse_command,
        None,
        "program whose stdout is the second factor code",
        ["/home/me/bin/ibkr-code"],
        variable=False,
    ),
    "second_factor_device": Key(parse_text, None, "device to choose: its value or part of its label", "IB Key"),
    "notify_command": Key(
        parse_command, None, "program to run for each notification", ["/home/me/bin/tell-me"], variable=False
    ),
    "tickle_interval_s": Key(parse_seconds(5, 240), 30.0, "seconds between tickles", 60),
    "check_interval_s": Key(parse_seconds(1, 60), 5.0, "seconds between session checks", 10),
    "rejected_limit": Key(parse_limit, 3, "refused logins in 24 h after which gwctl sends no more", 2),
    "on_competing": Key(
        Choice("yield", "take_over"), "yield", "when another session competes: yield or take_over", "take_over"
    ),
    "maintenance": Key(
        parse_windows,
        ("north-america",),
        "IBKR's maintenance windows: north-america, europe, asia, or '23:45-01:45 America/New_York'",
        ["europe", "Sun 02:00-Sun 04:00 Europe/Zurich"],
        variable=False,
    ),
    "login_hours": Key(
        parse_login_hours,
        (),
        "when gwctl may log in by itself; any time if not set",
        ["Mon-Fri 07:00-22:00 Europe/Zurich", "Sat 09:00-12:00 Europe/Zurich"],
    ),
    "relogin_at": Key(parse_moments, (), "when to replace the session by a new login", ["Mon-Fri 07:30 Europe/Zurich"]),
    "ready_when": Key(
        Choice("brokerage", "portfolio"),
        "brokerage",
        "which session is enough to be ready: brokerage (to trade), or portfolio (to read only; never competes)",
        "portfolio",
    ),
    "push": Key(
        parse_yes, True, "whether gwctl uses one of the session's five WebSockets to see changes at once", False
    ),
    "allow_ips": Key(
        parse_allow_ips, ("127.0.0.1",), "addresses that may use the door, besides this machine", ["192.168.1.0/24"]
    ),
    "isolation": Key(
        Choice("auto", "namespace", "firewall", "off", "required"),
        "auto",
        "keep other users and machines from the gateway: auto (where possible), namespace, required, firewall or off",
        "required",
    ),
    "allow_users": Key(
        parse_users, (), "users of this machine, besides you, who may use an isolated gateway", ["grafana"]
    ),
    "door": Key(
        parse_address, None, "address:port for serving the gateway to other machines, with a token", "0.0.0.0:5443"
    ),
    "door_read_only": Key(parse_yes, False, "whether the door lets only requests through that read", True),
    "door_token_file": Key(
        parse_file, None, "file with the door's token, in place of gwctl's own", "/etc/gwctl/door.token"
    ),
    "door_client_ca": Key(
        parse_file,
        None,
        "PEM file: clients of the door need its certificate in place of a token",
        "/etc/gwctl/clients.pem",
    ),
    "certificate_names": Key(
        parse_names,
        (),
        "names and addresses, besides localhost, that clients use to reach the gateway",
        ["trader.example.internal"],
    ),
    "health_port": Key(parse_any_port, 0, "port of the health server on loopback; 0 for any free port", 9463),
    "metrics_address": Key(
        parse_address, None, "address:port for serving /livez, /readyz and /metrics to other machines", "0.0.0.0:9464"
    ),
    "auth_delay_ms": Key(parse_delay_ms, None, "the gateway's authDelay in milliseconds", 1000),
    "open_session_early": Key(
        parse_yes, False, "whether to open the brokerage session without waiting for authDelay (an experiment)", True
    ),
    **{
        f"{name}_file": Key(parse_file, None, f"file with the {what}", f"~/.gwctl-{name}")
        for name, what in SECRETS.items()
    },
    **{
        f"{name}_command": Key(
            parse_command, None, f"program whose stdout is the {what}", ["pass", "show", f"ibkr/{name}"], variable=False
        )
        for name, what in SECRETS.items()
    },
    "page": Key(
        parse_page,
        None,
        "selectors that override those of the login page",
        {"submit": ["#the-new-button"]},
        variable=False,
    ),
}
"""All settings of the contract."""


def variable_of(key: str) -> str:
    """Return the name of a setting's environment variable."""
    return f"GWCTL_{key.upper()}"


FILE_KEYS = tuple(key for key, one in KEYS.items() if one.parse is parse_file)
"""The settings that are a file's path."""
PROGRAM_KEYS = ("java", "browser", "release")
"""The settings that are a path if they contain a slash, and otherwise a word."""
