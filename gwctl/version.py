"""The version, defined only here (pyproject.toml reads it from this file), and how this installation is added to."""

from __future__ import annotations

import sys
from pathlib import Path

VERSION = "0.1.0"


def adding(package: str) -> str:
    """Return the command that adds a package to this installation, made by pipx, by uv, or by pip."""
    if (Path(sys.prefix) / "pipx_metadata.json").exists():
        return f"pipx inject gwctl {package}"
    if (Path(sys.prefix) / "uv-receipt.toml").exists():
        return f"uv pip install --python {sys.executable} {package}"
    return f"{sys.executable} -m pip install {package}"
