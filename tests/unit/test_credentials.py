from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from gwctl.config import Settings, load
from gwctl.credentials import (
    Credentials,
    Found,
    Secret,
    Sources,
    check_name,
    doubt_of,
    find,
    fingerprint,
    readers_of,
    require,
)
from gwctl.environment import Environment
from gwctl.errors import Configuration, CredentialsMissing, Usage
from gwctl.paths import Paths
from gwctl.setting_keys import SECRET_KEYS
from gwctl.system_keyring import read_keyring

VALUE = "hunter2-ünd-more"
KEYRING = {
    "__init__.py": """
from . import errors
def get_password(service, name):
    assert service == "gwctl:default"
    if name == "totp_secret":
        raise errors.KeyringError("locked")
    return "of the keyring" if name == "password" else None
""",
    "errors.py": "class KeyringError(Exception):\n    pass\n",
}


@dataclass(frozen=True)
class LeaseHolder:
    secret: Secret


def settings_of(home: Path, text: str = "", variables: Mapping[str, str] | None = None) -> Settings:
    (home / "config.toml").write_text(text)
    return load("default", environment=Environment({**(variables or {}), "GWCTL_HOME": str(home)}))


def run_pass(argv: Sequence[str]) -> str:
    assert argv == ("pass", "show")
    return "of the command\nnot this line\n"


@pytest.fixture
def keyring(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a test keyring."""
    package = tmp_path_factory.mktemp("site") / "keyring"
    package.mkdir()
    for name, text in KEYRING.items():
        (package / name).write_text(text)
    for name in ("keyring", "keyring.errors"):
        monkeypatch.setitem(sys.modules, name, None)  # so that what is imported now does not outlive the test
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(package.parent)


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Act as if the extra were not installed."""
    monkeypatch.setitem(sys.modules, "keyring", None)


SOURCES = ["directory", "file", "command", "keyring", "variable", "handed-over", "prompt", "none"]


@pytest.mark.parametrize("first", range(len(SOURCES)), ids=SOURCES)
def test_first_source_wins(tmp_path: Path, first: int, request: pytest.FixtureRequest) -> None:
    """The order of the contract: each source wins over all later ones."""
    request.getfixturevalue("keyring" if first <= 3 else "no_keyring")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    variables = {"CREDENTIALS_DIRECTORY": str(credentials)}
    if first <= 0:
        (credentials / "password").write_text("of the directory\n")
    if first <= 1:
        (tmp_path / "file").write_text("of the file\r\n")
        variables["GWCTL_PASSWORD_FILE"] = str(tmp_path / "file")
    if first <= 4:
        variables["GWCTL_PASSWORD"] = "of the variable"
    sources = Sources(
        Environment(variables),
        run_pass,
        {"password": Found(Secret("handed over"), "prompt")} if first <= 5 else {},
        (lambda name: f"{name} of the prompt") if first <= 6 else None,
    )
    command = '[defaults]\npassword_command = ["pass", "show"]\n' if first <= 2 else ""
    settings = settings_of(tmp_path, command, variables)
    found = find("password", settings, sources)
    expected = [
        ("of the directory", "$CREDENTIALS_DIRECTORY/password"),
        ("of the file", "$GWCTL_PASSWORD_FILE"),
        ("of the command", "password_command"),
        ("of the keyring", "keyring"),
        ("of the variable", "$GWCTL_PASSWORD"),
        ("handed over", "prompt"),
        ("password of the prompt", "prompt"),
        None,
    ][first]
    assert (found and (found.secret.reveal(), found.source)) == expected


def test_secret_does_not_give_itself_away() -> None:
    """Law 8: no way of printing, formatting, copying or serializing a secret shows it."""
    secret = Secret(VALUE)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>40}",
        "%s" % secret,  # noqa: UP031 - one of the ways
        "{}".format(secret),  # noqa: UP032 - one of the ways
        repr([secret]),
        repr({"a": secret}),
        repr(LeaseHolder(secret)),
        repr(Found(secret, "prompt")),
        repr(Credentials("me", secret, secret, "prompt")),
        str(hash(secret)),
        str(vars(type(secret))),
    ]
    assert not [text for text in shown if "hunter2" in text]
    assert not hasattr(secret, "__dict__")
    refused: list[Callable[[], object]] = [
        lambda: pickle.dumps(secret),
        lambda: copy.copy(secret),
        lambda: copy.deepcopy(LeaseHolder(secret)),
        lambda: asdict(LeaseHolder(secret)),
        lambda: json.dumps({"a": secret}),
    ]
    for way in refused:
        with pytest.raises(TypeError) as caught:
            way()
        assert "hunter2" not in str(caught.value)


def fail_with(*things: object) -> None:
    raise ValueError("it failed", *things)


def test_secret_in_a_log_or_traceback_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Law 8: neither a logged error with its locals nor a message shows it."""
    secret = Secret(VALUE)
    with caplog.at_level(logging.DEBUG):
        try:
            fail_with(LeaseHolder(secret), secret)
        except ValueError as error:
            logging.getLogger("gwctl.test").exception("with %s and %r", secret, LeaseHolder(secret))
            shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    # The name of the value itself is a global of this module, not a local of the function.
    assert "hunter2" not in caplog.text
    assert "hunter2" not in shown


def test_secrets_are_compared_by_what_they_hold() -> None:
    """The same secret from two sources is equal."""
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("another")
    assert Secret(VALUE) != VALUE
    assert len({Secret(VALUE), Secret(VALUE)}) == 1


def test_fingerprint_tells_passwords_apart_and_salts_them() -> None:
    """Only the same password with the same salt has the same fingerprint."""
    one = fingerprint(Secret(VALUE), "00" * 16)
    assert one == fingerprint(Secret(VALUE), "00" * 16)
    assert one != fingerprint(Secret(VALUE), "01" * 16)
    assert one != fingerprint(Secret(VALUE + "x"), "00" * 16)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n"])
def test_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A configured but empty source is an error: the user meant it."""
    (tmp_path / "file").write_bytes(content)
    sources = Sources(Environment({"GWCTL_PASSWORD_FILE": str(tmp_path / "file"), "GWCTL_PASSWORD": "another"}))
    with pytest.raises(Configuration, match="is empty"):
        find("password", settings_of(tmp_path, variables=sources.environment.variables), sources)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A configured but missing source is an error."""
    sources = Sources(Environment({"GWCTL_PASSWORD_FILE": str(tmp_path / "none"), "GWCTL_PASSWORD": "another"}))
    with pytest.raises(Configuration, match="No such file") as caught:
        find("password", settings_of(tmp_path, variables=sources.environment.variables), sources)
    assert str(tmp_path / "none") in caught.value.message


def test_file_that_is_no_text_is_an_error_that_shows_nothing_of_it(tmp_path: Path) -> None:
    """Law 8: the error about a file, and its causes, do not contain the file's content."""
    (tmp_path / "file").write_bytes(b"hunter2\xff\xfe")
    sources = Sources(Environment({"GWCTL_PASSWORD_FILE": str(tmp_path / "file")}))
    with pytest.raises(Configuration, match="not UTF-8") as caught:
        find("password", settings_of(tmp_path, variables=sources.environment.variables), sources)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "hunter2" not in repr(caught.value)


def test_spaces_of_a_password_are_kept(tmp_path: Path) -> None:
    """Only the end of line is not part of a password."""
    (tmp_path / "file").write_text("  a b \n")
    variables = {"GWCTL_PASSWORD_FILE": str(tmp_path / "file")}
    found = find("password", settings_of(tmp_path, variables=variables), Sources(Environment(variables)))
    assert found is not None
    assert found.secret.reveal() == "  a b "


@pytest.mark.parametrize("name", SECRET_KEYS)
def test_the_settings_name_a_secrets_file(tmp_path: Path, name: str) -> None:
    """`password_file` in config.toml, and the like: before a command, after the service manager's folder."""
    (tmp_path / "file").write_text("of the file\n")
    text = f'[defaults]\n{name}_file = "{tmp_path}/file"\n{name}_command = ["cat"]\n'
    found = find(name, settings_of(tmp_path, text), Sources(Environment({}), broken))
    assert found is not None
    assert (found.secret.reveal(), found.source) == ("of the file", f"{name}_file")


@pytest.mark.parametrize(
    ("mode", "who"), [(0o600, None), (0o640, "other users"), (0o644, "every user of this machine"), (0o400, None)]
)
def test_who_else_can_read_a_secrets_file(tmp_path: Path, mode: int, who: str | None) -> None:
    """Doctor and `up` say it in the same words; what is no ordinary file is left alone."""
    file = tmp_path / "file"
    assert readers_of(file) is None
    file.touch()
    file.chmod(mode)
    assert readers_of(file) == who
    assert readers_of(tmp_path) is None


def broken(argv: Sequence[str]) -> str:
    raise ValueError(f"{argv} was called")


def failing(_argv: Sequence[str]) -> str:
    raise ValueError("pass exited with code 2")


def missing(_argv: Sequence[str]) -> str:
    raise FileNotFoundError(2, "No such file or directory", "pass")


def silent(_argv: Sequence[str]) -> str:
    return "\n"


@pytest.mark.parametrize(
    ("run", "message"),
    [(failing, "exited with code 2"), (missing, "No such file"), (silent, "printed nothing")],
)
def test_command_that_fails_is_an_error(tmp_path: Path, run: object, message: str) -> None:
    """A configured source that fails is not skipped."""
    settings = settings_of(tmp_path, '[defaults]\npassword_command = ["pass", "show"]\n')
    sources = Sources(Environment({"GWCTL_PASSWORD": "another"}), run)  # type: ignore[arg-type] # the three above
    with pytest.raises(Configuration, match=message) as caught:
        find("password", settings, sources)
    assert caught.value.hint == "run pass by hand"


def test_addresses_of_a_command_may_be_one_a_line(tmp_path: Path, no_keyring: None) -> None:
    """A password command's first line counts; of a URL command, every line does."""
    settings = settings_of(tmp_path, '[defaults]\nnotify_urls_command = ["cat"]\npassword_command = ["cat"]\n')
    sources = Sources(Environment({}), lambda _argv: "one\ntwo\n\n")
    found = {name: find(name, settings, sources) for name in ("notify_urls", "password")}
    revealed = {name: one and one.secret.reveal() for name, one in found.items()}
    assert revealed == {"notify_urls": "one\ntwo", "password": "one"}


def test_command_without_a_way_to_run_it_is_not_asked(tmp_path: Path, no_keyring: None) -> None:
    """Without a way to run programs, the other sources are searched."""
    settings = settings_of(tmp_path, '[defaults]\npassword_command = ["pass", "show"]\n')
    assert find("password", settings, Sources(Environment({}))) is None


def test_keyring_that_is_locked_or_absent_has_nothing(keyring: None, tmp_path: Path) -> None:
    """The keyring is one source among others: it is no error if it stays locked, and is no proof of anything."""
    paths = Paths.for_profile("default", tmp_path)
    assert read_keyring(paths, "password") == "of the keyring"
    assert read_keyring(paths, "totp_secret") is None
    assert not paths.keyring_notes_dir.exists()


def test_keyring_that_is_not_installed_has_nothing(no_keyring: None, tmp_path: Path) -> None:
    """The library is optional, and may be installed tomorrow."""
    paths = Paths.for_profile("default", tmp_path)
    assert read_keyring(paths, "password") is None
    assert not paths.keyring_notes_dir.exists()


def test_names_of_secrets() -> None:
    """A secret's name works in either spelling; any other name is a usage error."""
    assert check_name("totp-secret") == check_name("TOTP_SECRET") == "totp_secret"
    with pytest.raises(Usage, match="unknown secret 'pin'"):
        check_name("pin")


def test_require_says_what_is_missing() -> None:
    """Each missing part of a login has its own message and command."""
    password = Found(Secret(VALUE), "keyring")
    assert require("me", password, None, "default") == Credentials("me", password.secret, None, "keyring")
    assert require("me", password, password, "default").totp_secret == password.secret
    with pytest.raises(CredentialsMissing, match="has no username") as caught:
        require(None, password, None, "mine")
    assert (caught.value.hint or "").startswith("gwctl --profile mine setup, or set GWCTL_USERNAME")
    with pytest.raises(CredentialsMissing, match="no source has a password for me") as caught:
        require("me", None, None, "mine")
    assert (caught.value.hint or "").startswith("gwctl --profile mine setup, or set GWCTL_PASSWORD_FILE")
    with pytest.raises(CredentialsMissing) as caught:
        require("me", None, None, "default")
    assert (caught.value.hint or "").startswith("gwctl setup, or")


MARKED = "\ufeffhunter2"


@pytest.mark.parametrize("source", ["file", "command", "variable"])
def test_a_mark_before_a_secret_is_none_of_it(tmp_path: Path, no_keyring: None, source: str) -> None:
    """An invisible mark (BOM) that some editors put first is never sent."""
    command = '[defaults]\npassword_command = ["cat"]\n' if source == "command" else ""
    (tmp_path / "file").write_bytes(MARKED.encode() + b"\r\n")
    variables = {"file": {"GWCTL_PASSWORD_FILE": str(tmp_path / "file")}, "variable": {"GWCTL_PASSWORD": MARKED}}
    sources = Sources(Environment(variables.get(source, {})), lambda _argv: MARKED + "\n")
    found = find("password", settings_of(tmp_path, command, variables.get(source)), sources)
    assert found is not None
    assert found.secret.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("text", "doubt"),
    [('"hunter2"', "quotes"), ("'hunter2'", "quotes"), (" hunter2", "blank"), ('"hunter2', None), ("hunter2", None)],
)
def test_what_looks_wrong_is_told_and_left_as_it_is(text: str, doubt: str | None) -> None:
    """Quotes from an env file may be part of the password: they are reported, not shown, and sent unchanged."""
    found = Found(Secret(text), "$GWCTL_PASSWORD")
    said = doubt_of(found)
    assert (said is None) is (doubt is None)
    assert doubt is None or (said is not None and doubt in said and "hunter2" not in said)
    assert found.secret.reveal() == text
