"""The faults of the fake IBKR, as two tables; docs/sandbox.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gwctl.errors import Usage


@dataclass(frozen=True, slots=True)
class Entry:
    """One scenario or action: a sentence for the reader, and its parameters with their defaults."""

    summary: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


TEMPERS: Final = ("swallows", "stays", "clears", "reloads")
"""What a temperamental login page does with the form: ignores it, or one of the others after its POST's answer."""

SCENARIOS: Final[Mapping[str, Entry]] = {
    "http_503": Entry("Every answer is 503 without a body.", {"paths": "all"}),
    "html_503": Entry("Every answer is 503 with IBKR's HTML maintenance page.", {"paths": "all"}),
    "http_error": Entry(
        "Every answer has this status, with a JSON error or an HTML page.",
        {"paths": "all", "status": 500, "html": False},
    ),
    "hang": Entry("Requests are accepted and get no answer until this is switched off.", {"paths": "all"}),
    "slow": Entry("Every answer comes late.", {"paths": "all", "delay_ms": 2000}),
    "bad_json": Entry("API answers are 200 with a body that is not JSON.", {"paths": "api"}),
    "wrong_types": Entry("API answers are 200 with JSON in which every field has a wrong type.", {"paths": "api"}),
    "huge": Entry(
        "Answers on paths with this ending are 200 with a JSON string of this many megabytes.",
        {"path": "/sso/validate", "megabytes": 300},
    ),
    "http_429": Entry("Every answer is 429: too many requests from this address.", {"paths": "api"}),
    "competing": Entry(
        "Another client uses the brokerage session; `compete: true` takes it back if `take_over` is true.",
        {"take_over": True, "authenticated": True, "client_app": "TWS"},
    ),
    "borrowed": Entry(
        "Another client holds the session: not authenticated, not competing, and renewed, until a new gateway comes.",
        {"client_app": "MobileTWS"},
    ),
    "temperamental": Entry(
        "A gateway's login page does nothing with the form until its demo page's script has called the API: `how` is "
        "`swallows` (nothing is sent), or, once the POST is answered, `stays`, `clears` or `reloads`.",
        {"how": "swallows"},
    ),
    "wrong_password": Entry("IBKR refuses the right password, with its usual text."),
    "login_error": Entry("Every submit is answered with this text.", {"text": "Authentication failed"}),
    "form_again": Entry("Every submit is answered with the empty form, without any text."),
    "login_spins": Entry("A submit is accepted and the page waits without end."),
    "login_never_authenticates": Entry("The login succeeds, but `sso/validate` is 401 and no session opens."),
    "ill_after_login": Entry(
        "After each login, every API answer has this status without a body, for this many seconds.",
        {"for_s": 16, "status": 503},
    ),
    "brokerage_refused": Entry(
        "`ssodh/init` is refused with this status and text, and auth/status has the text as its `message`.",
        {"status": 500, "text": "Failed to connect to the trading server"},
    ),
    "flat_tickle": Entry("A tickle has the fields of auth/status at the top level, and no `iserver`."),
    "method_refused": Entry(
        "Tickle and auth/status refuse one method (`POST` or `GET`) with this status.",
        {"method": "POST", "status": 405},
    ),
    "maintenance_banner": Entry(
        "The login page shows IBKR's banner and no form.", {"text": "System maintenance is in progress."}
    ),
    "login_page": Entry(
        "The login page looks or behaves differently; a parameter left null stays as configured.",
        {
            "variant": None,
            "form_delay_ms": None,
            "form_never": None,
            "cookie_dialog": None,
            "cookie_dialog_returns": None,
            "toggle": None,
            "toggle_clears": None,
            "two_step": None,
            "form_on_load": None,
        },
    ),
    "second_factor": Entry(
        "A right password leads to this second factor, regardless of the account's own.",
        {
            "kind": "app",
            "code": "135790",
            "challenge": "482 913",
            "response": "24681357",
            "devices": (("5.2a", "IB Key"), ("4", "Mobile Authenticator App"), ("4.2", "SMS")),
            "choice_needs_button": False,
            "approve": "approved",
            "approve_after_ms": 300,
            "offer": False,
            "remembered": False,
        },
    ),
}

ACTIONS: Final[Mapping[str, Entry]] = {
    "drop_session": Entry("SSO and brokerage session are gone: the next API call is 401."),
    "drop_brokerage": Entry(
        "The brokerage session is gone, SSO lives; `how` is `no_bridge` (400 on /iserver) or `unauthenticated`.",
        {"how": "no_bridge"},
    ),
    "restore_brokerage": Entry("The brokerage session is authenticated again, as if IBKR had recovered by itself."),
    "refuse": Entry("The port is closed for this many seconds: connections are refused, open ones end.", {"for_s": 5}),
    "unlock": Entry("The account's refusals are forgotten and it is no longer locked."),
    "arm": Entry("Every gateway counts as freshly started (for `temperamental`)."),
    "reset": Entry("All scenarios off, all sessions gone, all counts at zero."),
}


def known(table: Mapping[str, Entry], kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of ``name``: the defaults, updated with ``given``.

    Raises Usage for a name or parameter that is not in ``table``; its hint lists the known ones.
    """
    entry = table.get(name)
    if entry is None:
        raise Usage(f"unknown {kind} {name!r}", hint=f"known: {', '.join(table)}")
    unknown = [key for key in given if key not in entry.parameters]
    if unknown:
        raise Usage(
            f"{kind} {name} has no parameter {unknown[0]!r}",
            hint=f"it takes: {', '.join(entry.parameters) or 'none'}",
        )
    return {**entry.parameters, **given}
