"""A client of the door that sends exactly what it is told, and reads the whole answer."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl.http_requests import trust_only


@dataclass(frozen=True)
class DoorClient:
    """What a program on another machine has: the address, the authority, the token."""

    port: int
    ca_file: Path
    token: str = ""
    certificate: tuple[Path, Path] | None = None
    host: str = "localhost"

    def tls(self) -> ssl.SSLContext:
        """Return what verifies the door, with the client's certificate if it has one."""
        context = trust_only(self.ca_file)
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context

    @property
    def fields(self) -> dict[str, str]:
        """The fields that identify the client."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(self, method: str, path: str, body: bytes | None = None, **fields: str) -> tuple[int, Any]:
        """Return the status and the body of an answer, parsed if it is JSON."""
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=30, context=self.tls())
        try:
            named = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, path, body, {**self.fields, **named})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content.decode(errors="replace")
