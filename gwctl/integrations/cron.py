"""cron: one line a profile between two markers, in the crontab of whoever asks. Everything else there stays as it is.

A crontab is bytes of somebody's: it is read and written with ``surrogateescape``, so that what is no UTF-8 survives.
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
    """Return the lines of a profile, its markers among them."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in wanted.variables_with_files().items()]
    call = " ".join([*variables, shlex.join(wanted.argv("up", "--quiet", *wanted.sandbox_words))])
    lines = [
        _begin(wanted.profile),
        "# Made by `gwctl service install --cron`; `gwctl service uninstall --cron` takes it out again.",
        f"# gwctl-options: {wanted.options.to_text()}",
        "# gwctl-seal: -",
        # A per cent sign ends the command for cron, in whatever quotes it stands.
        f"{EVERY} {call}".replace("%", r"\%"),
        _end(wanted.profile),
    ]
    return sealed("\n".join(lines) + "\n")


def _block(profile: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(_begin(profile))}\n.*?^{re.escape(_end(profile))}\n", re.MULTILINE | re.DOTALL)


def find(crontab: str, profile: str) -> str | None:
    """Return a profile's lines; raise Configuration if a marker of theirs stands alone."""
    found = _block(profile).search(crontab)
    lines = crontab.split("\n")
    markers = lines.count(_begin(profile)), lines.count(_end(profile))
    if markers != ((0, 0) if found is None else (1, 1)):
        raise Configuration(
            f"the markers of profile {profile!r} in the crontab do not stand in pairs", hint="crontab -e"
        )
    return None if found is None else found[0]


def replaced(crontab: str, profile: str, block: str) -> str:
    """Return the crontab with ``block`` (empty: nothing) in the place of the profile's lines, else at its end."""
    found = find(crontab, profile)
    if found is not None:
        return crontab.replace(found, block)
    return crontab + ("" if crontab.endswith("\n") or not crontab else "\n") + block


def whose() -> str:
    """Return the user whose crontab it is."""
    return getpass.getuser()


def _run(rest: str, environ: Mapping[str, str], fed: bytes = b"") -> process.CompletedFed:
    try:
        env = process.child_environment({}, environ)
        return process.run_fed(["crontab", rest], fed=fed, timeout_s=CALL_TIMEOUT_S, env=env)
    except FileNotFoundError:
        raise Unavailable("there is no crontab program", hint="apt-get install cron") from None
    except OSError as error:
        raise ServiceManagerFailed(f"crontab does not start: {error.strerror}") from None


def read(environ: Mapping[str, str]) -> str:
    """Return the crontab, empty where there is none; raise ServiceManagerFailed if it cannot be read."""
    done = _run("-l", environ)
    if done.exit_code != 0:
        if "no crontab" in done.stderr.lower():
            return ""
        raise ServiceManagerFailed(f"crontab -l: {' '.join(done.stderr.split())}", hint="crontab -l")
    return done.stdout.decode(*_CODEC)


def write(crontab: str, environ: Mapping[str, str]) -> None:
    """Put the crontab in its place, none where nothing is left; raise ServiceManagerFailed, the old one staying."""
    done = _run("-", environ, crontab.encode(*_CODEC)) if crontab else _run("-r", environ)
    if done.exit_code != 0:
        raise ServiceManagerFailed(f"crontab: {' '.join(done.stderr.split())}", hint="crontab -e")
