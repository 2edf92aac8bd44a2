"""A value that is compared now and is another one later."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def current(value: T) -> T:
    """Return the value; unlike a bare attribute, mypy does not take it to be the same after the next call."""
    return value
