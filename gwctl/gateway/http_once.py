"""One verified call with the standard library only, so that the command line starts fast."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gwctl.errors import GatewayUnreachable, TimedOut

USER_AGENT = "gwctl"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came."""

    status: int
    body: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """What to ask: the path goes after the base address, the body is JSON."""

    method: str
    path: str
    body: bytes | None = None


def request_once(base_url: str, ca_file: Path, asked: RawRequest, *, timeout_s: float) -> RawAnswer:
    """Make one call below ``base_url`` (https), trusting ``ca_file`` only, and return the answer whatever its status.

    ``timeout_s`` bounds the connection and each read. Raises TimedOut, or GatewayUnreachable when nobody with our key
    answers.
    """
    parts = urlsplit(base_url)
    # The gateway listens on IPv4 only; asking for localhost may first try ::1.
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
            f"who answers on port {parts.port} does not hold this profile's key", hint="gwctl doctor"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise GatewayUnreachable(
            f"no gateway answers on port {parts.port}: {type(error).__name__}", hint="gwctl up"
        ) from None
