"""A home in which gwctl has been up once, as a user's is from the second start on."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig import Rig, free_port, wait_for

from benchmark.ending import a_folder_of_its_own
from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import Account, StandInConfig

ARCHIVE_WITHIN_S = 120.0


@contextmanager
def a_used_home(release_zip: Path) -> Iterator[Path]:
    """Yield a home with the release, the certificate authority, the archive of the gateway's classes and a profile."""
    account = Account(username="bench", password=secrets.token_hex(8))
    with a_folder_of_its_own() as folder:
        with serve_in_thread(StandInConfig(secrets.token_hex(8), account)) as stand_in:
            rig = Rig(folder, free_port(), account, stand_in)
            rig.gwctl("release", "install", str(release_zip)).check(0)
            rig.gwctl("up").check(0)
            archives = rig.home / "cache" / "java-classes"
            wait_for(lambda: [*archives.glob("*.jsa")], ARCHIVE_WITHIN_S, "the archive of classes")
            rig.gwctl("down").check(0)
        yield rig.home


def furnish(home: Path, used: Path) -> None:
    """Copy all that lasts into ``home``; the times of the jars stay, or Java would refuse the archive."""
    shutil.copytree(used, home, symlinks=True, dirs_exist_ok=True)
