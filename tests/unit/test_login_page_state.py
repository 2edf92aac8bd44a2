from __future__ import annotations

import json
from typing import Any

import pytest

from gwctl.login.browser_reports import first_line
from gwctl.login.outcome import LoginOutcome
from gwctl.login.page_state import PageState, Patience, Submitted, Traffic
from gwctl.login.verdict import Asked, Ended, Now, judge
from gwctl.setting_values import Element

FORM = {"username": "#u", "password": "#p", "submit": "#s"}
FILLED = PageState(FORM, page="one", form=1, username_filled=True, password_filled=True)
PATIENCE = Patience()


def verdict(
    look: PageState, *, posts: int = 1, waiting: int = 0, unchanged_s: float = 9.0, after_s: float = 1.0, **more: Any
) -> Any:
    """Judge ``look`` some time after a submit of the filled form."""
    submitted = Submitted(more.pop("before", FILLED), Traffic(), answered=more.pop("answered", None))
    traffic = Traffic(posts=posts, waiting=waiting, **more)
    return judge(Now(look, traffic, after_s, unchanged_s), submitted, PATIENCE)


def form(**changes: Any) -> PageState:
    """Return the form on the page, with changes."""
    values = {name: getattr(FILLED, name) for name in PageState.__slots__} | changes
    return PageState(**values)


def error(text: str) -> PageState:
    return form(visible={**FORM, "error": "#e"}, error=text)


def test_success_is_a_text() -> None:
    """The gateway's own words mean success, next to anything else."""
    assert verdict(PageState({}, page="two", success=True), waiting=1) == Ended(LoginOutcome.SUCCESS)


def test_nothing_is_decided_while_an_answer_is_on_its_way() -> None:
    """A form that is still filled, or emptied while a POST waits, decides nothing yet."""
    assert verdict(form(), waiting=1) is None
    assert verdict(form(password_filled=False), waiting=1) is None
    assert verdict(form(password_filled=False), unchanged_s=0.1) is None


def test_an_error_text_ends_it() -> None:
    """A visible error is classified, and its text kept."""
    text = "Invalid username password combination"
    assert verdict(error(text)) == Ended(LoginOutcome.REFUSED, text)


def test_an_old_error_speaks_only_after_the_answer() -> None:
    """A text from before the submit is not taken for its answer."""
    old = error("Invalid security code")
    assert verdict(old, before=old, waiting=1) is None
    assert verdict(old, before=old, posts=0) is None
    assert verdict(old, before=old).outcome is LoginOutcome.SECOND_FACTOR_REFUSED


def test_an_error_block_that_stays_empty_is_unclear() -> None:
    """An error without a text counts, but only once it stays."""
    assert verdict(error(""), unchanged_s=0.1) is None
    assert verdict(error("")) == Ended(LoginOutcome.UNCLEAR)


def test_an_unknown_text_without_a_post_is_not_ibkrs() -> None:
    """If the page shows an error by itself and the password was never sent, the page ignored the form."""
    assert verdict(error("Please wait"), posts=0) is None
    assert verdict(error("Please wait"), posts=0, after_s=PATIENCE.swallowed_s).outcome is LoginOutcome.SWALLOWED
    assert verdict(error("Please wait"), posts=1).outcome is LoginOutcome.UNKNOWN_TEXT


@pytest.mark.parametrize("changes", [{"page": "two"}, {"form": 2}, {"password_filled": False}])
def test_the_form_again_after_a_post_is_a_refusal(changes: dict[str, Any]) -> None:
    """A new page, or a rebuilt or emptied form, after the password was sent is a refusal without a text."""
    assert verdict(form(**changes)) == Ended(LoginOutcome.FORM_AGAIN, is_mute=True)


@pytest.mark.parametrize("changes", [{"page": "two"}, {"form": 2}, {"password_filled": False}])
def test_the_form_again_without_a_post_was_swallowed(changes: dict[str, Any]) -> None:
    """The same without a request is no refusal."""
    assert verdict(form(**changes), posts=0) == Ended(LoginOutcome.SWALLOWED)


def test_a_form_that_does_nothing_was_swallowed() -> None:
    """The page ignored a filled form if it sends nothing for some seconds; a form that was sent keeps waiting."""
    assert verdict(form(), posts=0, after_s=1.0) is None
    assert verdict(form(), posts=0, after_s=PATIENCE.swallowed_s) == Ended(LoginOutcome.SWALLOWED)
    assert verdict(form(), posts=1, after_s=30.0) is None


def test_ibkrs_illness_is_no_refusal() -> None:
    """A 5xx document or a new banner is trouble at IBKR."""
    assert verdict(PageState({}, page="two"), document_status=503).outcome is LoginOutcome.UPSTREAM_ILL
    banner = form(visible={**FORM, "maintenance": ".gstat"}, banner="System maintenance")
    assert verdict(banner) == Ended(LoginOutcome.UPSTREAM_ILL, "System maintenance")
    assert verdict(banner, before=banner) is None


@pytest.mark.parametrize(
    "element",
    [Element.CODE_APP, Element.DEVICE_CHOICE, Element.PUSH, Element.PASSKEY, Element.CODE_EMAIL, Element.OFFER],
)
def test_a_visible_panel_is_a_question(element: Element) -> None:
    """Each panel of the second factor is a separate question."""
    asked = verdict(PageState({element.value: "#x"}, page="one"))
    assert isinstance(asked, Asked)
    assert asked.element is element


def test_a_code_asked_for_again_was_refused() -> None:
    """After a code, an empty field without a text is a refused code; a filled one is still waiting."""
    panel = {"code_app": "#c"}
    before = PageState(panel, page="one", code_filled=True)
    assert verdict(before, before=before, answered=Element.CODE_APP) is None
    again = PageState(panel, page="one")
    assert verdict(again, before=before, answered=Element.CODE_APP).outcome is LoginOutcome.SECOND_FACTOR_REFUSED


def test_a_look_goes_back_into_the_page_as_the_page_wrote_it() -> None:
    """The look's JSON equals the page's own JSON.stringify, or waiting for a change would never wait."""
    text = '{"visible":{"error":"#é"},"page":"one","form":0,"error":"ü „x“","collected":null}'
    look = PageState.from_script(json.loads(text))
    assert (look.error, look.raw) == ("ü „x“", text)


def test_playwrights_messages_are_cut_to_their_point() -> None:
    """An error of the browser is one line without the name of a call."""
    assert first_line(ValueError("Page.goto: net::ERR_X at https://h/\nCall log:\n - x")) == "net::ERR_X at https://h/"
    assert first_line(ValueError("")) == "ValueError"
