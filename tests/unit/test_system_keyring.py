"""What is noted about the keyring: a search for nothing is made once, and never hides a secret."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gwctl.config import load
from gwctl.credentials import Secret, Sources, find
from gwctl.environment import Environment
from gwctl.errors import CredentialsMissing
from gwctl.paths import Paths
from gwctl.system_keyring import delete_from_keyring, read_keyring, store_in_keyring


class Keyring(ModuleType):
    """A keyring in memory that counts its searches."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.errors = SimpleNamespace(KeyringError=OSError, PasswordDeleteError=FileNotFoundError)
        self.entries: dict[tuple[str, str], str] = {}
        self.searches = 0

    def get_password(self, service: str, name: str) -> str | None:
        self.searches += 1
        return self.entries.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self.entries[service, name] = value

    def delete_password(self, service: str, name: str) -> None:
        if self.entries.pop((service, name), None) is None:
            raise self.errors.PasswordDeleteError


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """Return the keyring that the library would find."""
    found = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", found)
    monkeypatch.setitem(sys.modules, "keyring.errors", found.errors)
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("default", tmp_path)


def test_a_search_that_finds_nothing_is_made_once(keyring: Keyring, paths: Paths) -> None:
    """The second look does not ask the library; another secret, and who notes nothing, do."""
    assert [read_keyring(paths, "totp_secret", noting=True) for _ in range(3)] == [None] * 3
    assert keyring.searches == 1
    assert read_keyring(paths, "password", noting=True) is None
    assert read_keyring(paths, "totp_secret") is None
    assert keyring.searches == 3


def test_who_only_looks_notes_nothing(keyring: Keyring, paths: Paths) -> None:
    """The doctor, `secret check` and a setup that fails leave no file."""
    assert read_keyring(paths, "password") is None
    assert not paths.keyring_notes_dir.exists()


def test_what_is_stored_is_found_and_what_is_deleted_is_not(keyring: Keyring, paths: Paths) -> None:
    """However often nothing was found before."""
    for value in ("one", "two"):
        assert read_keyring(paths, "password", noting=True) is None
        store_in_keyring(paths, "password", Secret(value))
        assert read_keyring(paths, "password", noting=True) == value
        delete_from_keyring(paths, "password")
    assert read_keyring(paths, "password", noting=True) is None
    with pytest.raises(CredentialsMissing):
        delete_from_keyring(paths, "password")


def test_a_search_that_ends_after_a_store_hides_nothing(
    keyring: Keyring, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process searched just before the secret came, and notes its result just after."""
    real = keyring.get_password

    def slow(service: str, name: str) -> str | None:
        found = real(service, name)
        store_in_keyring(paths, "password", Secret("new"))
        return found

    with monkeypatch.context() as between:
        between.setattr(keyring, "get_password", slow)
        assert read_keyring(paths, "password", noting=True) is None
    assert read_keyring(paths, "password", noting=True) == "new"


@pytest.mark.parametrize("variable", ["DBUS_SESSION_BUS_ADDRESS", "PYTHON_KEYRING_BACKEND", "XDG_RUNTIME_DIR", "HOME"])
def test_another_environment_has_another_keyring(
    keyring: Keyring, paths: Paths, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """What cron did not find says nothing of a desktop's keyring."""
    assert read_keyring(paths, "totp_secret", noting=True) is None
    keyring.entries["gwctl:default", "totp_secret"] = "of the desktop"
    assert read_keyring(paths, "totp_secret", noting=True) is None
    monkeypatch.setenv(variable, "another")
    assert read_keyring(paths, "totp_secret", noting=True) == "of the desktop"


def test_a_password_of_somebody_elses_making_is_found(keyring: Keyring, tmp_path: Path) -> None:
    """Before a login fails for want of a password, the keyring is searched whatever is noted."""
    environment = Environment({"GWCTL_HOME": str(tmp_path)})
    settings = load("default", environment=environment)
    assert find("password", settings, Sources(environment, notes_keyring=True)) is None
    keyring.entries["gwctl:default", "password"] = "by hand"
    found = find("password", settings, Sources(environment, notes_keyring=True))
    assert found is not None
    assert (found.secret.reveal(), found.source) == ("by hand", "keyring")


def test_a_folder_that_cannot_be_made_costs_a_search(keyring: Keyring, paths: Paths) -> None:
    """Without a note everything works as before."""
    paths.profile_dir.parent.mkdir(parents=True)
    paths.profile_dir.write_text("a file")
    assert [read_keyring(paths, "password", noting=True) for _ in range(2)] == [None] * 2
    assert keyring.searches == 2
