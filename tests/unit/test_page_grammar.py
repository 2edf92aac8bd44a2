"""The grammar of login pages draws what the enumerated matrix leaves to it."""

from __future__ import annotations

from collections.abc import Callable

import login_matrix as matrix
import pytest
from page_grammar import Spec
from page_grammar_soak import drawn

KNOWN = ("current", "two-step", "legacy")
VARIANTS: dict[str, Callable[[Spec], bool]] = {
    "no switch": lambda spec: spec.switch.kind == "none" and spec.markup.version in KNOWN,
    "switch clears": lambda spec: spec.switch.clears and spec.markup.version in KNOWN,
    "cookie dialog": lambda spec: spec.load.cover == "cookie returns" and spec.markup.version in KNOWN,
    "two-step": lambda spec: spec.markup.version == "two-step",
    "legacy": lambda spec: spec.markup.version == "legacy",
}
FACTORS: dict[str, Callable[[Spec], bool]] = {
    "none": lambda spec: spec.factor.kind == "none" and spec.offer is None,
    # To the browser a session that IBKR remembers is one in which nothing is asked.
    "remembered": lambda spec: spec.factor.kind == "none" and spec.offer is None,
    "totp": lambda spec: (spec.factor.kind, spec.factor.devices, spec.profile.method) == ("app", (), "totp"),
    "app, command": lambda spec: (spec.factor.kind, spec.factor.devices, spec.profile.method) == ("app", (), "command"),
    "sms, choice": lambda spec: spec.factor.kind == "sms" and bool(spec.factor.devices),
    "choice, totp": lambda spec: spec.factor.list_needs_button and spec.profile.method == "totp",
    "push": lambda spec: (spec.factor.kind, spec.factor.devices) == ("push", ()),
    "choice, push": lambda spec: spec.factor.kind == "push" and bool(spec.factor.devices),
    "offer": lambda spec: spec.offer is not None and spec.offer.look == "known",
}
ENDINGS: dict[str, Callable[[Spec], bool]] = {
    "refused": lambda spec: spec.ending.kind == "refused",
    "form again": lambda spec: spec.ending.kind == "again",
    "error text": lambda spec: spec.ending.kind == "unclear",
    "unknown text": lambda spec: spec.ending.kind == "unknown_text",
    "locked": lambda spec: spec.ending.kind == "locked",
    "IBKR down": lambda spec: spec.ending.kind == "ill",
    "spinner": lambda spec: spec.ending.kind == "spin",
    "503 page": lambda spec: spec.load.status >= 500,
    "wrong mode": lambda spec: spec.ending.kind == "wrong_mode",
}


@pytest.fixture(scope="module")
def pages() -> list[Spec]:
    """Return the pages that CI plays."""
    return [spec for number in range(12) for spec in drawn(6, from_seed=1 + number)]


def test_what_the_matrix_leaves_out_is_drawn(pages: list[Spec]) -> None:
    """Each page, second factor and ending of a cell that is not played is among CI's pages; they are drawn apart."""
    left = [case for case in matrix.every_case() if matrix.is_drawn(case)]
    assert len(left) == 36
    wanted = {name: VARIANTS[name] for name in {case.variant.name for case in left}}
    wanted |= {case.factor.name: FACTORS[case.factor.name] for case in left if case.ending is matrix.SUCCESS}
    wanted |= {case.ending.name: ENDINGS[case.ending.name] for case in left if case.ending is not matrix.SUCCESS}
    assert [name for name, is_it in wanted.items() if not any(is_it(spec) for spec in pages)] == []


def test_no_cell_is_played_twice() -> None:
    """What is drawn is not in the matrix, and the rest is."""
    played = matrix.cases()
    assert not any(matrix.is_drawn(case) for case in played)
    assert len(played) == len(matrix.every_case()) - 36
    assert {str(case) for case in matrix.real_cases()} <= {str(case) for case in played}
