"""What a Standard Release looks like inside, and which build it is."""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Literal

Kind = Literal["standard", "standin"]

# A release with this file at its top is our stand-in; what it says is {"version": "…"} and more, for people.
STANDIN_MARKER = "gwctl-standin.json"

_REQUIRED = ("bin/run.sh", "root/conf.yaml", "root/logback.xml", "root/webapps/demo/index.html")
_MANIFEST_LIMIT_BYTES = 65_536


def kind_of(files: Collection[str]) -> Kind:
    """Return whether the files (relative, with ``/``) are a real release or the stand-in."""
    return "standin" if STANDIN_MARKER in files else "standard"


def missing_from(files: Collection[str]) -> list[str]:
    """Return what a release needs and ``files`` do not have, in words; empty when the shape is right."""
    missing = [name for name in _REQUIRED if name not in files]
    if not any(re.fullmatch(r"dist/[^/]+\.jar", name) for name in files):
        missing.append("dist/*.jar")
    runtime = any(re.fullmatch(r"build/lib/runtime/[^/]+\.jar", name) for name in files)
    if not runtime and kind_of(files) == "standard":
        missing.append("build/lib/runtime/*.jar")
    return missing


def build_of(manifest: str) -> str | None:
    """Return ``YYYYMMDD-COMMIT`` from a jar's manifest, or as much of it as is there.

    The release of April 2023 says ``When-Built: 2023-04-24T15:42:44-0400`` and ``Git-Commit: a27ed421…`` (seen in the
    real jar), which gives ``20230424-a27ed421``. Long lines of a manifest go on after a line end and one space.
    """
    unfolded = re.sub(r"\r?\n ", "", manifest)
    built = re.search(r"^When-Built:\s*(\d{4})-(\d\d)-(\d\d)", unfolded, re.MULTILINE)
    commit = re.search(r"^Git-Commit:\s*([0-9a-f]{8})", unfolded, re.MULTILINE)
    named = ["".join(built.groups())] if built else []
    named += [commit.group(1)] if commit else []
    return "-".join(named) or None


def version_of(top: Path, sha256: str) -> str:
    """Return a readable version for the unpacked release at ``top``, whose archive has ``sha256``.

    The build that the jar names, the version that the stand-in's marker names, else the start of the checksum.
    """
    if (top / STANDIN_MARKER).is_file():
        return f"standin-{_marker_version(top / STANDIN_MARKER) or sha256[:8]}"
    for jar in sorted((top / "dist").glob("*.jar")):
        build = build_of(_manifest(jar))
        if build is not None:
            return build
    return sha256[:12]


def _marker_version(marker: Path) -> str | None:
    try:
        said = json.loads(marker.read_bytes()[:_MANIFEST_LIMIT_BYTES])
    except (OSError, ValueError):
        return None
    version = said.get("version") if isinstance(said, dict) else None
    if isinstance(version, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", version):
        return version
    return None


def _manifest(jar: Path) -> str:
    try:
        with zipfile.ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as file:
            return file.read(_MANIFEST_LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, struct.error, zlib.error, zipfile.BadZipFile):
        return ""
