"""One login as its parent orders it and its worker does it; the secrets stay ``Secret`` until they are typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from gwctl.credentials import Secret
from gwctl.login.codes import Method
from gwctl.login.page_state import Patience

Mode = Literal["paper", "live"]
NO_PASSWORD = Secret("")


@dataclass(frozen=True, slots=True)
class LoginJob:
    """One login, or a visit without a submit; durations in seconds.

    ``totp_used_window`` is the last report's ``totp_window``. Only a password that ``has_worked`` may be sent again
    after a page that did nothing. A ``visit`` needs neither username nor password.
    """

    base_url: str
    username: str = field(repr=False)
    password: Secret = NO_PASSWORD
    mode: Mode = "paper"
    totp_secret: Secret | None = None
    totp_used_window: int | None = None
    method: Method = Method.AUTO
    device: str | None = None
    pages: Mapping[str, list[str]] = field(default_factory=dict)
    first_after_start: bool = False
    has_worked: bool = False
    page_path: str = "/"
    visit: Literal["probe", "by_hand"] | None = None
    deadline_s: float = 150.0
    evidence_dir: Path | None = None
    patience: Patience = field(default_factory=Patience)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not appear in anything we keep."""
        totp_secret = self.totp_secret.reveal() if self.totp_secret is not None else ""
        return tuple(secret for secret in (self.password.reveal(), totp_secret, self.username) if secret)

    def to_json(self) -> dict[str, Any]:
        """Return the job for the pipe to the worker; it contains the secrets."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"password": self.password.reveal(), "pages": dict(self.pages), "patience": asdict(self.patience)}
        values["totp_secret"] = None if self.totp_secret is None else self.totp_secret.reveal()
        values["evidence_dir"] = None if self.evidence_dir is None else str(self.evidence_dir)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoginJob:
        """Return the job that ``to_json`` wrote."""
        known: dict[str, Any] = {one.name: values[one.name] for one in fields(cls)}
        known |= {"password": Secret(known["password"]), "method": Method(known["method"])}
        known["totp_secret"] = None if known["totp_secret"] is None else Secret(known["totp_secret"])
        known["evidence_dir"] = Path(known["evidence_dir"]) if known["evidence_dir"] else None
        return cls(**{**known, "patience": Patience(**known["patience"])})
