"""httpx without its optional command line, which gwctl does not use.

The command line imports click, rich and pygments: 5.5 MB in a supervisor that runs for months.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # how the import system spells "not there"

import httpx as httpx  # noqa: E402, PLC0414 - after the line above, and re-exported
