from __future__ import annotations

from gwctl.login.selectors import CURRENT, LEGACY, VERSIONS, describe_search, merged, version_of
from gwctl.setting_values import Element


def test_every_version_has_what_a_login_needs() -> None:
    """Each version of the page has a username, a password, a submit and an error."""
    for version in VERSIONS:
        for element in (Element.USERNAME, Element.PASSWORD, Element.SUBMIT, Element.ERROR):
            assert version.selectors(element), (version.name, element)


def test_the_current_page_is_looked_for_before_the_legacy_one() -> None:
    """Alternatives keep the versions' order, and none appears twice."""
    names = merged(VERSIONS, {})[Element.USERNAME]
    assert names == ["#xyz-field-username", "[name=username]", "[name=user_name]"]
    passwords = merged(VERSIONS, {})[Element.PASSWORD]
    assert len(passwords) == len(set(passwords))


def test_a_profile_may_replace_any_element() -> None:
    """An override is the only alternative of its element and leaves the others unchanged."""
    changed = merged(VERSIONS, {"submit": ["#go"]})
    assert changed[Element.SUBMIT] == ["#go"]
    assert changed[Element.USERNAME] == merged(VERSIONS, {})[Element.USERNAME]


def test_the_version_is_told_by_the_username_field() -> None:
    """Current, two-step, legacy and a profile's own are distinguished."""
    assert version_of(CURRENT.selectors(Element.USERNAME)[0], username_alone=False) == "current"
    assert version_of(CURRENT.selectors(Element.USERNAME)[0], username_alone=True) == "two_step"
    assert version_of(LEGACY.selectors(Element.USERNAME)[0], username_alone=False) == "legacy"
    assert version_of("#mine", username_alone=False) == "custom"


def test_the_error_about_an_unknown_page_names_what_was_looked_for() -> None:
    """A reader of the text can put the right selector into a profile."""
    text = describe_search(merged(VERSIONS, {}))
    for selector in ("#xyz-field-username", "[name=user_name]", "#submitForm"):
        assert selector in text
