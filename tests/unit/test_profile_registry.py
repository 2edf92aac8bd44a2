"""Which profiles exist, and which ports they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.errors import Configuration
from gwctl.paths import Paths
from gwctl.profile_registry import (
    choose_port,
    configured_names,
    free_port_beside,
    known_names,
    ports_by_profile,
    profile_at,
)
from gwctl.state_file import write_json


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("default", tmp_path)


def write(paths: Paths, text: str, *folders: str) -> None:
    paths.config_file.write_text(text)
    for name in folders:
        (paths.profiles_dir / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("taken", "held", "port"),
    [
        (set(), set(), 5000),
        ({5000}, set(), 5001),
        ({5000, 5002}, set(), 5001),
        ({5000, 5002}, {5001}, 5003),
        ({4999, 6100}, {5000}, 5001),
        (set(range(5000, 65535)), set(), 65535),
    ],
)
def test_the_lowest_port_that_nobody_has(taken: set[int], held: set[int], port: int) -> None:
    """The search starts at 5000 and skips ports that a profile has or another process holds."""
    assert choose_port(taken, lambda one: one not in held) == port


def test_no_port_is_left() -> None:
    """That is an error; a port is never assigned twice."""
    with pytest.raises(Configuration, match="no free port from 5000 up"):
        choose_port(range(65536), lambda _port: True)


def test_ports_named_inherited_built_in_and_running(paths: Paths) -> None:
    """A profile's ports: its own, else that of [defaults], else 5000; its health port, and the one it runs on."""
    write(paths, "[defaults]\nport = 6100\n[profiles.a]\n[profiles.b]\nport = '6001'\nhealth_port = 7000\n", "ran")
    write_json(paths.profiles_dir / "a" / "supervisor.json", {"gateway_port": 6055})
    assert ports_by_profile(paths) == {"a": {6100, 6055}, "b": {6001, 7000}, "ran": {6100}}
    paths.config_file.write_text("[profiles.a]\n")
    assert ports_by_profile(paths)["ran"] == {5000}
    assert free_port_beside(paths, lambda _port: True) == 5001


def test_a_default_profile_that_never_was_has_no_port(paths: Paths) -> None:
    """The first profile of an empty home gets 5000, whatever its name; a profile that ran keeps 5000."""
    assert free_port_beside(paths, lambda _port: True) == 5000
    write(paths, "", "default")
    assert free_port_beside(paths, lambda _port: True) == 5001


def test_a_port_that_is_no_port_is_nobodys(paths: Paths) -> None:
    """An invalid value of another profile is reported by that profile."""
    write(paths, "[profiles.a]\nport = 'five'\n[profiles.b]\nport = 99999\n")
    assert ports_by_profile(paths) == {"a": set(), "b": set()}


def test_names_in_the_order_of_the_file_then_of_the_folders(paths: Paths) -> None:
    """`--all` follows config.toml from the top; names that are invalid are skipped."""
    write(paths, "[profiles.z]\n[profiles.b]\n", "ran", "b", ".hidden")
    (paths.profiles_dir / "file").write_text("")
    assert configured_names(paths) == ["z", "b"]
    assert known_names(paths) == ["z", "b", "ran"]


def test_a_broken_file_hides_no_folder(paths: Paths) -> None:
    """Running profiles can be shown and stopped while the settings file is broken."""
    write(paths, "not = [toml", "ran")
    assert known_names(paths) == ["ran"]
    with pytest.raises(Configuration, match="is not valid TOML"):
        configured_names(paths)


def test_whose_folder_a_process_works_in(paths: Paths, tmp_path: Path) -> None:
    """The gateway works one folder below its profile's, the supervisor in it; another home's are not ours."""
    below = paths.profiles_dir
    assert profile_at(str(below / "one" / "gateway"), paths) == "one"
    assert profile_at(str(below / "one"), paths) == "one"
    for folder in (str(below), str(tmp_path), "/other/state/profiles/one", "", None):
        assert profile_at(folder, paths) is None
