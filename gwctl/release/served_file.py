"""What a server says of a release's zip. By this a newer one is recognized: IBKR publishes no version number."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from gwctl import state_file
from gwctl.errors import GwctlError
from gwctl.setting_values import url_fault

_FILE = "served.json"


class ServedFile(Struct, frozen=True):
    """The file at an address, as its server describes it; None for what the server does not say."""

    url: str
    etag: str | None
    last_modified: str | None
    size_bytes: int | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], size_bytes: int | None) -> ServedFile:
        """Return what the headers of an answer say."""
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"), size_bytes)

    def is_newer_than(self, before: ServedFile) -> bool:
        """Return whether this is another and not an earlier file.

        The same ETag is the same file. Another one may come from another of the address's servers, so that it counts
        only if time or size differ, too, or if the servers say neither.
        """
        if None not in {self.etag, before.etag} and _plain(self.etag) == _plain(before.etag):
            return False
        pairs = [(self.last_modified, before.last_modified), (self.size_bytes, before.size_bytes)]
        known = [(now, then) for now, then in pairs if now is not None and then is not None]
        if not known:
            return self.etag is not None and before.etag is not None
        return any(now != then for now, then in known) and not _is_earlier(self.last_modified, before.last_modified)

    def to_json(self) -> dict[str, str | int | None]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> ServedFile | None:
        """Return what ``to_json`` gave, None for anything else and for an address that gwctl may not ask."""
        match value:
            case {
                "url": str(url),
                "etag": str() | None as etag,
                "last_modified": str() | None as last_modified,
                "size_bytes": int() | None as size_bytes,
            } if url_fault(url, loopback_allowed=True) is None:
                return cls(url, etag, last_modified, size_bytes)
            case _:
                return None

    def keep(self, entry: Path) -> None:
        """Record it beside a release; without the record, nobody asks for a newer one."""
        with contextlib.suppress(GwctlError):
            state_file.write_bytes(entry / _FILE, state_file.encoded(self.to_json()), mode=0o644)

    @classmethod
    def kept(cls, entry: Path) -> ServedFile | None:
        """Return what was recorded beside a release; None without a usable record."""
        with contextlib.suppress(OSError):
            return cls.from_json(state_file.look_at_json(entry / _FILE)[0])
        return None


def _plain(etag: str | None) -> str:
    return (etag or "").removeprefix("W/")


def _is_earlier(now: str | None, then: str | None) -> bool:
    """Return whether a server went back to an earlier file; False if the times are not known."""
    with contextlib.suppress(TypeError, ValueError, IndexError, OverflowError):  # whatever the server sent
        return parsedate_to_datetime(now or "") < parsedate_to_datetime(then or "")
    return False
