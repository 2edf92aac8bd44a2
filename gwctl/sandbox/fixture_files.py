"""Where the sandbox's files are: inside the installed package, or ``fixtures/`` of a checkout."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from gwctl.errors import ReleaseBroken


def fixture(name: str) -> Path:
    """Return the path of ``fixtures/NAME``; raise ReleaseBroken if gwctl was installed without it."""
    packaged = Path(str(importlib.resources.files("gwctl.sandbox"))) / "fixtures" / name
    if packaged.exists():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "fixtures" / name
    if checkout.exists():
        return checkout
    raise ReleaseBroken(f"gwctl was installed without its sandbox file {name}", hint="install gwctl again")
