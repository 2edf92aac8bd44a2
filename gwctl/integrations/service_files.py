"""The text of a systemd unit, a launch agent and a crontab block, and whether a person edited it.

Each text has two comments: the options it was made with, and a seal, which is a hash of the rest. So an edited text
differs from one that an older gwctl made, and gwctl does not overwrite it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import plistlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from gwctl.errors import FINAL_EXIT_CODES, Configuration

START_TIMEOUT_S = 600
"""systemd's limit for a start: the first one downloads the release."""
STOP_TIMEOUT_S = 120
"""The limit for a stop, which logs out first; `gwctl down` needs less, whatever hangs."""
_EVERY = "*/5 * * * *"
_DOCUMENTATION = "https://github.com/gwctl/gwctl/blob/main/docs/how-to/systemd.md"
_SEAL = re.compile(r"(?<=gwctl-seal: )(?:-|[0-9a-f]{16})(?=$| )", re.MULTILINE)
_OPTIONS = re.compile(r"gwctl-options: (\{.*\})")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


class State(StrEnum):
    """The installed text, compared with the one that an install would write."""

    ABSENT = auto()
    CURRENT = auto()
    OUTDATED = auto()
    EDITED = auto()


class Options(Struct, frozen=True):
    """The options of ``service install``."""

    password_file: str | None = None
    totp_secret_file: str | None = None
    account: str | None = None
    sandbox: bool = False

    @property
    def given(self) -> dict[str, str | bool]:
        """The options that are set."""
        return {name: value for name, value in asdict(self).items() if value}

    def over(self, earlier: Options) -> Options:
        """Return these options, each missing one taken from ``earlier``."""
        return Options(**(earlier.given | self.given))  # type: ignore[arg-type] # the names of the fields

    @property
    def secret_files(self) -> dict[str, str]:
        """The file of each secret that has one."""
        files = {"password": self.password_file, "totp_secret": self.totp_secret_file}
        return {name: file for name, file in files.items() if file}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a service runs."""

    profile: str
    program: tuple[str, ...]
    """The command of this gwctl, without options."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variables that say where gwctl's files are."""
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        for text in (*self.program, *self.variables.values(), *self.options.secret_files.values()):
            if _FORBIDDEN.search(text):
                raise Configuration(f"{text!r} contains a control character", hint="choose a path without one")

    def argv(self, *rest: str) -> list[str]:
        """Return the command line of a call for the profile."""
        return [*self.program, "--profile", self.profile, *rest]

    def up(self, *rest: str) -> list[str]:
        """Return the command line of ``up``."""
        return self.argv("up", *rest, *(["--sandbox"] if self.options.sandbox else []))

    @property
    def all_variables(self) -> dict[str, str]:
        """The variables, including those that name the secrets' files."""
        files = {f"GWCTL_{name.upper()}_FILE": file for name, file in self.options.secret_files.items()}
        return {**self.variables, **files}

    @property
    def comments(self) -> tuple[str, str]:
        """The two comments; ``sealed`` fills in the seal. An XML comment cannot contain two hyphens in a row."""
        options = json.dumps(self.options.given).replace("--", r"-\u002d")
        return f"gwctl-options: {options}", "gwctl-seal: -"


def _seal_of(text: str) -> str:
    return hashlib.sha256(_SEAL.sub("-", text, count=1).encode(errors="surrogateescape")).hexdigest()[:16]


def sealed(text: str) -> str:
    """Return ``text`` with its seal."""
    return _SEAL.sub(_seal_of(text), text, count=1)


def is_as_made(text: str) -> bool:
    """Say whether gwctl, of any version, made the text and nobody has edited it."""
    found = _SEAL.search(text)
    return found is not None and found[0] == _seal_of(text)


def read_options(text: str | None) -> Options:
    """Return the options that the text was made with; none if they cannot be read."""
    found = _OPTIONS.search(text or "")
    try:
        return Options(**json.loads(found[1])) if found is not None else Options()
    except (ValueError, TypeError):
        return Options()


def compare(found: str | None, wanted: str) -> State:
    """Compare the installed text with the one that an install would write."""
    if found is None:
        return State.ABSENT
    if found == wanted:
        return State.CURRENT
    return State.OUTDATED if is_as_made(found) else State.EDITED


def difference(found: str, wanted: str) -> str:
    """Return how an install would change the installed text, as a unified diff."""
    before, after = found.splitlines(keepends=True), wanted.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, "installed", "install would write"))


class Account(Struct, frozen=True):
    """The account that a system unit runs as."""

    name: str
    folder: Path
    """The folder of its gwctl's files."""
    in_homes: bool = False
    """Whether it uses anything in a folder that ``ProtectHome=yes`` makes empty."""


_ANYWHERE = """\
# Needs no privileges. MemoryDenyWriteExecute is left out: Java and Chromium generate code while they run.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"""
_SYSTEM_ONLY = """\
# Chromium's own sandbox needs these kinds of namespaces, chroot and seccomp. Left out: ProtectProc, which would hide
# the browser's processes from gwctl, and PrivateUsers, in which Chromium could not create its namespaces. The gateway's
# isolation needs a network and a mount namespace, and mount in it.
RestrictNamespaces=user pid net mnt
SystemCallFilter=@system-service chroot seccomp mount
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes"""


def unit_name(profile: str) -> str:
    """Return the name of a profile's unit."""
    return f"gwctl-{profile}.service"


def _quoted(word: str) -> str:
    """Return a word as a unit file writes it, except the dollar sign, which is special in command lines only."""
    word = word.replace("%", "%%")
    return word if _PLAIN.fullmatch(word) else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command(argv: Sequence[str]) -> str:
    # systemd expands no variable in the first word, the program.
    return " ".join([_quoted(argv[0]), *(_quoted(word.replace("$", "$$")) for word in argv[1:])])


def unit(wanted: Wanted, account: Account | None = None) -> str:
    """Return the systemd unit: a user unit, or with ``account`` a system unit."""
    options, seal = wanted.comments
    secrets = sorted(wanted.options.secret_files.items())
    is_system = account is not None
    lines = [
        "# Made by `gwctl service install --systemd`. Extend it with a drop-in (systemctl edit); an install does not",
        "# overwrite this file after you edit it.",
        f"# {options}",
        f"# {seal}",
        "",
        "[Unit]",
        f"Description=gwctl session of profile {wanted.profile} at Interactive Brokers",
        f"Documentation={_DOCUMENTATION}",
        *(["Wants=network-online.target", "After=network-online.target"] if is_system else []),
        "# Restart without limit: final errors exit with a code that prevents a restart.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={_command(wanted.up('--foreground'))}",
        "# Logs out first and always reaches stopped. If the supervisor dies, KillMode=process leaves the gateway",
        "# to the next one, which needs no login.",
        f"ExecStop={_command(wanted.argv('down'))}",
        "KillMode=process",
        f"TimeoutStartSec={START_TIMEOUT_S}",
        f"TimeoutStopSec={STOP_TIMEOUT_S}",
        "Restart=on-failure",
        "RestartSec=15",
        f"RestartPreventExitStatus={' '.join(map(str, FINAL_EXIT_CODES))}",
        "SuccessExitStatus=130 143",
        "WatchdogSec=60",
        "WatchdogSignal=SIGKILL",
        "# The supervisor handles a gateway or a browser that ran out of memory.",
        "OOMPolicy=continue",
        "LimitCORE=0",
        "UMask=0077",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(wanted.variables.items())),
        *(f"LoadCredential={name}:{file.replace('%', '%%')}" for name, file in secrets),
        *(_as_account(account) if account is not None else []),
        "",
        _ANYWHERE,
        *([_SYSTEM_ONLY] if is_system else []),
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if is_system else 'default.target'}",
        "",
    ]
    return sealed("\n".join(lines))


def _as_account(account: Account) -> list[str]:
    return [
        f"User={account.name}",
        f"ProtectHome={'read-only' if account.in_homes else 'yes'}",
        f"ReadWritePaths={_quoted(str(account.folder))}",
    ]


def job_label(profile: str) -> str:
    """Return the label of a profile's launchd job."""
    return f"gwctl.{profile}"


def launch_agent(wanted: Wanted, log_file: Path) -> str:
    """Return the property list of a launch agent.

    launchd restarts after every exit code except 0 and has no list of final codes, so the agent calls
    ``up --zero-when-final``: if only a person can help, it exits with 0 and the log has the reason.
    """
    job = {
        "Label": job_label(wanted.profile),
        "ProgramArguments": wanted.up("--foreground", "--zero-when-final"),
        "EnvironmentVariables": wanted.all_variables,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ExitTimeOut": STOP_TIMEOUT_S,
        "Umask": 0o077,
        "HardResourceLimits": {"Core": 0},
        "StandardErrorPath": str(log_file),
    }
    made = "Made by `gwctl service install (launchd)`; an install does not overwrite it after you edit it."
    comments = "".join(f"<!-- {comment} -->\n" for comment in (made, *wanted.comments))
    return sealed(plistlib.dumps(job, sort_keys=False).decode().replace("<plist", f"{comments}<plist", 1))


def _markers(profile: str) -> tuple[str, str]:
    return f"# >>> gwctl, profile {profile} >>>", f"# <<< gwctl, profile {profile} <<<"


def crontab_block(wanted: Wanted) -> str:
    """Return the crontab lines of a profile, with their markers."""
    begin, end = _markers(wanted.profile)
    options, seal = wanted.comments
    variables = [f"{name}={shlex.quote(value)}" for name, value in wanted.all_variables.items()]
    call = " ".join([*variables, shlex.join(wanted.up("--quiet"))])
    lines = [
        begin,
        "# Made by `gwctl service install --cron`; `gwctl service uninstall --cron` removes it.",
        f"# {options}",
        f"# {seal}",
        # cron ends the command at a per cent sign, even in quotes.
        f"{_EVERY} {call}".replace("%", r"\%"),
        end,
        "",
    ]
    return sealed("\n".join(lines))


def find_block(crontab: str, profile: str) -> str | None:
    """Return a profile's lines in the crontab; raise Configuration if one of their markers stands alone."""
    begin, end = _markers(profile)
    found = re.search(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", crontab, re.MULTILINE | re.DOTALL)
    lines = crontab.split("\n")
    if (lines.count(begin), lines.count(end)) != ((0, 0) if found is None else (1, 1)):
        raise Configuration(f"one marker of profile {profile!r} is missing in the crontab", hint="crontab -e")
    return None if found is None else found[0]


def with_block(crontab: str, profile: str, block: str) -> str:
    """Return the crontab with ``block`` (empty: nothing) in place of the profile's lines, or at the end."""
    found = find_block(crontab, profile)
    if found is not None:
        return crontab.replace(found, block)
    return crontab + ("" if crontab.endswith("\n") or not crontab else "\n") + block
