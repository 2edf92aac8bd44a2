"""gwctl keeps one Client Portal Gateway session alive per profile.

::

    import gwctl

    with gwctl.session(sandbox=True) as session:
        with session.client() as client:
            print(client.get("/portfolio/accounts").json())

Errors are those of ``gwctl.errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gwctl.version import VERSION

if TYPE_CHECKING:
    from gwctl.lifecycle.session import AsyncSession, Session, async_session, down, session, status, up, wait
    from gwctl.session_status import Status

__version__ = VERSION
__all__ = ["AsyncSession", "Session", "Status", "async_session", "down", "session", "status", "up", "wait"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any name of the API
    """Import the API on first use: the command line imports this package too and must start fast."""
    if name not in __all__:
        raise AttributeError(f"module 'gwctl' has no attribute {name!r}")
    import importlib

    where = "gwctl.session_status" if name == "Status" else "gwctl.lifecycle.session"
    value = getattr(importlib.import_module(where), name)
    globals()[name] = value
    return value
