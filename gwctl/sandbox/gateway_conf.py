"""The gateway's view of ``conf.yaml``, and its rules for client addresses."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl.errors import Configuration

OCTET = r"([01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5])"


class WebApp(Struct, frozen=True):
    """A folder of ``root/webapps``, served under its name."""

    name: str
    index: str


@dataclass(frozen=True, slots=True)
class Conf:
    """The settings that the fake gateway supports, with the gateway's own defaults [seen in its code]."""

    folder: Path
    listen_port: int = 5000
    listen_ssl: bool = True
    ssl_cert: str = "vertx.jks"
    ssl_pwd: str = field(default="mywebapi", repr=False)
    remote_host: str = ""
    auth_delay_ms: int = 3000
    environment: str = "v1"
    ip2loc: str = "US"
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None
    cors_origin: str | None = "*"
    web_apps: tuple[WebApp, ...] = ()


def read_conf(path: Path) -> Conf:
    """Return the configuration in ``path``; raise Configuration with a reason in the gateway's words."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Configuration(f"Unable to load config {path}: {type(error).__name__}") from error
    if not isinstance(raw, dict):
        raise Configuration(f"Unable to load config {path}: no mapping")
    conf = Conf(folder=path.parent)
    ips = _mapping(raw, "ips")
    cors = raw.get("cors", {})
    web_apps = raw.get("webApps") or []
    return dataclasses.replace(
        conf,
        listen_port=_number(raw, "listenPort", conf.listen_port),
        listen_ssl=raw.get("listenSsl", conf.listen_ssl) is True,
        ssl_cert=_text(raw, "sslCert", conf.ssl_cert),
        ssl_pwd=_text(raw, "sslPwd", conf.ssl_pwd),
        remote_host=_text(raw, "proxyRemoteHost", conf.remote_host).rstrip("/"),
        auth_delay_ms=_number(raw, "authDelay", conf.auth_delay_ms),
        environment=_text(raw, "svcEnvironment", conf.environment),
        ip2loc=_text(raw, "ip2loc", conf.ip2loc),
        allow=_patterns(ips, "allow"),
        deny=_patterns(ips, "deny"),
        # Without `cors`, every origin is allowed; only an explicit null removes the handler [seen in code].
        cors_origin=None if cors is None else _text(_mapping(raw, "cors"), "origin.allowed", "*"),
        web_apps=tuple(WebApp(str(app["name"]), str(app.get("index", "index.html"))) for app in web_apps),
    )


def _mapping(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise Configuration(f"Cannot create property={key}: no mapping")
    return value


def _number(raw: dict[str, Any], key: str, default: int) -> int:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Configuration(f"Cannot create property={key}: not a number")
    return value


def _text(raw: dict[str, Any], key: str, default: str) -> str:
    value = raw.get(key, default)
    if not isinstance(value, str | int | float):
        raise Configuration(f"Cannot create property={key}: not a text")
    return str(value)


def _patterns(ips: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = ips.get(key)
    return None if value is None else tuple(str(entry) for entry in value)


class AddressRules:
    """``ips.allow`` and ``ips.deny`` with the gateway's quirks [seen in its code].

    Without either list, every address is allowed. An entry of one part (``::1``) is not ignored: the pattern parsed
    before it is matched again, whichever list that came from.
    """

    def __init__(self, allow: tuple[str, ...] | None, deny: tuple[str, ...] | None) -> None:
        self._allow = allow
        self._deny = deny
        self._pattern: re.Pattern[str] | None = None

    def allows(self, address: str) -> bool:
        """Return whether ``address`` may connect."""
        if self._allow is None or self._deny is None:
            return True
        return not self._matches(address, self._deny) and self._matches(address, self._allow)

    def _matches(self, address: str, entries: tuple[str, ...]) -> bool:
        for entry in entries:
            self._parse(entry)
            if self._pattern is not None and self._pattern.fullmatch(address):
                return True
        return False

    def _parse(self, entry: str) -> None:
        parts = entry.split(".")
        if parts[-1] == "*" and 2 <= len(parts) <= 4:
            fixed = [re.escape(part) for part in parts[:-1]]
            self._pattern = re.compile(r"\.".join(fixed + [OCTET] * (4 - len(fixed))))
        elif len(parts) == 4:
            self._pattern = re.compile(r"\.".join(re.escape(part) for part in parts))
