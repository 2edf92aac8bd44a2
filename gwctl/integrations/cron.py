"""cron: one line per profile, between two markers in the caller's crontab. The rest of the crontab stays unchanged.

A person's crontab may contain any bytes: it is read and written with ``surrogateescape``, so bytes that are not UTF-8
survive.
"""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Mapping

from gwctl import process
from gwctl.errors import Configuration, ServiceManagerFailed, Unavailable
from gwctl.integrations.service_file import Wanted, sealed

EVERY = "*/5 * * * *"
CALL_TIMEOUT_S = 30.0
_CODEC = ("utf-8", "surrogateescape")


def _begin(profile: str) -> str:
    return f"# >>> gwctl, profile {profile} >>>"


def _end(profile: str) -> str:
    return f"# <<< gwctl, profile {profile} <<<"


def render(wanted: Wanted) -> str:
    """Return a profile's lines, markers included."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in wanted.variables_with_files().items()]
    call = " ".join([*variables, shlex.join(wanted.argv("up", "--quiet", *wanted.sandbox_words))])
    lines = [
        _begin(wanted.profile),
        "# Made by `gwctl service install --cron`; `gwctl service uninstall --cron` removes it.",
        f"# gwctl-options: {wanted.options.to_text()}",
        "# gwctl-seal: -",
        # For cron, a per cent sign ends the command, even inside quotes.
        f"{EVERY} {call}".replace("%", r"\%"),
        _end(wanted.profile),
    ]
    return sealed("\n".join(lines) + "\n")


def _block(profile: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(_begin(profile))}\n.*?^{re.escape(_end(profile))}\n", re.MULTILINE | re.DOTALL)


def find(crontab: str, profile: str) -> str | None:
    """Return a profile's lines; raise Configuration if one of its markers is missing."""
    found = _block(profile).search(crontab)
    lines = crontab.split("\n")
    markers = lines.count(_begin(profile)), lines.count(_end(profile))
    if markers != ((0, 0) if found is None else (1, 1)):
        raise Configuration(f"one marker of profile {profile!r} is missing in the crontab", hint="crontab -e")
    return None if found is None else found[0]


def replaced(crontab: str, profile: str, block: str) -> str:
    """Return the crontab with ``block`` in place of the profile's lines, or else at the end; empty removes them."""
    found = find(crontab, profile)
    if found is not None:
        return crontab.replace(found, block)
    return crontab + ("" if crontab.endswith("\n") or not crontab else "\n") + block


def whose() -> str:
    """Return the user who owns the crontab."""
    return getpass.getuser()


def _run(rest: str, environ: Mapping[str, str], fed: bytes = b"") -> process.Completed:
    try:
        env = process.environment_of(process.Child.OURS, environ)
        return process.run(["crontab", rest], fed=fed, timeout_s=CALL_TIMEOUT_S, env=env)
    except FileNotFoundError:
        raise Unavailable("no crontab program found", hint="apt-get install cron") from None
    except OSError as error:
        raise ServiceManagerFailed(f"cannot start crontab: {error.strerror}") from None


def read(environ: Mapping[str, str]) -> str:
    """Return the crontab, empty if there is none; raise ServiceManagerFailed if it cannot be read."""
    done = _run("-l", environ)
    if done.exit_code != 0:
        if "no crontab" in done.stderr.lower():
            return ""
        raise ServiceManagerFailed(f"crontab -l: {' '.join(done.stderr.split())}", hint="crontab -l")
    return done.stdout.decode(*_CODEC)


def write(crontab: str, environ: Mapping[str, str]) -> None:
    """Install the crontab, or remove it if nothing is left; raise ServiceManagerFailed, keeping the old one."""
    done = _run("-", environ, crontab.encode(*_CODEC)) if crontab else _run("-r", environ)
    if done.exit_code != 0:
        raise ServiceManagerFailed(f"crontab: {' '.join(done.stderr.split())}", hint="crontab -e")
