"""The fake IBKR's login pages as served, read without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from sandbox_admin import read_state, set_scenario

from gwctl.errors import Usage
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.login_desk import proof_of
from gwctl.sandbox.settings import PAGE_VARIANTS, StandInConfig

TOKEN = "admin-token"
VOID = frozenset({"input", "meta", "br", "hr", "img", "link"})
# The elements that a login uses (table "Elements" in the login-page facts), and whether each is visible at first.
ELEMENTS = {
    "current": {
        "#xyz-field-username": True,
        "#xyz-field-password": True,
        ".xyzblock-username-submit": False,
        ".xyz-button-login": True,
        "#toggle1": True,
        "label[for=toggle1]": True,
        ".xyz-errormessage": False,
        "#xyz-field-silver-response": False,
        "#xyz-field-temp-response": False,
        "#xyz-field-bronze-response": False,
        "#xyz-field-gold-response": False,
        ".xyz-goldchallenge": False,
        ".xyz-multipleselect": False,
        ".xyzblock-notification": False,
        ".xyz-resendnotification": False,
        ".xyz-showchallenge": False,
        ".xyzblock-enablepush": False,
        ".xyzblock-ibkey": False,
        ".xyzform-fido": False,
        ".gstat": False,
    },
    "legacy": {
        "[name=user_name]": True,
        "[name=password]": True,
        "#submitForm": True,
        "#paperSwitch": True,
        "label[for=paperSwitch]": True,
        ".alert.alert-danger.margin-top-10": False,
        "#ERRORMSG": False,
        "#chlginput": False,
        "#twofactbase": False,
        "#sf_select": False,
        ".login-step-notification": False,
        ".ibkey-promo-skip": False,
        ".gstat": False,
    },
}


@dataclass
class Tag:
    """One element of a page: its attributes, and whether it or an element around it is hidden."""

    name: str
    attributes: dict[str, str | None]
    hidden: bool
    template: str | None

    def fits(self, selector: str) -> bool:
        name, _, rest = selector.partition("[")
        if rest:
            key, _, value = rest.rstrip("]").partition("=")
            return (not name or name == self.name) and self.attributes.get(key) == value
        if selector.startswith("#"):
            return self.attributes.get("id") == selector[1:]
        return set(selector.split(".")[1:]) <= set((self.attributes.get("class") or "").split())


@dataclass
class Reader(HTMLParser):
    """Reads a page into its tags."""

    tags: list[Tag] = field(default_factory=list)
    _open: list[Tag] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        around = self._open[-1] if self._open else None
        template = attributes.get("data-template") or (around.template if around else None)
        hidden = "hidden" in attributes or (around is not None and around.hidden)
        self.tags.append(Tag(tag, attributes, hidden, template))
        if tag not in VOID:
            self._open.append(self.tags[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().name == tag


def tags_of(text: str) -> list[Tag]:
    reader = Reader()
    reader.feed(text)
    assert reader._open == []
    return reader.tags


def flags_of(text: str) -> dict[str, Any]:
    line = next(line for line in text.splitlines() if line.startswith("const flags"))
    flags: dict[str, Any] = json.loads(line.removeprefix("const flags = ").rstrip(";"))
    return flags


@pytest.fixture
def ibkr() -> Iterator[RunningStandIn]:
    with serve_in_thread(StandInConfig(admin_token=TOKEN)) as running:
        yield running


@pytest.fixture
def web(ibkr: RunningStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ibkr.url, timeout=10.0, trust_env=False) as client:
        yield client


def served(ibkr: RunningStandIn, web: httpx.Client, variant: str, **options: Any) -> str:
    """Return the page of one variant; ``restricted`` is the page of the check by e-mail."""
    if variant == "restricted":
        return web.get("/sso/restricted/").text
    set_scenario(ibkr.url, TOKEN, "login_page", params={"variant": variant, **options})
    return web.get("/sso/Login?forwardTo=22&RL=1&ip2loc=US").text


@pytest.mark.parametrize("variant", PAGE_VARIANTS)
def test_every_panel_is_there_and_only_the_form_is_to_be_seen(
    ibkr: RunningStandIn, web: httpx.Client, variant: str
) -> None:
    """All elements of IBKR's page are in the page from the start, hidden except those of the first step."""
    tags = tags_of(served(ibkr, web, variant))
    for selector, at_first in ELEMENTS[variant].items():
        found = [tag for tag in tags if tag.fits(selector)]
        assert found, selector
        assert any(not tag.hidden for tag in found) is at_first, selector


@pytest.mark.parametrize("variant", [*PAGE_VARIANTS, "restricted"])
def test_a_page_is_whole_and_its_own(ibkr: RunningStandIn, web: httpx.Client, variant: str) -> None:
    """No address of another host, no input outside a template, no id twice, no unfilled placeholder."""
    text = served(ibkr, web, variant)
    tags = tags_of(text)
    assert "//" not in text.replace("// ", "")
    assert "@@" not in text
    assert [tag for tag in tags if tag.name == "input"]
    assert not [tag for tag in tags if tag.name in ("input", "select", "form") and tag.template is None]
    ids = [tag.attributes["id"] for tag in tags if "id" in tag.attributes]
    assert len(ids) == len(set(ids))
    assert not [tag for tag in tags if "src" in tag.attributes or tag.name == "link"]


def test_the_pages_share_one_script(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """The pages differ only in their looks: their behavior is the same text in each."""
    scripts = {
        variant: served(ibkr, web, variant).partition("<script>")[2].partition("const POLL_MS")[2]
        for variant in (*PAGE_VARIANTS, "restricted")
    }
    assert len(set(scripts.values())) == 1
    assert "sendPassword" in scripts["legacy"]


@pytest.mark.parametrize("variant", PAGE_VARIANTS)
def test_the_flags_reach_each_page(ibkr: RunningStandIn, web: httpx.Client, variant: str) -> None:
    """Temperament, banner and the page's flags are in both variants."""
    set_scenario(ibkr.url, TOKEN, "temperamental")
    set_scenario(ibkr.url, TOKEN, "maintenance_banner", params={"text": "down"})
    flags = flags_of(served(ibkr, web, variant, toggle=False, form_delay_ms=10_000))
    assert (flags["swallow"], flags["banner"], flags["toggle"], flags["form_delay_ms"]) == (True, "down", False, 10_000)


@pytest.mark.parametrize("variant", PAGE_VARIANTS)
def test_the_form_comes_after_one_reload(ibkr: RunningStandIn, web: httpx.Client, variant: str) -> None:
    """With form_on_load 2, the first page that a gateway loads never gets a form, the second does; for each gateway."""
    assert flags_of(served(ibkr, web, variant, form_on_load=2))["form_never"] is True
    assert flags_of(web.get("/sso/Login").text)["form_never"] is False
    with httpx.Client(base_url=ibkr.url, trust_env=False) as other:
        assert flags_of(other.get("/sso/Login").text)["form_never"] is True


def test_a_page_that_there_is_not_is_404_with_those_there_are(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """A wrong variant or second factor is refused when it is set, and the login page is still served."""
    with pytest.raises(Usage) as page:
        set_scenario(ibkr.url, TOKEN, "login_page", params={"variant": "modern"})
    assert "legacy" in (page.value.hint or "")
    with pytest.raises(Usage) as factor:
        set_scenario(ibkr.url, TOKEN, "second_factor", params={"kind": "telex"})
    assert "challenge" in (factor.value.hint or "")
    assert web.get("/sso/Login").status_code == 200


def test_a_second_factor_over_http(ibkr: RunningStandIn, web: httpx.Client) -> None:
    """Choice, push, resend, offer and success are rounds of the Authenticator; the cookies come with the last."""
    set_scenario(
        ibkr.url,
        TOKEN,
        "second_factor",
        params={"kind": "choice", "approve": "second", "approve_after_ms": 0, "offer": "enablepush"},
    )

    def send(**fields: str) -> dict[str, Any]:
        answer: dict[str, Any] = web.post("/sso/Authenticator", data=fields).json()
        return answer

    init = send(ACTION="INIT", USER="sandbox", MODE="paper")
    auth = {"AUTH_ID": init["auth_id"]}
    asked = send(ACTION="COMPLETEAUTH", **auth, PROOF=proof_of("sandbox", init["nonce"]))
    assert asked["devices"] == [["5.2a", "IB Key"], ["4", "Mobile Authenticator App"], ["4.2", "SMS"]]
    assert send(ACTION="CHOICE", **auth, DEVICE="5.2a") == {"step": "push"}
    assert send(ACTION="PUSH", **auth) == {"pending": True}
    assert send(ACTION="RESEND", **auth) == {"pending": True}
    assert send(ACTION="PUSH", **auth) == {"step": "enablepush"}
    assert set(send(ACTION="SKIP", **auth)["cookies"]) == {"XYZAB", "XYZAB_AM.LOGIN", "USERID"}
    login = read_state(ibkr.url, TOKEN)["login"]
    assert [submit["outcome"] for submit in login["submits"]] == ["second_factor_asked", "offer", "success"]
    assert login["resends"] == 1
