"""Single requests over TLS: one verified call, and a check whose key a port shows; standard library only."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from gwctl.errors import GatewayUnreachable, TimedOut

USER_AGENT = "gwctl"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as received."""

    status: int
    body: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request: the path is relative to the base address, the body is JSON."""

    method: str
    path: str
    body: bytes | None = None


def request_once(base_url: str, ca_file: Path, asked: RawRequest, *, timeout_s: float) -> RawAnswer:
    """Make one call below ``base_url`` (https), trusting only ``ca_file``, and return the answer with any status.

    ``timeout_s`` limits the connection and each read. Raises TimedOut, or GatewayUnreachable if no server with our key
    answers.
    """
    parts = urlsplit(base_url)
    # The gateway listens on IPv4 only; connecting to localhost may first try ::1.
    host = "127.0.0.1" if parts.hostname in {"localhost", None} else parts.hostname
    path = parts.path.rstrip("/") + "/" + asked.path.lstrip("/")
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    if asked.body is not None:
        headers["Content-Type"] = "application/json"
    try:
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(host, parts.port or 443, context=context, timeout=timeout_s)
        try:
            connection.request(asked.method, path, asked.body, headers)
            said = connection.getresponse()
            return RawAnswer(said.status, said.read(), said.getheader("Content-Type", ""))
        finally:
            connection.close()
    except TimeoutError:
        raise TimedOut(f"{asked.method} {path} was not answered within {timeout_s:g} s", hint="gwctl status") from None
    except ssl.SSLCertVerificationError:
        raise GatewayUnreachable(
            f"the server on port {parts.port} does not have this profile's key", hint="gwctl doctor"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise GatewayUnreachable(
            f"no gateway answers on port {parts.port}: {type(error).__name__}", hint="gwctl up"
        ) from None


class Knock(StrEnum):
    """The result of a probe."""

    OURS = "ours"
    """It has our key, and ``GET /`` leads to the login page."""
    CLOSED = "closed"
    STRANGER = "stranger"
    """A server answers without our key."""
    SILENT = "silent"
    """It accepts connections and sends nothing: hung, or stopped."""
    ODD = "odd"
    """It has our key, but ``GET /`` returns something unexpected."""


def trust_only(ca_file: Path) -> ssl.SSLContext:
    """Return a client context that trusts only our authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context


async def knock(port: int, context: ssl.SSLContext, leaf_der: bytes, *, timeout_s: float) -> Knock:
    """Request ``GET /`` on 127.0.0.1 and say who answered; needs no IBKR (gateway-facts.md, HTTP surface)."""
    import asyncio

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
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if shown != leaf_der:
            return Knock.STRANGER
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await writer.drain()
        status_line = await reader.readline()
    finally:
        writer.transport.abort()  # the result is known; do not wait for a close
    if not status_line:
        return Knock.SILENT
    return Knock.OURS if status_line.startswith(b"HTTP/1.") and b" 302" in status_line[:14] else Knock.ODD
