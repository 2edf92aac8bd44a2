"""A sandbox with a door, and a client of it that sends exactly what it is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_fakes import Home, a_home
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from rig import free_port, wait_for
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gwctl.http_requests import trust_only
from gwctl.paths import Paths

TOO_FAST = 429
BOUND_S = 10.0


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
        """Return what ``ask_once`` does, asking again while the door says that it was too fast."""
        while (answer := self.ask_once(method, path, body, **fields))[0] == TOO_FAST:
            time.sleep(0.1)  # the door counts real seconds
        return answer

    async def listen(self, path: str = "/v1/api/ws") -> ClientConnection:
        """Return an open WebSocket; raise InvalidStatus for another refusal than that of being too fast."""
        while True:
            try:
                return await connect(
                    f"wss://{self.host}:{self.port}{path}",
                    ssl=self.tls(),
                    additional_headers=self.fields,
                    proxy=None,
                )
            except InvalidStatus as error:
                if error.response.status_code != TOO_FAST:
                    raise
                await asyncio.sleep(0.1)

    def ask_once(self, method: str, path: str, body: bytes | None = None, **fields: str) -> tuple[int, Any]:
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


class Doorway:
    """A ready sandbox with a door."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = int(home.variables["GWCTL_DOOR"].rpartition(":")[2])
        self.ca_file = home.home / "ca" / "ca.pem"

    @property
    def client(self) -> DoorClient:
        """A client with today's token."""
        return DoorClient(self.port, self.ca_file, (self.home.profile_dir / "door.token").read_text().strip())

    def pid(self) -> int | None:
        """Return the door's process."""
        found: int | None = self.home.status()["door"]["pid"]
        return found

    def wait_open(self, *, other_than: int | None = None, timeout_s: float = BOUND_S) -> int:
        """Return the pid of a door that serves."""

        def served() -> int | None:
            door = self.home.status()["door"]
            return None if door["problem"] or door["pid"] in {None, other_than} else int(door["pid"])

        return wait_for(served, timeout_s, "the door is open")

    def log(self) -> str:
        """Return the access log."""
        return (self.home.profile_dir / "logs" / "door.log").read_text()


def a_doorway(folder: Path, **variables: str) -> Iterator[Doorway]:
    """Yield a ready sandbox with an open door."""
    with a_home(folder, GWCTL_DOOR=f"127.0.0.1:{free_port()}", **variables) as home:
        home.gwctl("up", "--sandbox").check(0)
        doorway = Doorway(home)
        doorway.wait_open()
        yield doorway


def signed_for_a_client(theirs: Paths, folder: Path) -> tuple[Path, Path]:
    """Return a key, and a certificate for a client that another authority signed."""
    authority = x509.load_pem_x509_certificate(theirs.ca_file.read_bytes())
    signer = serialization.load_pem_private_key((theirs.ca_dir / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    key_file, certificate_file = folder / "client.key", folder / "client.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file
