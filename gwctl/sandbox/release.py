"""The stand-in release: a zip in the Standard Release's shape, built from ``fixtures/release``."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

from gwctl.sandbox.account_settings import fixture
from gwctl.state_file import write_bytes

MARKER: Final = "gwctl-standin.json"
JAR: Final = "dist/gwctl-standin.jar"
# Packed into the jar as its __main__.py, not into the zip; by that name in an installation in place, pytest would take
# it for a module of ours.
JAR_MAIN: Final = "dist/main.txt"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def build_standin_release(target_zip: Path) -> Path:
    """Write the stand-in release to ``target_zip``, the same bytes each time, and return it.

    Raises ReleaseBroken if gwctl was installed without its fixtures, DiskTrouble if the file cannot be written; an
    older file stays as it was then.
    """
    root = fixture("release")
    contents = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    contents[JAR] = _zip({"__main__.py": contents.pop(JAR_MAIN)})
    write_bytes(target_zip, _zip(contents))
    return target_zip


def _zip(contents: dict[str, bytes]) -> bytes:
    """Return an archive without compression: zlib's versions would make its bytes differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()
