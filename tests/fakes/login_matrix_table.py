"""The login's matrix as tables: the expected outcomes for the docs' page, and the results at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import login_matrix as matrix

Cell = tuple[str, str, str]
"""Variant, factor, ending."""

HEAD = """# Every login that the tests play

Each cell is a login that the tests make with a real Chromium (`tests/browser/test_login_matrix.py`, in the sandbox;
those in **bold** also through the real gateway, `tests/real_gateway/test_login_matrix_real.py`). *Drawn*: pages
drawn from a grammar cover it (`tests/browser/test_login_grammar.py`, `scripts/pages`), so it is not played here. A
dash: the page does not have it, or after the password it is like the current page. The run prints the same tables with
the seconds each login took.

"""
SUCCEEDS = "## Second factors: each ends in a session\n\n"
ENDS = "\n## Endings: each is a separate outcome, after one submit of the password or none\n\n"
FACTORS_END = "\n## Second factors not given, or refused\n\n"
END = "\n*Written by `scripts/login-matrix` from `tests/fakes/login_matrix.py`; edit that instead of this page.*\n"


def page(real: Iterable[Cell]) -> str:
    """Return docs/login-matrix.md; ``real`` are the cells that the real gateway plays too."""
    in_bold = set(real)

    def say(cell: Cell, outcome: str) -> str:
        return f"**{outcome}**" if cell in in_bold else outcome

    cells = {key(case): say(key(case), str(case.ending.outcome)) for case in matrix.cases()}
    cells |= {key(case): "*drawn*" for case in matrix.every_case() if matrix.is_drawn(case)}
    return HEAD + SUCCEEDS + _succeeding(cells) + ENDS + _ending(cells) + FACTORS_END + _factors_ending(cells) + END


def results(told: Mapping[Cell, str]) -> str:
    """Return the results of the played cells; ``told`` has a text for each."""
    return SUCCEEDS + _succeeding(told) + ENDS + _ending(told) + FACTORS_END + _factors_ending(told)


def key(case: matrix.Case) -> Cell:
    """Return the identity of a case."""
    return case.variant.name, case.factor.name, case.ending.name


def _table(corner: str, rows: Mapping[str, list[Cell]], variants: list[str], cells: Mapping[Cell, str]) -> str:
    body = [[name, *(cells.get(cell, "-") for cell in of_row)] for name, of_row in rows.items()]
    body = [row for row in body if any(text != "-" for text in row[1:])]
    lines = [[corner, *variants], *body]
    widths = [max(len(line[at]) for line in lines) for at in range(len(variants) + 1)]
    drawn = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    drawn.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(drawn) + "\n"


def _succeeding(cells: Mapping[Cell, str]) -> str:
    variants = [one.name for one in (*matrix.VARIANTS, matrix.LATE)]
    names = [one.name for one in (*matrix.FACTORS, matrix.PROMO)]
    rows = {name: [(variant, name, matrix.SUCCESS.name) for variant in variants] for name in names}
    return _table("asked for", rows, variants, cells)


def _ending(cells: Mapping[Cell, str]) -> str:
    variants = [one.name for one in matrix.FEW_VARIANTS]
    names = [one.name for one in (*matrix.ENDINGS, matrix.WRONG_MODE)]
    rows = {name: [(variant, matrix.NONE.name, name) for variant in variants] for name in names}
    return _table("ending", rows, variants, cells)


def _factors_ending(cells: Mapping[Cell, str]) -> str:
    variants = [one.name for one in matrix.FEW_VARIANTS]
    rows = {
        factor.name: [(variant, factor.name, ending.name) for variant in variants]
        for factor, ending in matrix.FACTOR_ENDINGS
    }
    return _table("asked for", rows, variants, cells)
