"""httpx without its own command line, which is optional to it and which nobody here uses.

It would bring click, rich and pygments with it: 5.5 MB in a supervisor that lives for months.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # how the import system spells "not there"

import httpx as httpx  # noqa: E402, PLC0414 - after the line above, and for others
