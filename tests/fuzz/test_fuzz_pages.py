"""The texts of a login page, in any language and with any intent: the look is read, in bounded time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from corpus.texts import INPUTS
from fuzzing import TEXTS, about, bounded, fuzzed, memory_folder, seeds
from hypothesis import given

from gwctl.login import failures, vocabulary
from gwctl.login.codes import Kind
from gwctl.login.outcome import LoginOutcome, LoginReport, Step, redact
from gwctl.login.page_state import PageState
from gwctl.login.recognition import describe
from gwctl.login.selectors import AUTHENTICATOR_APP, IB_KEY, SMS, named_device
from gwctl.setting_values import Element

WORDS = (
    *(
        "Username",
        "Password",
        "Log In",
        "Paper",
        "Live",
        "Code",
        "SMS",
        "Search",
        "Next",
        "Remember me",
        "Authenticator",
    ),
    *(
        "パスワード",
        "пароль",
        "סיסמה",
        "Simulated",
        "Trading Type",
        "Challenge",
        "Choose",
        "IB Key",
        "e-mail",
        "passkey",
    ),
)
KINDS = ("text", "search", "password", "submit", "button", "switch", "choice", "select", "option", "card", "", "new")
CALLED = ("", "username", "current-password", "new-password", "one-time-code", "off one-time-code", "\0")


def words_of(of: Random, most: int = 80) -> str:
    """Return what a page may call something."""
    kept = of.choice((*WORDS, *WORDS, *TEXTS, *INPUTS.values()))
    return (of.choice(WORDS) + of.choice((" ", "", "-", "\n", "\u200b")) + kept if of.randrange(2) else kept)[:most]


def control(of: Random, n: int) -> dict[str, Any]:
    """Return a control as the script describes it."""
    flags = ("form", "aside", "toggle", "ours", "filled", "numeric", "required", "off", "fixed")
    return {
        "n": n,
        "at": f'[data-gwctl="{n}"]',
        "kind": of.choice(KINDS),
        "name": words_of(of),
        "words": words_of(of, 200),
        "autocomplete": of.choice(CALLED),
        "scope": of.randrange(3),
        "group": of.choice(("1", "2", "1 \0", "")),
        "on": of.choice((None, True, False)),
        "length": of.choice((0, 1, 6, 2**31)),
        "options": [[words_of(of), words_of(of), of.randrange(2) == 0] for _ in range(of.randrange(3))],
        **{flag: of.randrange(2) == 0 for flag in flags},
    }


def look(of: Random) -> dict[str, Any]:
    """Return a page as the script describes it."""
    collected = {
        "controls": [control(of, n) for n in range(of.randrange(9))],
        "alerts": words_of(of, 500),
        "success": of.randrange(9) == 0,
        "foreign": of.randrange(9) == 0,
        "settling": of.randrange(9) == 0,
    }
    return {
        "visible": dict.fromkeys(of.sample(sorted(Element), of.randrange(3)), "#x"),
        "page": "p",
        "form": of.randrange(3),
        "username_filled": True,
        "password_filled": False,
        "code_filled": False,
        "challenge": words_of(of, 4000),
        "paper": of.choice((None, True, False)),
        "paper_torn": False,
        "error": words_of(of, 4000),
        "banner": words_of(of, 4000),
        "inputs": of.randrange(5),
        "success": False,
        "submit_ready": True,
        "words": words_of(of, 4000),
        "busy": False,
        "blank": False,
        "collected": of.choice((None, collected, collected)),
    }


def read(seen: dict[str, Any]) -> None:
    """Read a look, and ask everything that the login asks of it."""
    with bounded():
        page = PageState.from_script(seen)
        _ = (page.state, page.shows_form, page.is_strange, page.is_recognized)
        describe(page.recognized)
        assert page.recognized.kind_of_code in {"", *Kind}
        ask(page.words, page.error)


def ask(text: str, before: str = "") -> None:
    """Ask everything that is asked of a page's words."""
    vocabulary.new_words(text, before)
    for question in (
        vocabulary.ask_to_wait,
        vocabulary.ask_for_approval,
        vocabulary.ask_for_passkey,
        vocabulary.tell_of_no_code,
    ):
        question(text)
    assert vocabulary.kind_of_code(text) in {None, *Kind}
    name = text[:200]  # the longest that the script reports of a control
    vocabulary.mode_of(name)
    for words in (vocabulary.USER, vocabulary.CODE, vocabulary.DECOY, vocabulary.OTHER_WAY, vocabulary.DEVICES):
        vocabulary.says(name, words)
    for device in (AUTHENTICATOR_APP, IB_KEY, SMS, named_device(name)):
        device.is_option(name, name)


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_text_is_read(case: str) -> None:
    """Every text that was ever interesting is read wherever a page may have it, and quickly."""
    of = Random(case)
    text = INPUTS[case]
    seen = look(of)
    parts = [control(of, n) | {"name": text[:80], "words": text[:200], "kind": kind} for n, kind in enumerate(KINDS)]
    collected = {"controls": parts, "alerts": text[:500], "success": False, "foreign": False}
    for one in (seen | {"words": text[:4000], "error": text[:4000], "challenge": text[:4000], "collected": collected},):
        with about(text[:200]):
            read(one)
            with bounded():
                ask(text, text[::-1])


def test_any_page_is_read() -> None:
    """Whatever a page's controls and words are, the look is read without an error."""

    @fuzzed(60)
    @given(seeds)
    def check(seed: int) -> None:
        seen = look(Random(seed))
        with about(seen):
            read(seen)

    check()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder in memory, if there is memory that is a disk."""
    with memory_folder() as made:
        yield made


def test_the_evidence_of_any_text_is_kept_and_read(folder: Path) -> None:
    """A report with a page's words in every place is written, read again, and has no secret."""

    @fuzzed(60)
    @given(seeds)
    def check(seed: int) -> None:
        of = Random(seed)
        secret = "Quail-Harbor-" + of.choice(("5521", "ß", "é", "'\"", "\\", "\u2028"))
        text = words_of(of, 4000) + secret + words_of(of, 4000)
        with about(text), bounded():
            said = redact(text, (secret,))
            assert secret not in said
            outcome = of.choice(
                [one for one in LoginOutcome if one not in {LoginOutcome.SUCCESS, LoginOutcome.CANCELLED}]
            )
            report = LoginReport(outcome=outcome, submits=1, text=said, steps=(Step(said, 1.5),))
            kept = failures.keep_without_page(folder / "evidence", report)
            assert kept.evidence
            found = failures.latest(folder / "evidence")
            assert found is not None
            json.dumps(found.to_json())
            assert LoginReport.from_json(json.loads(json.dumps(report.to_json()))).text == said
        shutil.rmtree(folder / "evidence")

    check()
