"""What each version of IBKR's login page looks like, as data; a profile may override any element.

Selectors are CSS, in the order in which they are tried; the first with a VISIBLE match counts, because every panel of
every step is in the page, hidden. Source: the facts about the login page (captures of 2023 to 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from gwctl.setting_values import Element

Selectors = Mapping[Element, tuple[str, ...]]


class PageVersion(Struct, frozen=True):
    """One version of the page: its elements' alternatives; the username field identifies the version."""

    name: str
    elements: Selectors

    def selectors(self, element: Element) -> tuple[str, ...]:
        """Return the alternatives for ``element``, none if this version does not have it."""
        return self.elements.get(element, ())


_COMMON: Selectors = {
    Element.COOKIE_BUTTON: ("#gdpr-reject-all", "#btn_accept_cookies"),
    Element.COOKIE_COVER: ("#cookie-modal", ".modal-backdrop"),
    Element.MAINTENANCE: (".gstat",),
    Element.EMAIL_CHECK: ("input[name=email-code]",),
    Element.PASSKEY: ("form.xyzform-fido",),
    Element.QR_CODE: (".xyzblock-qrcode",),
    Element.CODE: tuple(
        f"input{known}:not([type=password], [type=hidden], [name=username], [name=user_name])"
        for known in ("[autocomplete=one-time-code]", "[placeholder*=code i]", "[inputmode=numeric]")
    ),
}

ERRORS_ANYWHERE = (".is-invalid ~ .invalid-feedback", "[role=alert]", ".alert-danger")
"""More places for errors, in addition to those of each version (captures of 2026)."""

CURRENT = PageVersion(
    "current",
    {
        **_COMMON,
        Element.USERNAME: ("#xyz-field-username", "[name=username]"),
        Element.USERNAME_SUBMIT: (".xyzblock-username-submit button",),
        Element.PASSWORD: ("#xyz-field-password", "[name=password]"),
        Element.SUBMIT: (
            ".xyz-button-login",
            ".xyzblock-password-submit button",
            "form.xyzform-username [type=submit]",
        ),
        Element.PAPER_SWITCH: ("input#toggle1[name=paperSwitch]", "input[name=paperSwitch]"),
        Element.PAPER_LABEL: ("label[for=toggle1]",),
        Element.ERROR: (".xyzblock-error .xyz-errormessage", ".xyz-errormessage", *ERRORS_ANYWHERE),
        Element.CODE_APP: ("#xyz-field-silver-response",),
        Element.CODE_TEMPORARY: ("#xyz-field-temp-response",),
        Element.CODE_CARD: ("#xyz-field-bronze-response",),
        Element.CHALLENGE: ("#xyz-field-gold-response",),
        Element.CHALLENGE_TEXT: (".xyz-goldchallenge",),
        Element.SHOW_CHALLENGE: (".xyz-showchallenge",),
        Element.CHANNEL_CHOICE: (".xyzblock-otpselector",),
        Element.CHANNEL_TEXT: (".xyz-otp-select-text",),
        Element.CHANNEL_EMAIL: (".xyz-otp-select-email",),
        Element.CHANNEL_VOICE: (".xyz-otp-select-voice",),
        Element.DEVICE_CHOICE: (
            ".xyzblock-multiplesf select.xyz-multipleselect",
            "select.xyz-multipleselect",
            ".xyzblock-multiplesf",
        ),
        Element.PUSH: (".xyzblock-notification", ".xyz-resendnotification"),
        Element.PUSH_RESEND: (".xyz-resendnotification",),
        Element.CODE_RESEND: (".xyz-resend-sms-button",),
        Element.OFFER: (".xyzblock-enablepush", ".xyzblock-ibkey"),
    },
)

LEGACY = PageVersion(
    "legacy",
    {
        **_COMMON,
        Element.USERNAME: ("[name=user_name]",),
        Element.PASSWORD: ("[name=password]",),
        Element.SUBMIT: ("#submitForm",),
        Element.PAPER_SWITCH: ("#paperSwitch",),
        Element.PAPER_LABEL: ("label[for=paperSwitch]",),
        Element.ERROR: (".alert.alert-danger.margin-top-10", "#ERRORMSG", *ERRORS_ANYWHERE),
        Element.CODE_APP: ("#twofactbase #chlginput", "#chlginput"),
        Element.DEVICE_CHOICE: ("#sf_select",),
        Element.PUSH: (".login-step-notification",),
        Element.OFFER_SKIP: (".ibkey-promo-skip",),
    },
)

VERSIONS: tuple[PageVersion, ...] = (CURRENT, LEGACY)

CODE_FIELDS = (
    Element.CODE_APP,
    Element.CODE_TEMPORARY,
    Element.CODE_EMAIL,
    Element.CODE_CARD,
    Element.CHALLENGE,
    Element.EMAIL_CHECK,
    Element.CODE,
)
"""The fields for a code; only generic features identify the last one."""

CHANNELS = (Element.CHANNEL_TEXT, Element.CHANNEL_EMAIL, Element.CHANNEL_VOICE)
"""The ways to send a code, the preferred one first."""


class Device(Struct, frozen=True):
    """A device in the list of second factors, by its option's values, otherwise by a pattern for its label.

    The labels differ in case (login-page facts).
    """

    values: tuple[str, ...]
    label: str

    def is_option(self, value: str, label: str) -> bool:
        """Say whether an option of the list is this device."""
        return value in self.values or re.search(self.label, label, re.IGNORECASE) is not None


AUTHENTICATOR_APP = Device(("4",), r"authenticator app|mobile auth|totp")
IB_KEY = Device(("5.2a", "5.2i"), r"ib ?key")
SMS = Device(("4.2",), r"\bsms\b|text message")
PASSKEY = Device((), r"pass ?key|security key|webauthn|fido")
SKIP_TEXT = r"^\s*(not now|skip( verification)?|(maybe )?later|no,? thanks?|remind me later|continue without.*)\s*$"
"""The labels of the button that skips an offer, or a check of the e-mail address."""
ANOTHER_WAY_TEXT = (
    r"^\s*((try|use|choose|select) )?(another|a different|other) (way|method|device|option|second factor)s?\b"
)
"""The labels of the link from a passkey to another second factor."""


def named_device(name: str) -> Device:
    """Return the device that a profile names, by its option's value or by part of its label."""
    return Device((name,), re.escape(name))


def merged(versions: tuple[PageVersion, ...], overrides: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return for each element all alternatives in order: a profile's own if it has some, else every version's."""
    everything: dict[str, list[str]] = {}
    for element in Element:
        alternatives = list(overrides.get(element.value, ()))
        if not alternatives:
            for version in versions:
                alternatives.extend(s for s in version.selectors(element) if s not in alternatives)
        everything[element.value] = alternatives
    return everything


def version_of(selector: str, *, username_alone: bool) -> str:
    """Return the name of the version whose username field ``selector`` found; ``custom`` for a profile's override."""
    for version in VERSIONS:
        if selector in version.selectors(Element.USERNAME):
            return "two_step" if version is CURRENT and username_alone else version.name
    return "custom"


def describe_search(selectors: Mapping[str, list[str]]) -> str:
    """Return one line with everything that was looked for, for the error about an unknown page."""
    wanted = (Element.USERNAME, Element.PASSWORD, Element.SUBMIT)
    return "; ".join(f"{element.value}: {', '.join(selectors[element.value])}" for element in wanted)
