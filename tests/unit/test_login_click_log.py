"""Whether the page may have received a failed click, by Playwright's log of it (law 2). The logs are real."""

from __future__ import annotations

import pytest

from gwctl.login.browser_reports import was_on_its_way

FOUND = """Locator.click: Timeout 500ms exceeded.
Call log:
  - waiting for locator("#b").visible.first
    - locator resolved to <button id="b">Login</button>
"""
TRIED = (
    FOUND
    + """  - attempting click action
    - waiting for element to be visible, enabled and stable
    - element is visible, enabled and stable
    - scrolling into view if needed
    - done scrolling
"""
)
CLICKED = f"{TRIED}    - performing click action\n"
COVERED = "    - <div>Cookies!</div> intercepts pointer events\n  - retrying click action\n"


@pytest.mark.parametrize(
    "log",
    [
        CLICKED,
        f"{CLICKED}    - click action done\n    - waiting for scheduled navigations to finish\n",
        f"{TRIED}{COVERED}    - waiting 20ms\n    - done scrolling\n    - performing click action\n",
        f"{FOUND}  - trying to press the button\n    - pressing\n",
    ],
    ids=["pressed", "leaving", "pressed at the second try", "in words nobody knows"],
)
def test_it_may_have_had_it(log: str) -> None:
    """No further click."""
    assert was_on_its_way(log)


@pytest.mark.parametrize(
    "log",
    [
        'Locator.click: Timeout 500ms exceeded.\nCall log:\n  - waiting for locator("#b").visible.first\n',
        TRIED,
        f"{TRIED}{COVERED}    - waiting 20ms\n",
        f"{CLICKED}{COVERED}    - waiting 100ms\n",
    ],
    ids=["not there", "not ready", "covered", "covered as it was pressed"],
)
def test_it_has_not_had_it(log: str) -> None:
    """A further click is allowed."""
    assert not was_on_its_way(log)
