"""The folder that one login's worker and browser write into: as near to the profile as the system's limits allow."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gwctl.errors import DiskTrouble
from gwctl.state_file import make_private_dir

SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path of a Unix socket: the system's ``sun_path`` without the zero at its end."""
PREFIX = "gwctl-login-"
TEMPORARY = "tmp"
_RANDOM_BYTES = 8
"""What ``mkdtemp`` adds to the prefix."""
_SOCKET = "com.google.chrome.for.testing.XXXXXX/SingletonSocket"
"""The longest name, over the brands of Chromium, of the socket that it makes below its temporary folder."""
LONGEST_BASE_BYTES = SOCKET_PATH_BYTES - len(f"/{PREFIX}/{TEMPORARY}/{_SOCKET}") - _RANDOM_BYTES


def make_folder(scratch_dir: Path) -> Path:
    """Make a new folder (0700) below ``scratch_dir``, or below a temporary folder where that path is too long.

    The folder's own path is without links: that is how processes which work in it are known. Raises DiskTrouble.
    """
    base = next((one for one in _bases(scratch_dir) if fits(one)), None)
    if base is None:
        raise DiskTrouble(
            f"no folder for a login's temporary files has a path of at most {LONGEST_BASE_BYTES} bytes",
            hint="set TMPDIR to a short path, such as /tmp",
        )
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
    except OSError as error:
        raise DiskTrouble(f"cannot write to {base}: {error.strerror}", hint=f"ls -ld {base}") from error


def fits(base: Path) -> bool:
    """Say whether Chromium can make its socket in a folder of ours below ``base``."""
    return len(os.fsencode(base.resolve())) <= LONGEST_BASE_BYTES


def _bases(scratch_dir: Path) -> Iterator[Path]:
    """Yield the folders that are there and can be written to, the best first."""
    make_private_dir(scratch_dir)
    yield scratch_dir
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp's is ours alone
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            yield folder


def variables_in(folder: Path) -> dict[str, str]:
    """Make the folders of a worker and return the variables that keep it and its browser in there."""
    names = {"TMPDIR": TEMPORARY, "HOME": "home", "XDG_CONFIG_HOME": "home/config", "XDG_CACHE_HOME": "home/cache"}
    for name in names.values():
        make_private_dir(folder / name)
    return {variable: str(folder / name) for variable, name in names.items()}


def remove(folder: Path) -> None:
    """Remove a folder that ``make_folder`` made, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)
