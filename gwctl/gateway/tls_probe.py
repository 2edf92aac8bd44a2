"""Knock at a gateway's door: see whether it answers at all, and with our key."""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from pathlib import Path


class Knock(StrEnum):
    """What came of knocking."""

    OURS = "ours"
    """It holds our key and ``GET /`` leads to the login page."""
    CLOSED = "closed"
    STRANGER = "stranger"
    """Somebody answers who has not our key."""
    SILENT = "silent"
    """It accepts and says nothing: hung, or stopped."""
    ODD = "odd"
    """It holds our key, and ``GET /`` is something else than it should be."""


def trust_only(ca_file: Path) -> ssl.SSLContext:
    """Return a client context that trusts our authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context


async def knock(port: int, context: ssl.SSLContext, leaf_der: bytes, *, timeout_s: float) -> Knock:
    """Ask ``GET /`` on 127.0.0.1 and say who answered; needs no IBKR (gateway-facts.md, HTTP surface)."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _knock(port, context, leaf_der)
    except TimeoutError:
        return Knock.SILENT
    except ConnectionRefusedError:
        return Knock.CLOSED
    except ssl.SSLError:
        return Knock.STRANGER
    except (OSError, EOFError, ValueError):
        return Knock.SILENT


async def _knock(port: int, context: ssl.SSLContext, leaf_der: bytes) -> Knock:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if shown != leaf_der:
            return Knock.STRANGER
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await writer.drain()
        status_line = await reader.readline()
    finally:
        writer.transport.abort()  # nothing more is wanted of it, not even its farewell
    if not status_line:
        return Knock.SILENT
    return Knock.OURS if status_line.startswith(b"HTTP/1.") and b" 302" in status_line[:14] else Knock.ODD
