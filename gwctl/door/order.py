"""What the supervisor tells a door to serve."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Order:
    """What a door is to serve. Its JSON holds the token, so it travels through a pipe."""

    listen: str
    """``address:port``"""
    gateway_port: int
    ca_file: str
    certificate_file: str
    key_file: str
    log_file: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    read_only: bool = False
    token: str = field(default="", repr=False)
    client_ca: str | None = None
    """PEM: clients need a certificate of this authority, and no token."""
    certificate: str = ""
    """What tells this certificate from the next: its key's digest."""

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, line: str) -> Order:
        """Return the order that ``to_json`` wrote; raise ValueError, KeyError or TypeError."""
        told = json.loads(line)
        return cls(**{**told, "names": tuple(told["names"]), "addresses": tuple(told["addresses"])})
