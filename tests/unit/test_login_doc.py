"""docs/login.md and docs/live-account.md list every ending and kind of question of the program, in its own words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gwctl.login.codes import Kind, Method
from gwctl.login.failures import NEVER_AUTHENTICATED, NEVER_OPENED
from gwctl.login.outcome import ENDINGS, ERROR_TEXTS, Ending, LoginOutcome, classify_error
from gwctl.setting_keys import KEYS

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "login.md").read_text(encoding="utf-8")
LIVE = (DOCS / "live-account.md").read_text(encoding="utf-8")


def test_every_ending_has_its_row() -> None:
    """The page has the same words for an ending as `gwctl login --explain`, and no other endings."""
    told: dict[str, Ending] = {str(name): one for name, one in ENDINGS.items()}
    told[NEVER_AUTHENTICATED] = NEVER_OPENED
    rows = {f"| `{name}` | {one.text} | {one.remedy} |" for name, one in told.items() if name != "success"}
    endings = TEXT.split("| ending |")[1].split("\n\n")[0]
    assert {line for line in endings.splitlines() if line.startswith("| `")} == rows


def test_what_counts_is_what_counts() -> None:
    """The endings that count as refusals are named."""
    counted = ", ".join(f"`{outcome}`" for outcome in LoginOutcome if outcome.counts_as_refusal)
    assert f"These count: {counted}." in " ".join(TEXT.split())


def test_every_way_and_kind_of_a_second_factor_is_told() -> None:
    """Each value of `second_factor` has a row, each kind of question its word, each setting its name."""
    for method in Method:
        assert method is Method.AUTO or f"| `{method}` |" in LIVE.split("## The second factor in detail")[1]
    for kind in Kind:
        assert kind is Kind.PUSH or f"`{kind}`" in LIVE
    for key in ("second_factor", "second_factor_command", "second_factor_device", "totp_secret_file"):
        assert key in KEYS
        assert key.removesuffix("_file") in LIVE


@pytest.mark.parametrize(
    "text", re.findall(r"`([^`]+)`", TEXT.split("### What the page's texts mean")[1].split("##")[0])
)
def test_every_text_of_the_page_is_one_that_is_known(text: str) -> None:
    """The program recognizes every text that the table quotes; only setting names in it are no texts of the page."""
    assert text == "mode" or classify_error(text) is not LoginOutcome.UNKNOWN_TEXT


def test_every_meaning_of_a_text_is_told() -> None:
    """The table has every outcome that a text of the page can have."""
    quoted = re.findall(r"`([^`]+)`", TEXT.split("### What the page's texts mean")[1].split("##")[0])
    assert {outcome for _, outcome in ERROR_TEXTS} <= {classify_error(text) for text in quoted}


def test_every_picture_is_there() -> None:
    """The pages' pictures exist."""
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", TEXT + LIVE)
    assert len(pictures) >= 3
    assert all((DOCS / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
