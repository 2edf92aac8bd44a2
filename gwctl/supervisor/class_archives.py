"""The archive of a gateway's classes over a supervisor's life: used, made once the session is up, removed in doubt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from gwctl.errors import GwctlError
from gwctl.gateway.class_archive import ClassArchive, find
from gwctl.gateway.java import Java
from gwctl.paths import Paths

log = logging.getLogger("gwctl.supervisor")


class ClassArchives:
    """The archive for the gateway of one profile, if its Java and its release have one."""

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._environ = environ
        self._used: ClassArchive | None = None
        self._wanted: ClassArchive | None = None

    async def options(self, release_path: Path, java: Java | None, *, crashed: bool) -> str:
        """Return the ``_JAVA_OPTIONS`` of the gateway that starts now; ``crashed`` if the one before it crashed.

        Raises Untrusted if another user could change the archive.
        """
        self._used = self._wanted = None
        folder = self._paths.class_archives_dir
        archive = None if java is None else await asyncio.to_thread(find, folder, release_path, java)
        if archive is None:
            return ""
        if crashed:
            archive.remove()
        if archive.exists:
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
        except (GwctlError, OSError) as error:
            why = str(error)
        if why is not None:
            log.info("no archive of the gateway's classes: %s", why)

    def distrust(self) -> None:
        """Remove the archive of a gateway that did not start; the next one starts without."""
        if self._used is not None:
            self._used.remove()
            self._used = None
