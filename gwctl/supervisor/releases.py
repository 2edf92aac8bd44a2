"""Which installed release a profile runs."""

from __future__ import annotations

from gwctl.config import Settings
from gwctl.errors import ReleaseMissing
from gwctl.release.store import Release, ReleaseStore


def choose_release(settings: Settings, store: ReleaseStore) -> Release | None:
    """Return the installed release that the settings ask for, None if it has to be fetched first.

    A version is looked up; the official address means the current release; another file or URL is fetched when no
    installed release came from it.
    """
    wanted = str(settings["release"])
    installed = store.list()
    for release in installed:
        if wanted in {release.version, release.source} and release.kind == "standard":
            return release
    if settings.values["release"].source == "built in":
        current = store.current()
        return current if current is not None and current.kind == "standard" else None
    if "/" not in wanted and not wanted.endswith(".zip"):
        raise ReleaseMissing(f"release {wanted!r} is not installed", hint="gwctl release list")
    return None
