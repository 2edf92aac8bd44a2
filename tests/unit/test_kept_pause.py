"""A pause on disk holds for the next supervisor."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.paths import Paths
from gwctl.supervisor import kept_pause


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("default", tmp_path)


def test_a_pause_is_read_as_it_was_saved(paths: Paths) -> None:
    """Its end, its reason and its words; one whose end has passed is over."""
    assert kept_pause.load(paths) is None
    until_s = time.time() + 7200
    kept_pause.save(paths, kept_pause.paused(until_s, "TWS"))
    found = kept_pause.load(paths)
    assert found is not None
    assert (found.until_s, found.reason) == (until_s, "TWS")
    assert found.text == f"paused until {kept_pause.clock(until_s)}: TWS"
    assert kept_pause.look(paths) == found
    kept_pause.save(paths, kept_pause.paused(time.time() - 1, "TWS"))
    assert kept_pause.load(paths) is None
    kept_pause.remove(paths)
    assert not paths.pause_file.exists()


def test_a_damaged_file_is_a_pause_without_end(paths: Paths) -> None:
    """Somebody may be trading: it is set aside, said, and holds for every later supervisor."""
    kept_pause.save(paths, kept_pause.paused(None, ""))
    paths.pause_file.write_text("{")
    for _ in range(2):
        found = kept_pause.load(paths)
        assert found is not None
        assert (found.until_s, found.reason) == (None, kept_pause.DAMAGED)


@given(
    raw=st.dictionaries(
        st.sampled_from(["since_s", "until_s", "reason"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_any_object_is_a_pause_that_can_be_shown(raw: dict[str, object]) -> None:
    """Whatever a person or another version wrote, the words are one line, and the end lies ahead."""
    found = kept_pause._in_force(json.loads(json.dumps(raw)))
    if found is not None:
        assert "\n" not in found.text
        assert found.until_s is None or found.until_s > time.time() - 60
        kept_pause.describe(found)
