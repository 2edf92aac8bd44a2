"""docs/reference/settings.md: its examples work as they stand, and nothing is missing in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gwctl.config import load
from gwctl.environment import _OURS, GIVEN, READ, Environment
from gwctl.setting_keys import KEYS, SECRETS, variable_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "settings.md").read_text()
ENTRIES = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("key", KEYS)
def test_each_example_is_accepted_and_says_something(key: str) -> None:
    """The setting's own parser takes the example, which is not the default."""
    assert KEYS[key].parse(KEYS[key].example) != KEYS[key].default


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_example_works_in_config_toml(tmp_path: Path, entry: str) -> None:
    """The lines of an entry, put into a profile, are what the program reads."""
    [lines] = re.findall(r"```toml\n(.*?)```", ENTRIES[entry], re.DOTALL)
    (tmp_path / "config.toml").write_text(f"[profiles.mine]\n{lines}")
    values = load("mine", environment=Environment({"GWCTL_HOME": str(tmp_path)})).values
    read = {key for key, setting in values.items() if setting.source.startswith("[profiles.mine]")}
    assert read == ({entry} if entry in KEYS else {f"{entry}_file", f"{entry}_command"})
    assert all(values[key].value == KEYS[key].parse(KEYS[key].example) for key in read)


def test_everything_has_its_place() -> None:
    """Each setting and secret has an entry, each variable that gwctl accepts a name on the page."""
    of_secrets = {f"{name}_{way}" for name in SECRETS for way in ("file", "command")}
    assert ENTRIES.keys() == (KEYS.keys() - of_secrets) | SECRETS.keys()
    assert {name for name in _OURS if f"`{name}`" not in PAGE} == set()
    for key in KEYS.keys() - of_secrets:
        assert (f"- variable: `{variable_of(key)}`" in ENTRIES[key]) == KEYS[key].variable
        assert re.search(r"^- accepts: .+\n- default: .+$", ENTRIES[key], re.MULTILINE), key
    assert not READ.keys() & GIVEN.keys()


def test_the_settings_beside_those_of_ibeam_exist() -> None:
    """The right column names our settings and secrets, and shows values that they accept."""
    rows = re.findall(r"^\| .*`IBEAM_.+? \| (.+) \|$", (DOCS / "coming-from-ibeam.md").read_text(), re.MULTILINE)
    assert len(rows) > 35
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    assert {word for word in words if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", word)} <= KEYS.keys() | SECRETS.keys()
    values = [word.replace(", …]", "]") for word in words if " = " in word]
    assert len(values) >= 4
    for value in values:
        [(key, example)] = tomllib.loads(value).items()
        KEYS[key].parse(example)
