"""httpx without its optional command line, which gwctl does not use, and its client for servers on the internet.

The command line imports click, rich and pygments: 5.5 MB in a supervisor that runs for months.
"""

from __future__ import annotations

import sys
from http.cookiejar import CookieJar
from typing import Any

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # how the import system spells "not there"

import httpx as httpx  # noqa: E402, PLC0414 - after the line above, and re-exported

from gwctl.version import VERSION  # noqa: E402 - as above


class _NoCookies(CookieJar):
    """Keeps none and reads none: of a date that there is not, reading one writes a traceback."""

    def extract_cookies(self, response: Any, request: Any) -> None:  # noqa: ANN401 - the base class's
        """Do nothing."""


def no_cookies() -> CookieJar:
    """Return a jar for a client whose server has its own."""
    return _NoCookies()


def internet_client(timeout: httpx.Timeout | float, headers: dict[str, str]) -> httpx.Client:
    """Return a client for servers other than the gateway; it follows no redirect.

    https uses the proxies that the environment names. Plain http never does: gwctl uses it for this machine only.
    """
    sent = {"User-Agent": f"gwctl/{VERSION}", **headers}
    return httpx.Client(timeout=timeout, headers=sent, mounts={"http://": httpx.HTTPTransport(trust_env=False)})
