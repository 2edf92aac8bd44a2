"""The fake IBKR's settings: its account, its login page, its scenarios; the fixtures' location; the sandbox release."""

from __future__ import annotations

import dataclasses
import importlib.resources
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from gwctl.errors import Configuration, ReleaseBroken, Usage
from gwctl.known_words import suggestion
from gwctl.state_file import write_bytes


def fixture(name: str) -> Path:
    """Return the path of ``fixtures/NAME``; raise ReleaseBroken if gwctl was installed without it."""
    packaged = Path(str(importlib.resources.files("gwctl.sandbox"))) / "fixtures" / name
    if packaged.exists():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "fixtures" / name
    if checkout.exists():
        return checkout
    raise ReleaseBroken(f"gwctl was installed without its sandbox file {name}", hint="install gwctl again")


Mode = Literal["paper", "live"]

SANDBOX_USERNAME: Final = "sandbox"
SANDBOX_PASSWORD: Final = "sandbox"  # noqa: S105 - a test account: its password is public and opens nothing


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the fake IBKR; its secrets never show in a repr."""

    username: str = SANDBOX_USERNAME
    password: str = field(default=SANDBOX_PASSWORD, repr=False)
    mode: Mode = "paper"
    totp_secret: str | None = field(default=None, repr=False)

    @property
    def account_id(self) -> str:
        """The account's number: IBKR's paper accounts start with ``DU``, live ones with ``U``."""
        return "DU1234567" if self.mode == "paper" else "U1234567"

    @property
    def login_type(self) -> int:
        """The ``LOGIN_TYPE`` in ``sso/validate``: 2 is paper (IBKR's reference), 1 is live."""
        return 2 if self.mode == "paper" else 1

    @property
    def user_id(self) -> int:
        """IBKR's number for the user."""
        return 132329622


PAGE_VARIANTS: Final = ("current", "legacy")
"""IBKR's page since March 2023, and its predecessor."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How the login page looks and behaves: a file of ``fixtures/login`` and its flags.

    ``form_on_load`` is the number of the page load, counted per gateway, that first shows the form: 2 is after one
    reload.
    """

    variant: str = "current"
    form_delay_ms: int = 150
    form_never: bool = False
    cookie_dialog: bool = True
    cookie_dialog_returns: bool = False
    toggle: bool = True
    toggle_clears: bool = True
    two_step: bool = False
    form_on_load: int = 1

    def changed(self, overrides: dict[str, Any]) -> PageOptions:
        """Return these options with every override that is not None; raise Usage for an unknown page."""
        changed = dataclasses.replace(self, **{key: value for key, value in overrides.items() if value is not None})
        if changed.variant not in PAGE_VARIANTS:
            raise Usage(f"no login page is named {changed.variant!r}", hint=f"one of: {', '.join(PAGE_VARIANTS)}")
        if type(changed.form_on_load) is not int or changed.form_on_load < 1:
            raise Usage(f"form_on_load cannot be {changed.form_on_load!r}", hint="1 or more; 2 is after one reload")
        return changed


@dataclass(frozen=True, slots=True)
class StandInConfig:
    """The fake IBKR's configuration; ``admin_token`` opens ``/admin``, port 0 is any free port."""

    admin_token: str = field(repr=False)
    account: Account = field(default_factory=Account)
    port: int = 0
    page: PageOptions = field(default_factory=PageOptions)
    idle_timeout_s: float = 360.0
    heartbeat_s: float = 10.0
    locked_at_refusals: int = 10

    def to_json(self) -> dict[str, Any]:
        """Return the object for ``from_json``; it contains secrets."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StandInConfig:
        """Return the config from a JSON object; raise Configuration for anything unknown or missing."""
        if not isinstance(value, dict):
            raise Configuration("the sandbox's configuration is not a JSON object")
        try:
            parts = dict(value)
            if not parts.get("admin_token"):
                raise Configuration("the sandbox's configuration has no admin_token")
            if "account" in parts:
                parts["account"] = Account(**parts["account"])
            if "page" in parts:
                parts["page"] = PageOptions(**parts["page"]).changed({})
            return cls(**parts)
        except TypeError as error:
            # The text names only the key; values may be secrets.
            raise Configuration(f"the sandbox's configuration is invalid: {error}") from None
        except Usage as error:
            raise Configuration(error.message, hint=error.hint) from None


MARKER: Final = "gwctl-standin.json"
JAR: Final = "dist/gwctl-standin.jar"
# Packed into the jar as its __main__.py, not into the zip; under that name in an editable installation, pytest would
# treat it as one of our modules.
JAR_MAIN: Final = "dist/main.txt"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def build_standin_release(target_zip: Path) -> Path:
    """Write the sandbox release to ``target_zip``, the same bytes each time, and return it.

    Raises ReleaseBroken if gwctl was installed without its fixtures, DiskTrouble if the file cannot be written; after
    an error, an older file is unchanged.
    """
    root = fixture("release")
    contents = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    contents[JAR] = _zip({"__main__.py": contents.pop(JAR_MAIN)})
    write_bytes(target_zip, _zip(contents))
    return target_zip


def _zip(contents: dict[str, bytes]) -> bytes:
    """Return an archive without compression: its bytes would depend on zlib's version."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Entry:
    """One scenario or action: a sentence for the reader, its parameters with their defaults, their known values."""

    summary: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


TEMPERS: Final = ("swallows", "stays", "clears", "reloads")
"""What a temperamental login page does with the form: ignores it, or one of the others after its POST's answer."""

SECOND_FACTORS: Final = (
    *("none", "app", "sms", "temporary", "email", "card", "challenge", "push", "choice", "channel", "passkey"),
    "email_check",
)
PATHS: Final = {"paths": ("all", "api", "sso")}
_LARGEST: Final = {
    "s": (3600, "seconds"),
    "ms": (3_600_000, "milliseconds"),
    "seed": (1e9, "your choice"),
    "cash": (1e9, "dollars"),
}
"""By the end of the name. While connections are refused, for example, nobody can end that over HTTP."""

SCENARIOS: Final[Mapping[str, Entry]] = {
    "http_503": Entry("Every answer is 503 without a body.", {"paths": "all"}, PATHS),
    "html_503": Entry("Every answer is 503 with IBKR's HTML maintenance page.", {"paths": "all"}, PATHS),
    "http_error": Entry(
        "Every answer has this status, with a JSON error or an HTML page.",
        {"paths": "all", "status": 500, "html": False},
        PATHS,
    ),
    "hang": Entry("Requests are accepted and get no answer until this is switched off.", {"paths": "all"}, PATHS),
    "slow": Entry("Every answer comes late.", {"paths": "all", "delay_ms": 2000}, PATHS),
    "bad_json": Entry("API answers are 200 with a body that is not JSON.", {"paths": "api"}, PATHS),
    "wrong_types": Entry(
        "API answers are 200 with JSON in which every field has a wrong type.", {"paths": "api"}, PATHS
    ),
    "huge": Entry(
        "Answers on paths with this ending are 200 with a JSON string of this many megabytes.",
        {"path": "/sso/validate", "megabytes": 300},
    ),
    "http_429": Entry("Every answer is 429: too many requests from this address.", {"paths": "api"}, PATHS),
    "competing": Entry(
        "Another client uses the brokerage session; `compete: true` takes it back if `take_over` is true.",
        {"take_over": True, "authenticated": True, "client_app": "TWS"},
    ),
    "two_machines": Entry(
        "Logins do not end each other, as those of two machines; the last one to open the brokerage session has it."
    ),
    "borrowed": Entry(
        "Another client holds the session: not authenticated, not competing, and renewed, until a new gateway comes.",
        {"client_app": "MobileTWS"},
    ),
    "temperamental": Entry(
        "A gateway's login page does nothing with the form until its demo page's script has called the API: `how` is "
        "`swallows` (nothing is sent), or, once the POST is answered, `stays`, `clears` or `reloads`.",
        {"how": "swallows"},
        {"how": TEMPERS},
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
        {"method": ("POST", "GET")},
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
        {
            "kind": SECOND_FACTORS,
            "approve": ("approved", "never", "denied", "second"),
            "offer": (False, "enablepush", "ibkey", "promo"),
        },
    ),
}

ACTIONS: Final[Mapping[str, Entry]] = {
    "drop_session": Entry("SSO and brokerage session are gone: the next API call is 401."),
    "drop_brokerage": Entry(
        "The brokerage session is gone, SSO lives; `how` is `no_bridge` (400 on /iserver) or `unauthenticated`.",
        {"how": "no_bridge"},
        {"how": ("no_bridge", "unauthenticated")},
    ),
    "restore_brokerage": Entry("The brokerage session is authenticated again, as if IBKR had recovered by itself."),
    "refuse": Entry("The port is closed for this many seconds: connections are refused, open ones end.", {"for_s": 5}),
    "unlock": Entry("The account's refusals are forgotten and it is no longer locked."),
    "arm": Entry("Every gateway counts as freshly started (for `temperamental`)."),
    "reset_market": Entry(
        "No orders, no positions, this much cash in USD; prices begin again, and take the way of this seed.",
        {"seed": 1, "cash": 1_000_000},
    ),
    "reset": Entry("All scenarios off, all sessions gone, all counts at zero, the market as at the start."),
}


def known(table: Mapping[str, Entry], kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of ``name``: the defaults, updated with ``given``.

    Raises Usage for a name or parameter that is not in ``table``, and for a value that does not fit; its hint says what
    is known.
    """
    entry = table.get(name)
    if entry is None:
        raise Usage(f"unknown {kind} {name!r}", hint=suggestion(name, table))
    unknown = [key for key in given if key not in entry.parameters]
    if unknown:
        raise Usage(
            f"{kind} {name} has no parameter {unknown[0]!r}",
            hint=suggestion(unknown[0], entry.parameters, what="it takes"),
        )
    return {**entry.parameters, **{key: _checked(entry, key, value) for key, value in given.items()}}


def _checked(entry: Entry, key: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return ``value`` if it is one of the choices, or else of the default's type; raise Usage."""
    match entry.parameters[key]:
        case _ if key in entry.choices:
            shown = [one if isinstance(one, str) else json.dumps(one) for one in entry.choices[key]]
            fits, hint = value in entry.choices[key], suggestion(str(value), shown, what="one of")
        case bool():
            fits, hint = isinstance(value, bool), "true or false"
        case int() | float():
            most, unit = _LARGEST.get(key.rpartition("_")[2], (math.inf, "units"))
            fits, hint = type(value) in {int, float} and 0 <= value <= most, f"a number of {unit}, {most:.12g} at most"
        case str():
            fits, hint = type(value) in {str, int} and str(value).strip() != "", "a text or a number that is not empty"
            value = str(value)
        case tuple():
            pairs = isinstance(value, list | tuple) and all(isinstance(one, list | tuple) for one in value)
            fits, hint = pairs and {len(one) for one in value} == {2}, 'a list of pairs: [["4", "Mobile App"]]'
            value = tuple((str(one), str(other)) for one, other in value) if fits else ()
        case _:
            return value
    if not fits:
        raise Usage(f"{key} cannot be {value!r}", hint=hint)
    return value
