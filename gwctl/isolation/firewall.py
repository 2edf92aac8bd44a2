"""What keeps others from the port of a gateway in this machine's network: the text of nftables' table and pf's anchor.

Whoever connects acts as the user, so a connection needs an owner who is let in: one without (``meta skuid`` knows none
of a socket that the kernel opened for somebody) is refused. Packets without an owner that open no connection are left
alone: the last ones of a program that has closed its end or has ended. ``man 8 nft``, ``man 5 pf.conf``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LOAD = "Load it as root, and again after each boot; until then the port is OPEN:"
_TABLE = """\
table inet {table}
delete table inet {table}
table inet {table} {{
	chain output {{
		type filter hook output priority filter; policy accept;
		oifname "lo" tcp dport {port} jump owner
	}}
	chain owner {{
		meta skuid {{ {uids} }} accept
		tcp flags & (syn | ack) == syn reject with tcp reset
		meta l4proto tcp meta skuid != {{ {uids} }} reject with tcp reset
	}}
	chain input {{
		type filter hook input priority filter; policy accept;
		iifname != "lo" tcp dport {port} reject with tcp reset
	}}
}}
"""
_ANCHOR = """\
block return in quick on ! lo0 proto tcp from any to any port {port}
pass out quick on lo0 proto tcp from any to any port {port} user {{ {uids} }}
block return out quick on lo0 proto tcp from any to any port {port}
"""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The firewall of a gateway's port: programs of ``uids`` on this machine are let in, and nobody else."""

    port: int
    uids: tuple[int, ...]

    @property
    def table(self) -> str:
        """The name of the table, and of the anchor."""
        return f"gwctl_{self.port}"

    def to_json(self) -> dict[str, Any]:
        """Return the object for the state file."""
        return {"port": self.port, "uids": list(self.uids)}

    @classmethod
    def from_json(cls, value: object) -> Firewall | None:
        """Return the firewall in a state file, None if it names none."""
        match value:
            case {"port": int(port), "uids": [*uids]} if all(isinstance(uid, int) for uid in uids):
                return cls(port, tuple(uids))
            case _:
                return None

    def nft(self) -> str:
        """Return what loads the table, or replaces it, in one transaction."""
        return _TABLE.format(table=self.table, port=self.port, uids=", ".join(map(str, self.uids)))

    def nft_gone(self) -> str:
        """Return what removes the table, whether it is loaded or not."""
        return f"table inet {self.table}\ndelete table inet {self.table}\n"

    def pf(self) -> str:
        """Return the rules of the anchor (macOS)."""
        return _ANCHOR.format(port=self.port, uids=" ".join(map(str, self.uids)))

    def shown(self, form: str) -> str:
        """Return the text for a person who loads it, in the ``form`` ``nft`` or ``pf``."""
        if form == "nft":
            how, rules = ["nft -f FILE", f"Remove it: nft delete table inet {self.table}"], self.nft()
        else:
            how = [
                f"pfctl -a gwctl/{self.port} -f FILE",
                'pf looks at it only if it is enabled (pfctl -e) and /etc/pf.conf has the line: anchor "gwctl/*"',
                f"Remove it: pfctl -a gwctl/{self.port} -F rules",
            ]
            rules = self.pf()
        return "".join(f"# {line}\n" for line in (_LOAD, *how)) + rules
