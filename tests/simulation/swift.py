"""A quicker ``dataclasses.replace`` for the core's turns: the same result, a third of the time.

Nine tenths of a simulated year are spent there: the snapshot has over forty fields, and each turn changes some several
times. Only the copying is another; what the core decides is its own code.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any

from gwctl.supervisor import tables
from gwctl.supervisor.tables import Snapshot

_NAMES = tuple(field.name for field in fields(Snapshot))
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_values_of = attrgetter(*_NAMES)


def replace(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """Return what ``dataclasses.replace`` returns for a snapshot."""
    values = list(_values_of(snapshot))
    for name, value in changes.items():
        values[_PLACES[name]] = value
    return Snapshot(*values)


def hasten() -> None:
    """Have the core's turns use it in this process."""
    setattr(tables, "replace", replace)  # noqa: B010 - the module does not export it
