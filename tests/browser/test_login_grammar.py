"""Unlisted pages: a grammar draws each one, and its login must end as a careful person's would.

``GWCTL_TEST_PAGES`` is their number; ``scripts/pages`` plays thousands and finds the simplest page that breaks a law.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from page_grammar import Spec
from page_grammar_cases import CASES
from page_grammar_play import Stage, a_stage
from page_grammar_soak import drawn

pytestmark = [pytest.mark.browser, pytest.mark.waits]

PAGES = int(os.environ.get("GWCTL_TEST_PAGES", "36"))
LANES, PARTS = 3, 4
EACH = -(-PAGES // (LANES * PARTS))
LONGEST_S = 30 + 12 * EACH


@pytest.fixture(scope="class")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Yield the browser and the server that a class's pages share."""
    with a_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


class Lane:
    """A share of the pages: pytest-xdist keeps a class together, so that it needs one browser."""

    LANE = 0

    @pytest.mark.timeout(LONGEST_S)
    @pytest.mark.parametrize("part", range(PARTS))
    def test_a_login_comes_to_what_a_persons_would(self, part: int, stage: Stage) -> None:
        """Success where a person could, one submit of a refused password, never in the wrong mode, nothing kept."""
        pages = drawn(EACH, from_seed=1 + self.LANE * PARTS + part)
        failures = [[str(spec), *broken] for spec in pages if (broken := stage.broken_laws(spec))]
        assert failures == [], "\n\n".join("\n  ".join(lines) for lines in failures)


class TestFirstLane(Lane):
    """The first third of the pages."""


class TestSecondLane(Lane):
    """The second third of the pages."""

    LANE = 1


class TestThirdLane(Lane):
    """The last third of the pages."""

    LANE = 2


class TestFound:
    """Pages that once broke a law, by name, in their simplest form."""

    @pytest.mark.parametrize("spec", CASES.values(), ids=CASES)
    def test_it_stays_right(self, spec: Spec, stage: Stage) -> None:
        """A fault that was found once does not come back."""
        assert stage.broken_laws(spec) == []
