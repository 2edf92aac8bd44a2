from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from gwctl import errors
from gwctl.errors import GwctlError

DOCUMENTED = {1, 2, 69, 75, 77, 78}


def tree(kind: type[GwctlError] = GwctlError) -> Iterator[type[GwctlError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("kind", list(tree()), ids=lambda kind: kind.__name__)
def test_every_error_has_what_the_contract_wants(kind: type[GwctlError]) -> None:
    """Each error has its own code, an exit code of the contract, a message and a hint."""
    error = kind("what and where", hint="gwctl up")
    assert (str(error), error.message, error.hint) == ("what and where", "what and where", "gwctl up")
    assert re.fullmatch(r"[a-z_]+", kind.code)
    assert kind.exit_code in DOCUMENTED
    assert kind("no hint").hint is None


def test_codes_are_distinct() -> None:
    """Scripts can distinguish errors by their code."""
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))


def test_children_keep_their_parents_exit_code() -> None:
    """The tree is the table of exit codes."""
    for kind in tree():
        for child in kind.__subclasses__():
            if kind is not GwctlError:
                assert child.exit_code == kind.exit_code


def test_drawing_is_the_tree() -> None:
    """The docstring's picture shows every error with its code and no other."""
    drawing = inspect.getdoc(errors) or ""
    drawn = dict(re.findall(r"[├└│─ ]+([A-Z]\w+) +(?:\d+ +)?([a-z_]+)", drawing))
    assert drawn == {kind.__name__: kind.code for kind in tree()}
