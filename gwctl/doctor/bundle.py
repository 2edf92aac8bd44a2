"""Write a zip for a bug report: the facts to understand it, without secrets or personal data."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import pwd
import re
import socket
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gwctl.config import read_file
from gwctl.doctor.case import Case, Finding, summarise
from gwctl.doctor.installation import browser_version
from gwctl.doctor.redaction import Redactor, is_public_host
from gwctl.doctor.session_checks import files_of_secrets, run_command
from gwctl.errors import GwctlError, TimedOut
from gwctl.gateway import keystore
from gwctl.gateway.log_diagnosis import read_cause
from gwctl.ownership import open_ours, read_ours
from gwctl.setting_keys import KEYS, NOTIFY_SECRETS, SECRET_KEYS, variable_of
from gwctl.state_file import write_bytes
from gwctl.system_keyring import read_keyring
from gwctl.version import VERSION

TAIL_BYTES = 256 * 1024
_WORD_CHARS = 3
_ARGUMENT_CHARS = 6
_SECRET_VARIABLE = re.compile(r"PASSW|SECRET|TOKEN|COOKIE|APIKEY|API_KEY|CREDENTIAL", re.IGNORECASE)
_SET = "(set)"
_COMMANDS = tuple(name for name in KEYS if name.endswith("_command"))
_PERSONAL = frozenset({"username", "second_factor_device", "java_options", "certificate_names", "metrics_address"})
_PART_CHARS = 8
_UNKNOWN_PERSONS = frozenset({"root", "localhost", "nobody", "user", "gwctl"})

CONTENTS: dict[str, str] = {
    "README.txt": "this list",
    "doctor.json": "the doctor's findings",
    "versions.json": "versions of gwctl, Python, system, Java, browser, release and gwctl's dependencies",
    "settings.json": "each setting with its source, without names, hosts, command arguments and options",
    "status.json": "the supervisor's status, or that none answers",
    "ledger.json": "how many logins there were, how they ended, whether a person must act",
    "last.json": "how the last supervisor ended, the last failed login, the cause in the gateway's log",
    "supervisor.log": "the last 256 KB of the supervisor's log",
    "start.log": "the last 256 KB of what supervisors printed at startup",
    "journal.jsonl": "the last 256 KB of the journal",
}
"""The zip's files; docs/reference/doctor.md has the same table."""


class _Lines(list[Any]):
    """JSON values, written one to a line."""


def write_bundle(file: Path, case: Case, findings: list[Finding]) -> None:
    """Write the zip, 0600, whole or not at all; raise DiskTrouble.

    It leaves out the gateway's own logs, which hold secrets. If a member would still contain a known secret, it writes
    nothing and raises GwctlError. It reads nothing that another user could have written, and raises Untrusted.
    """
    if not case.environment.trusts_home:
        case.paths.require_ours()
    versions = _versions(case)
    redactor = redactor_of(case, keep=_texts_in(versions))
    members = {name: _text(redactor, content) for name, content in _members(case, findings, versions)}
    leaking = [name for name, text in members.items() if redactor.finds(text)]
    if leaking:
        raise GwctlError(
            f"{', '.join(leaking)} would contain a secret; nothing was written", hint="report this, without the secret"
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, time.gmtime()[:6])
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    write_bytes(file.absolute(), packed.getvalue())


def _text(redactor: Redactor, content: object) -> str:
    if isinstance(content, str):
        return redactor.text(content)
    if isinstance(content, _Lines):
        return "".join(json.dumps(redactor.value(one), ensure_ascii=False) + "\n" for one in content)
    return json.dumps(redactor.value(content), indent=1, ensure_ascii=False) + "\n"


def _members(case: Case, findings: list[Finding], versions: dict[str, Any]) -> Iterator[tuple[str, object]]:
    width = max(map(len, CONTENTS))
    yield "README.txt", "".join(f"{name:<{width}}  {what}\n" for name, what in CONTENTS.items())
    yield "doctor.json", {"findings": [one.to_json() for one in findings], "summary": summarise(findings)}
    yield "versions.json", versions
    yield "settings.json", _settings(case)
    yield "status.json", case.status or {"supervisor": None}
    yield "ledger.json", _ledger(case)
    yield "last.json", _last(case)
    yield "supervisor.log", _tail(case.paths.supervisor_log)
    yield "start.log", _tail(case.paths.logs_dir / "start.log")
    yield "journal.jsonl", _journal(case)


def _texts_in(value: dict[str, Any]) -> Iterator[str]:
    for one in value.values():
        yield from _texts_in(one) if isinstance(one, dict) else [str(one)]


def redactor_of(case: Case, *, keep: Iterable[str] = ()) -> Redactor:
    """Return a redactor for everything on this machine known to be secret or personal, except ``keep``."""
    person = {socket.gethostname(), socket.gethostname().partition(".")[0]}
    own_homes: dict[str, str] = {case.environment.get("HOME") or "": "~"}
    with contextlib.suppress(KeyError):  # an account without an entry, as in containers
        entry = pwd.getpwuid(os.geteuid())
        person.add(entry.pw_name)
        own_homes[entry.pw_dir] = "~"
    words = {one for one in person if len(one) >= _WORD_CHARS and one.lower() not in _UNKNOWN_PERSONS}
    home = case.environment.get("GWCTL_HOME")
    folders = {**own_homes, **({home: "$GWCTL_HOME"} if home else {})}
    return Redactor(
        {line for secret in _known(case) for line in (secret, secret.strip(), *secret.splitlines())},
        words=words,
        folders={folder: name for folder, name in folders.items() if Path(folder).is_absolute()},
        keep=keep,
    )


def _known(case: Case) -> Iterator[str]:
    """Yield this profile's secrets that gwctl can reach, its accounts' names, and commands' arguments."""
    yield from _in_sources(case)
    for file, name in (
        (case.paths.supervisor_state_file, "token"),
        (case.paths.sandbox_state_file, "admin_token"),
    ):
        yield str((case.state_of(file) or {}).get(name) or "")
    with contextlib.suppress(OSError):
        yield read_ours(keystore.password_file(case.paths)).decode(errors="replace")
    yield case.environment.get("GWCTL_USERNAME") or ""
    with contextlib.suppress(ValueError, LookupError):
        host = urlsplit(str(case.known["upstream"])).hostname or ""
        yield "" if is_public_host(host) else host
        yield from case.known["certificate_names"]
    for table in _tables(case):
        yield str(table.get("username") or "")
        yield str(table.get("second_factor_device") or "")
        names = table.get("certificate_names")
        yield from (str(one) for one in names) if isinstance(names, list) else ()
        for name in _COMMANDS:
            arguments = table.get(name)
            for one in arguments[1:] if isinstance(arguments, list) else ():
                yield one if isinstance(one, str) and len(one) >= _ARGUMENT_CHARS else ""
        for name in SECRET_KEYS:  # refused in config.toml, but a user may have put one there
            yield str(table.get(name) or "")


def _tables(case: Case) -> Iterator[dict[str, Any]]:
    try:
        content = read_file(case.paths.config_file)
    except GwctlError:
        return
    profiles = content.get("profiles")
    tables = [content, content.get("defaults"), *(profiles.values() if isinstance(profiles, dict) else ())]
    yield from (table for table in tables if isinstance(table, dict))


def _in_sources(case: Case) -> Iterator[str]:
    """Yield the value from every source, including those that an earlier source in the contract's order hides."""
    for name, value in case.environment.variables.items():
        if value and _SECRET_VARIABLE.search(name) and not name.endswith(("_FILE", "_DIRECTORY", "_COMMAND")):
            yield value
    directory = case.environment.get("CREDENTIALS_DIRECTORY")
    for name in SECRET_KEYS:
        for secret in _of_one(case, name, files_of_secrets(case).get(name), directory):
            yield secret
            if name in NOTIFY_SECRETS:
                # The part of an address that lets anybody send there may occur on its own.
                yield from (part for part in re.split(r"[^A-Za-z0-9_-]+", secret) if len(part) >= _PART_CHARS)


def _of_one(case: Case, name: str, file: Path | None, directory: str | None) -> Iterator[str]:
    yield case.environment.get(variable_of(name)) or ""
    for one in (file, Path(directory, name) if directory else None):
        with contextlib.suppress(OSError):
            yield one.read_text(errors="replace") if one is not None else ""
    command = case.settings[f"{name}_command"] if case.settings is not None else None
    if command:
        with contextlib.suppress(OSError, ValueError, TimedOut):
            yield run_command(case, command)
    yield read_keyring(case.paths, name) or ""


def _versions(case: Case) -> dict[str, Any]:
    from packaging.requirements import Requirement

    with contextlib.suppress(LookupError):
        browser = browser_version(case)
        if browser is not None:
            case.versions["browser"] = browser
    installed: dict[str, str] = {}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for requirement in importlib.metadata.requires("gwctl") or []:
            name = Requirement(requirement).name
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                installed[name] = importlib.metadata.version(name)
    return {"gwctl": VERSION, **case.versions, "system": platform.platform(), "installed": installed}


def _settings(case: Case) -> dict[str, Any]:
    if case.settings is None:
        return {"error": "the settings cannot be read; doctor.json has the reason"}
    return {
        name: {"value": _shown(name, setting.value), "source": setting.source}
        for name, setting in case.settings.values.items()
    }


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401 - a setting's own type
    """Return the part of a setting's value that is safe to share."""
    shown: Any = list(value) if isinstance(value, tuple) else value
    if value is None or value == KEYS[name].default:
        pass
    elif name in _PERSONAL:
        shown = _SET
    elif name in _COMMANDS:
        shown = [Path(value[0]).name, f"({len(value) - 1} arguments)"]
    elif name == "upstream":
        shown = f"{str(value).partition('://')[0]}://(another host)"
    elif name == "release" and ("/" in value or value.endswith(".zip")):
        shown = "(another address or file)"
    elif name == "page":
        shown = sorted(value)
    return shown


def _ledger(case: Case) -> dict[str, Any]:
    from gwctl.login_ledger.ledger import machine_uptime
    from gwctl.login_ledger.rules import Now, describe

    ledger = case.ledger
    record = ledger.look()
    if record is None:
        return {"readable": False, "there": ledger.exists}
    limit = int(case.settings["rejected_limit"]) if case.settings is not None else int(KEYS["rejected_limit"].default)
    shown = describe(record, min(limit, ledger.account.limit), Now(case.ports.wall_clock(), machine_uptime()))
    return {
        **shown,
        "shared_with": len(ledger.account.shared_with),
        "outcomes": dict(Counter(str(submit.outcome) for submit in record.submits)),
        "has_worked": record.worked_print is not None,
        "blocked_by": record.block.code if record.block else None,
        "locked_reason": record.locked_reason,
    }


def _last(case: Case) -> dict[str, Any]:
    from gwctl.login.failures import latest

    cause = read_cause(case.paths.gateway_dir)
    kept = latest(case.paths.evidence_dir)
    return {
        "end": case.state_of(case.paths.last_end_file),
        "failed_login": None if kept is None else kept.to_json(),
        "cause": {"code": str(cause), "text": cause.text},
    }


def _tail(file: Path) -> str:
    """Return the last whole lines of ``file``: half a line may hold half a secret, which redaction would miss."""
    try:
        with os.fdopen(open_ours(file), "rb") as log:
            size_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(0, size_bytes - TAIL_BYTES))
            content = log.read(TAIL_BYTES)
    except OSError:
        return ""
    whole = content if size_bytes <= TAIL_BYTES else content.partition(b"\n")[2]
    return whole.decode(errors="replace")


def _journal(case: Case) -> _Lines:
    entries = _Lines()
    for line in _tail(case.paths.journal_file).splitlines():
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            entries.append(line)
    return entries
