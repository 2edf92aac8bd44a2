"""What a gateway was launched for decides who may adopt it; the record holds no names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config import Settings, load
from gwctl.environment import Environment
from gwctl.supervisor.served import Served, refuse_other_kind


def _settings(home: Path, **flags: object) -> Settings:
    return load("default", flags=flags, environment=Environment({"GWCTL_HOME": str(home)}))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return _settings(tmp_path, username="paperuser")


def test_a_record_survives_the_file_and_names_nobody(settings: Settings) -> None:
    """The record that is read is the one that was written; the file holds neither user nor account kind."""
    served = Served.now(settings, sandbox=False, upstream="https://api.ibkr.com")
    served.save(settings.paths)
    assert Served.load(settings.paths) == served
    text = settings.paths.gateway_served_file.read_text()
    assert "paperuser" not in text
    assert settings.paths.gateway_served_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("flags", "sandbox", "upstream"),
    [
        ({"username": "other"}, False, "https://api.ibkr.com"),
        ({"username": "paperuser", "mode": "live"}, False, "https://api.ibkr.com"),
        ({"username": "paperuser"}, True, "https://api.ibkr.com"),
        ({"username": "paperuser"}, False, "https://elsewhere.example"),
        ({"username": "paperuser"}, False, None),
    ],
)
def test_another_user_kind_or_address_may_not_adopt(
    settings: Settings, tmp_path: Path, *, flags: dict[str, object], sandbox: bool, upstream: str | None
) -> None:
    """Each difference alone is enough to refuse the adoption; no difference allows it."""
    served = Served.now(settings, sandbox=False, upstream="https://api.ibkr.com")
    assert served.is_for(settings, sandbox=False, upstream="https://api.ibkr.com")
    assert not served.is_for(_settings(tmp_path, **flags), sandbox=sandbox, upstream=upstream)


def test_the_sandbox_has_one_user_of_each_kind(settings: Settings, tmp_path: Path) -> None:
    """The sandbox's play account is the same for every username, and differs only by account kind."""
    served = Served.now(settings, sandbox=True, upstream="http://127.0.0.1:9")
    assert served.is_for(_settings(tmp_path, username="other"), sandbox=True, upstream="http://127.0.0.1:9")
    assert not served.is_for(_settings(tmp_path, mode="live"), sandbox=True, upstream="http://127.0.0.1:9")


@pytest.mark.parametrize("text", ["", "[]", '{"sandbox": "no"}', "{"])
def test_a_damaged_record_is_none(settings: Settings, text: str) -> None:
    """An unreadable record allows no adoption."""
    settings.paths.profile_dir.mkdir(parents=True, mode=0o700)
    settings.paths.gateway_served_file.write_text(text)
    assert Served.load(settings.paths) is None


def test_the_other_kind_is_no_trouble_once_its_gateway_is_gone(settings: Settings) -> None:
    """A record without a running gateway refuses nothing."""
    Served.now(settings, sandbox=True, upstream="http://127.0.0.1:9").save(settings.paths)
    refuse_other_kind(settings.paths, "default", sandbox=False)
