"""``gwctl secret`` with a real keyring (its library, with a backend that uses a file)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Done, Home, one_line_with_hint

SECRET = "Kestrel-Anchor-77"


class Keyring:
    """Calls of gwctl with a test keyring."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.variables: dict[str, Any] = {
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
            "XDG_DATA_HOME": str(folder),
        }

    def gwctl(self, *argv: str, stdin: str = "", **variables: str) -> Done:
        return self.home.gwctl(*argv, stdin=stdin, **self.variables, **variables)


@pytest.fixture
def keyring(home: Home, tmp_path: Path) -> Keyring:
    return Keyring(home, tmp_path / "keyring")


def test_secret_goes_into_the_keyring_and_is_found_there(keyring: Keyring) -> None:
    """Set from stdin, found by name and source, never shown, separate for each profile, and gone after delete."""
    done = keyring.gwctl("secret", "set", "password", stdin=f"{SECRET}\n").check(0)
    assert SECRET not in done.stdout + done.stderr
    found = keyring.gwctl("secret", "check", "password").check(0)
    assert found.stdout == "password: keyring\n"
    as_json = keyring.gwctl("secret", "check", "password", "--json").check(0)
    assert as_json.envelope["data"] == {"name": "password", "source": "keyring"}
    assert SECRET not in as_json.stdout
    one_line_with_hint(keyring.gwctl("secret", "check", "totp-secret").check(78))
    one_line_with_hint(keyring.gwctl("--profile", "other", "secret", "check", "password").check(78))
    keyring.gwctl("secret", "delete", "password").check(0)
    one_line_with_hint(keyring.gwctl("secret", "check", "password").check(78))
    one_line_with_hint(keyring.gwctl("secret", "delete", "password").check(78))


def test_file_comes_before_the_keyring_and_the_keyring_before_the_variable(keyring: Keyring, tmp_path: Path) -> None:
    """`secret check` names the source that wins, in the contract's order."""
    keyring.gwctl("secret", "set", "password", stdin=SECRET).check(0)
    file = tmp_path / "password"
    file.write_text("another\n")
    named = {"GWCTL_PASSWORD_FILE": str(file), "GWCTL_PASSWORD": "a third"}
    assert keyring.gwctl("secret", "check", **named).check(0).stdout == "password: $GWCTL_PASSWORD_FILE\n"
    keyring.home.write_config('[defaults]\npassword_command = ["echo", "a fourth"]\n')
    assert keyring.gwctl("secret", "check", GWCTL_PASSWORD="x").check(0).stdout == "password: password_command\n"
    keyring.home.write_config("")
    assert keyring.gwctl("secret", "check", GWCTL_PASSWORD="x").check(0).stdout == "password: keyring\n"
    keyring.gwctl("secret", "delete", "password").check(0)
    assert keyring.gwctl("secret", "check", GWCTL_PASSWORD="x").check(0).stdout == "password: $GWCTL_PASSWORD\n"


def test_keyring_that_cannot_be_used_is_said(keyring: Keyring) -> None:
    """On a machine without a desktop: one line, another way to store the secret, exit 69."""
    keyring.variables["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    done = keyring.gwctl("secret", "set", "password", stdin=SECRET).check(69)
    one_line_with_hint(done)
    assert "gwctl profile set default password_file=FILE" in done.stderr
    assert SECRET not in done.stderr


def test_nothing_on_stdin_is_no_secret(keyring: Keyring) -> None:
    """Empty input is not stored."""
    one_line_with_hint(keyring.gwctl("secret", "set", "password", stdin="\n").check(2))
    one_line_with_hint(keyring.gwctl("secret", "set", "pin", stdin="1\n").check(2))


@pytest.mark.parametrize("secret", ["\ufeff\ufeffJBSWY3DPEHPK3PXP", "JBSWÜ3DPEHPK3PXP", "1!8"])
def test_a_totp_secret_that_makes_no_codes_is_a_wrong_setting(home: Home, secret: str) -> None:
    """That is reported before anything starts, with 78, without showing the secret."""
    given = {"GWCTL_USERNAME": "reader01", "GWCTL_PASSWORD": "x", "GWCTL_TOTP_SECRET": secret}
    text = one_line_with_hint(home.gwctl("up", **given).check(78))
    assert "base32" in text
    assert "$GWCTL_TOTP_SECRET" in text
    assert secret not in text
    assert "base32" in one_line_with_hint(home.gwctl("secret", "check", "totp_secret", **given).check(78))


def test_check_tells_of_quotes_and_shows_no_secret(home: Home) -> None:
    """Quotes from an env file are reported without showing the value."""
    done = home.gwctl("secret", "check", "password", GWCTL_PASSWORD="'hunter2'").check(0)
    assert "is in quotes" in done.stdout
    assert "hunter2" not in done.stdout


def test_check_tells_of_a_second_line(home: Home, tmp_path: Path) -> None:
    """A note below the password would be sent with it."""
    file = tmp_path / "password"
    file.write_text("hunter2\nmy note\n", encoding="utf-8")
    done = home.gwctl("secret", "check", "password", GWCTL_PASSWORD_FILE=str(file)).check(0)
    assert "it has more than one line" in done.stdout
    assert "hunter2" not in done.stdout
