"""How this package serves HTTP with uvicorn: nothing of a request reaches a log, and no header says what serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import uvicorn

SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "websockets", "websockets.server")


def silence(loggers: Iterable[str]) -> None:
    """Drop all that libraries log: any line about a request could contain a cookie, a token or a query."""
    for name in loggers:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.disabled = True


def quiet_config(app: Any, **more: Any) -> uvicorn.Config:  # noqa: ANN401 - any ASGI application, uvicorn's options
    """Return a configuration for ``app``: loop asyncio, h11, no access log, no proxy headers, no lifespan.

    ``more`` are further options of uvicorn.
    """
    silence(SERVERS)
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        **more,
    )
