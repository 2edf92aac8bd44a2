"""The archive of a gateway's classes over a supervisor's life: used, made once the session is up, removed in doubt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

from gwctl.environment import Environment
from gwctl.errors import GwctlError
from gwctl.gateway.class_archive import ClassArchive, find
from gwctl.gateway.java import Java
from gwctl.ownership import require_ours
from gwctl.paths import Paths

log = logging.getLogger("gwctl.supervisor")


class ClassArchives:
    """The archive for the gateway of one profile, if its Java and its release have one."""

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._environ = environ
        self._used: ClassArchive | None = None
        self._wanted: ClassArchive | None = None
        self._failed = False

    async def options(self, release_path: Path, java: Java | None, java_options: str, *, crashed: bool) -> str:
        """Return the ``_JAVA_OPTIONS`` of the gateway that starts now; ``crashed`` if the one before it crashed.

        ``java_options`` are the user's. Raises Untrusted if another user could change the archive.
        """
        self._used = self._wanted = None
        failed, self._failed = self._failed, False
        folder = self._paths.class_archives_dir
        archive = None if java is None else await asyncio.to_thread(find, folder, release_path, java, java_options)
        if archive is None or failed:
            return ""
        if crashed:
            archive.remove()
        if archive.exists:
            if not Environment(self._environ).trusts_home:
                require_ours([archive.file])
            self._used = archive
        else:
            self._wanted = archive
        return archive.options(self._paths.gateway_dir)

    async def make(self) -> None:
        """Make the archive for the next start, if this gateway has listed its classes; once for each gateway."""
        archive, self._wanted = self._wanted, None
        if archive is None:
            return
        try:
            why = await archive.make(self._paths.gateway_dir, self._environ)
        except (GwctlError, OSError, BadZipFile, NotImplementedError) as error:  # the last: a disk without locks
            why = str(error)
        if why is not None:
            log.info("no archive of the gateway's classes: %s", why)

    def distrust(self) -> None:
        """Remove the archive of a gateway that did not start; the next one starts without any options of ours."""
        self._failed = self._used is not None or self._wanted is not None
        if self._used is not None:
            self._used.remove()
            self._used = None
