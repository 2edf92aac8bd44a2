"""What a ledger's file holds: the record and its salts; and the note for earlier versions in a profile's folder."""

from __future__ import annotations

import math
import secrets
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from gwctl.login_ledger.rules import OUTCOMES, Block, LoginRecord, Submit, Uptime, joined
from gwctl.state_file import look_at_json

MOVED = "a newer gwctl counts this profile's logins in another file; with that version: gwctl down, then gwctl up"
"""Locks out earlier versions, which counted each profile alone: they would see fewer refusals than there are."""


class Stored(Struct, frozen=True):
    """A ledger's content; the first of its salts is for new fingerprints, the others came with former ledgers."""

    record: LoginRecord
    salts: tuple[str, ...]

    @classmethod
    def new(cls) -> Stored:
        """Return an empty ledger. It knows no password that worked, so the next one is sent at most once."""
        return cls(LoginRecord(), (secrets.token_hex(16),))

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Stored:
        """Return the content of a file; raise one of DAMAGE for a damaged one."""
        salts = (raw["salt"], *raw.get("former_salts", []))
        for salt in salts:
            bytes.fromhex(salt)
        return cls(_record_from(raw), salts)

    def to_json(self) -> dict[str, Any]:
        """Return what to write."""
        return {"salt": self.salts[0], "former_salts": list(self.salts[1:]), **to_builtins(self.record)}

    def with_former(self, former: Stored) -> Stored:
        """Return the ledger with what only a former one of the same account holds."""
        record = joined(self.record, former.record)
        return self if record is self.record else Stored(record, tuple(dict.fromkeys((*self.salts, *former.salts))))

    def note(self, account: str) -> dict[str, Any]:
        """Return this profile's ledger as a note that ``account``'s ledger counts now, for earlier versions a lock."""
        locked = replace(self.record, locked_reason=self.record.locked_reason or MOVED)
        return {**replace(self, record=locked).to_json(), "account": account}


DAMAGE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What the content of a damaged file raises."""


def noted_account(raw: dict[str, Any] | None) -> str | None:
    """Return the account in a profile's note; None for a ledger that an earlier version wrote."""
    account = (raw or {}).get("account")
    return account if isinstance(account, str) and account.isalnum() else None


def former_from(raw: dict[str, Any]) -> Stored | None:
    """Return a profile's ledger of before, None if it is a note; raise one of DAMAGE."""
    if noted_account(raw) is not None:
        return None
    former = Stored.from_json(raw)
    is_moved = former.record.locked_reason == MOVED
    return replace(former, record=replace(former.record, locked_reason=None)) if is_moved else former


def look_at(file: Path) -> dict[str, Any] | None:
    """Return the object in a file without changing it; None if it is missing or damaged."""
    try:
        return look_at_json(file)[0]
    except OSError:
        return None


def _time_from(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)


def _uptime_from(value: object) -> Uptime | None:
    match value:
        case {"boot": str() as boot, "up_s": int() | float() as up_s}:
            return Uptime(boot, _time_from(up_s))
        case _:
            return None


def _text_from(value: object) -> str | None:
    return None if value is None else str(value)


def _record_from(raw: dict[str, Any]) -> LoginRecord:
    return LoginRecord(
        submits=tuple(
            Submit(
                _time_from(entry["at_s"]),
                str(entry["print"]),
                # An unknown outcome counts as refused.
                entry["outcome"] if entry["outcome"] in OUTCOMES else None,
                _uptime_from(entry.get("uptime")),
            )
            for entry in raw["submits"]
        ),
        worked_print=_text_from(raw["worked_print"]),
        refused_print=_text_from(raw["refused_print"]),
        locked_reason=_text_from(raw["locked_reason"]),
        block=Block(**{name: str(value) for name, value in raw["block"].items()}) if raw["block"] else None,
    )
