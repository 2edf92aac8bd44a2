"""What the fake IBKR asks for after the right password; the parameters of ``second_factor``, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from gwctl.errors import Usage
from gwctl.sandbox.scenarios import SCENARIOS

Kind = Literal[
    "none", "app", "sms", "temporary", "email", "card", "challenge", "push", "choice", "channel", "passkey",
    "email_check",
]  # fmt: skip
Approve = Literal["approved", "never", "denied", "second"]
Offer = Literal["enablepush", "ibkey", "promo"]

STEP_OF_KIND: Final[Mapping[Kind, str]] = {
    "app": "silver",
    "sms": "silver",
    "temporary": "temp",
    "email": "temp",
    "card": "bronze",
    "challenge": "gold",
    "push": "push",
    "choice": "choice",
    "channel": "channel",
    "passkey": "fido",
    "email_check": "email",
}
"""The panels of the page (and the rounds of its protocol) by their questions."""
KIND_OF_DEVICE: Final[Mapping[str, Kind]] = {"5.2a": "push", "5.2i": "push", "4": "app"}
LONGEST_APPROVAL_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """One second factor with its right answers; ``approve`` says what happens to a push."""

    kind: Kind
    code: str
    challenge: str
    response: str
    devices: tuple[tuple[str, str], ...]
    choice_needs_button: bool
    approve: Approve
    approve_after_ms: float
    offer: Offer | None
    remembered: bool

    @classmethod
    def from_parameters(cls, given: Mapping[str, Any]) -> SecondFactor:
        """Return the second factor that the scenario's parameters describe; raise Usage for an invalid value."""
        return cls(
            kind=_one_of("kind", given["kind"], get_args(Kind)),
            code=_text("code", given["code"]),
            challenge=_text("challenge", given["challenge"]),
            response=_text("response", given["response"]),
            devices=_devices(given["devices"]),
            choice_needs_button=_yes_or_no("choice_needs_button", given["choice_needs_button"]),
            approve=_one_of("approve", given["approve"], get_args(Approve)),
            approve_after_ms=_milliseconds("approve_after_ms", given["approve_after_ms"]),
            offer=None
            if given["offer"] in (False, None)
            else _one_of("offer", given["offer"], get_args(Offer), "false"),
            remembered=_yes_or_no("remembered", given["remembered"]),
        )

    @classmethod
    def of_kind(cls, kind: Kind) -> SecondFactor:
        """Return the second factor of this kind with its defaults."""
        return cls.from_parameters({**SCENARIOS["second_factor"].parameters, "kind": kind})

    def asks(self, kind: Kind) -> dict[str, Any]:
        """Return the answer that makes the page show the step of ``kind``, with the step's content."""
        answer: dict[str, Any] = {"step": STEP_OF_KIND[kind]}
        if kind == "challenge":
            answer["challenge"] = self.challenge
        if kind == "choice":
            answer |= {"devices": self.devices, "needs_button": self.choice_needs_button}
        return answer

    def kind_of_device(self, device: str) -> Kind | None:
        """Return the step that the choice of this device leads to, or None for a device that was not offered."""
        if device not in [value for value, _label in self.devices]:
            return None
        return KIND_OF_DEVICE.get(device, "sms")

    def approves(self, sent_ago_s: float, resends: int) -> bool | None:
        """Return the result of a push sent ``sent_ago_s`` ago: approved, denied, or None for no answer yet."""
        if self.approve == "never" or sent_ago_s * 1000 < self.approve_after_ms:
            return None
        if self.approve == "second" and resends == 0:
            return None
        return self.approve != "denied"


def _one_of(name: str, value: object, known: tuple[Any, ...], *more: str) -> Any:  # noqa: ANN401 - one of `known`
    if value not in known:
        raise Usage(f"{name} cannot be {value!r}", hint=f"one of: {', '.join((*more, *known))}")
    return value


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise Usage(f"{name} cannot be {value!r}", hint="a text or a number that is not empty")
    return str(value)


def _yes_or_no(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Usage(f"{name} cannot be {value!r}", hint="true or false")
    return value


def _milliseconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_APPROVAL_MS:
        raise Usage(f"{name} cannot be {value!r}", hint=f"milliseconds, {LONGEST_APPROVAL_MS} at most")
    return value


def _devices(value: object) -> tuple[tuple[str, str], ...]:
    pairs = [_pair(item) for item in value] if isinstance(value, list | tuple) else []
    if not pairs:
        raise Usage(f"devices cannot be {value!r}", hint='a list of pairs: [["4", "Mobile Authenticator App"]]')
    return tuple(pairs)


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Usage(f"devices cannot contain {value!r}", hint='each is a pair: ["4", "Mobile Authenticator App"]')
    return _text("devices", value[0]), _text("devices", value[1])
