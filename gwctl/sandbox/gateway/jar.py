"""The gateway's cookie jar: in memory, the same for all of its clients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Both lists are the gateway's own [seen in its code].
FROM_UPSTREAM: Final = frozenset(
    {
        *("URL_PARAM", "RL", "JSESSIONID", "USERID", "XYZAB", "REGION", "XYZAB_AM.LOGIN", "web"),
        *("cp", "cp.qa", "cp.alpha", "cp.beta", "api", "api.nn", "api.alpha", "portal"),
    }
)
FROM_CLIENT: Final = frozenset({"XYZAB", "XYZAB_AM.LOGIN"})
START: Final = {
    ("JSESSIONID", "/sso"): "",
    ("JSESSIONID", "/AccountManagement"): "",
    ("REGION", "/"): "",
    ("USERID", "/"): "",
    ("VERSION", "/sso/Login"): "1.0.0",
}


class CookieJar:
    """Cookies by name and path; what a client sends to ``/sso`` and what IBKR sets there ends up here."""

    def __init__(self) -> None:
        self._cookies = dict(START)

    def clear(self) -> None:
        """Forget every cookie."""
        self._cookies = dict(START)

    def capture_request(self, header: str) -> None:
        """Take the session cookies out of a client's ``Cookie`` header."""
        for part in header.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and value and name in FROM_CLIENT:
                self._cookies[name, "/"] = value

    def capture_response(self, headers: Iterable[str]) -> None:
        """Take the known cookies out of ``Set-Cookie`` headers; an empty value changes nothing."""
        for header in headers:
            first, *attributes = (part.strip() for part in header.split(";"))
            name, equals, value = first.partition("=")
            paths = [item[5:] for item in attributes if item.lower().startswith("path=") and len(item) > 5]
            if equals and value and name in FROM_UPSTREAM:
                self._cookies[name, paths[-1] if paths else "/"] = value

    def header_for(self, path: str) -> str:
        """Return the ``Cookie`` header of an upstream call to ``path``."""
        return ";".join(f"{name}={value}" for (name, below), value in self._cookies.items() if below in path)
