"""Every setting refuses a bad value where it is parsed: in `profile set`, a variable and config.toml alike."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gwctl.cli.main import run
from gwctl.config import load
from gwctl.environment import Environment, own_environment
from gwctl.errors import Configuration
from gwctl.setting_keys import FILE_KEYS, KEYS, PROGRAM_KEYS, SECRET_KEYS, variable_of

BAD: dict[str, list[str]] = {
    "username": ["  ", "reader\n01"],
    "mode": ["demo", "Paper"],
    "port": ["0", "65536", "http", "6000", "5000.5"],
    "upstream": [
        *("api.ibkr.com", "ftp://x", "https://", "https://x/path", "https://x?q", "https://x#f", "https://x:99999"),
        *(
            "https://a b",
            "https://[x",
            "https://user:canary@x",
            "https://u:a canary@x",
            "u:canary@x",
            "https://x?canary",
        ),
    ],
    "release": ["http://example.com/a.zip", "ftp://x/a.zip", "https:///a.zip", "https://u:canary@x/a.zip", "  "],
    "release_sha256": ["abc", "0" * 63, "g" * 64, "md5:" + "0" * 64, "0" * 64 + "\n1"],
    "java": ["  ", "/usr/bin/ja\tva"],
    "java_options": ["  "],
    "browser": ["  ", "firefox", "/opt/Firefox/firefox"],
    "second_factor": ["sms"],
    "second_factor_command": ["oathtool"],
    "second_factor_device": ["  ", "a\nb"],
    "notify_command": ["mail"],
    "tickle_interval_s": ["4", "241", "soon", "nan"],
    "check_interval_s": ["0.5", "61", "inf"],
    "rejected_limit": ["0", "10", "few"],
    "on_competing": ["fight"],
    "maintenance": ["midnight", "25:00-26:00 America/New_York", "23:45-01:45 America/Nowhere"],
    "login_hours": ["midnight", "07:00-22:00", "07:00-07:00 Europe/Zurich", "Mon-Wed-Fri 07:00-09:00 UTC"],
    "relogin_at": ["soon", "07:30", "25:00 UTC", "07:30 Europe/Nowhere"],
    "ready_when": ["sso", "ready"],
    "push": ["maybe", "2"],
    "allow_ips": ["*", "1.2.3.256", "localhost", "127.0.0.1,*", ",", "10.0.0.0/33", "1.2.3.4.*"],
    "door": ["5443", "localhost:5443", "0.0.0.0:0", "0.0.0.0:65536", "[::]", "https://0.0.0.0:5443"],
    "show_username": ["maybe", "2"],
    "check_for_updates": ["maybe", "2"],
    "door_read_only": ["maybe", "2"],
    "door_token_file": ["  ", "/a\tb"],
    "door_client_ca": ["  ", "/a\tb"],
    "certificate_names": ["*.example", "https://a.example", "https://u:canary@a.example", "0.0.0.0"],
    "isolation": ["on", "firewalls", "Auto"],
    "allow_users": ["a b", "root;id", "-1", "a,,b/c"],
    "health_port": ["-1", "65536", "any", "5000"],
    "metrics_address": ["9464", "localhost:9464", "0.0.0.0:0", "0.0.0.0:5000"],
    "auth_delay_ms": ["0", "60001", "short"],
    "open_session_early": ["maybe", "2"],
    **{f"{name}_file": ["  ", "/a\nb"] for name in SECRET_KEYS},
    "password_command": ["pass"],
    "totp_secret_command": ["pass"],
    "notify_webhook_command": ["https://hooks.example/canary"],
    "notify_webhook_token_command": ["pass"],
    "notify_urls_command": ["pass"],
    "page": ["#username"],
}
"""For each setting, texts that no later step could use."""

BAD_IN_FILE: dict[str, list[str]] = {
    **{key: ['"pass show ibkr"', "[]", '[""]', "[5]", '["a\\u0000b"]'] for key in KEYS if key.endswith("_command")},
    **{key: ['"relative"', '"./x"', "5"] for key in FILE_KEYS},
    **{key: ['"./x"', '"x/y"', "5"] for key in PROGRAM_KEYS},
    "java_options": ["5", '"-Xmx1g\\u0000"'],
    "maintenance": ['["midnight"]', "5"],
    "login_hours": ['["midnight"]', "5", "[5]"],
    "relogin_at": ['["midnight"]', "5", "[5]"],
    "allow_ips": ['["*"]', "[]", "[5]", '[""]'],
    "certificate_names": ['["*.example"]', "5"],
    "allow_users": ["5", "[5]", '[""]'],
    "page": ['{ usernme = "#a" }', '{ username = "" }', "{ username = 5 }", "5"],
}
"""The same for values that only a file can have, in TOML."""

CASES = [(key, text) for key, texts in BAD.items() for text in texts]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with a profile, and let the calls in this process use it."""
    (tmp_path / "config.toml").write_text('[profiles.mine]\nmode = "paper"\n')
    monkeypatch.setenv("GWCTL_HOME", str(tmp_path))
    monkeypatch.setenv("GWCTL_PROFILE", "mine")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], key: str, exit_code: int) -> str:
    """Assert the contract's exit code and one line with a hint that names the setting and no secret; return it."""
    out, err = capsys.readouterr()
    assert (exit_code, out) == (Configuration.exit_code, ""), err
    line, hint = err.splitlines()
    assert line.startswith(f"gwctl: {key} = ")
    assert hint.startswith("  try: ")
    assert "canary" not in err
    return line


def test_every_setting_has_a_bad_value() -> None:
    """A new setting is tested, too."""
    assert BAD.keys() == KEYS.keys()
    assert BAD_IN_FILE.keys() > {name for name, key in KEYS.items() if not key.variable}


@pytest.mark.parametrize(("key", "text"), CASES)
def test_profile_set_refuses_it(home: Path, capsys: pytest.CaptureFixture[str], key: str, text: str) -> None:
    """`profile set` and `profile create` refuse it and write nothing."""
    before, create = (home / "config.toml").read_text(), ["profile", "create", "new", "--port", "5000", "--set"]
    assert "(the command line)" in refused(capsys, key, run(["profile", "set", "mine", f"{key}={text}"]))
    assert "(the command line)" in refused(capsys, key, run([*create, f"{key}={text}"]))
    assert (home / "config.toml").read_text() == before


@pytest.mark.parametrize("key", KEYS)
def test_the_hint_helps(home: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """`profile set` hints at a value that it takes, the word that was meant, or what is special about the value."""
    special = (
        *("did you mean ", "write it as https://", "set another port", f"set {key} to another port"),
        *("gwctl release install", "gwctl browser install", "sha256sum "),
    )
    for text in BAD[key]:
        assert run(["profile", "set", "mine", f"{key}={text}"]) == Configuration.exit_code
        hint = capsys.readouterr().err.splitlines()[-1].removeprefix("  try: ")
        if not hint.startswith("a value such as "):
            assert hint.startswith(special) or (key, hint) == ("page", "gwctl profile edit"), (text, hint)
            continue
        [pair] = shlex.split(hint.removeprefix("a value such as "))
        assert pair.startswith(f"{key}=")
        assert pair != "mode=live"
        assert run(["profile", "set", "mine", pair]) == 0, capsys.readouterr().err
        capsys.readouterr()
        assert key in (home / "config.toml").read_text()


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, text in CASES if KEYS[key].variable])
def test_a_variable_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, key: str, text: str
) -> None:
    """A call that reads the settings refuses a bad variable by its name."""
    monkeypatch.setenv(variable_of(key), text)
    assert f"(${variable_of(key)})" in refused(capsys, key, run(["profile", "show"]))


@pytest.mark.parametrize(("key", "toml"), [(key, text) for key, texts in BAD_IN_FILE.items() for text in texts])
def test_a_file_is_refused(home: Path, capsys: pytest.CaptureFixture[str], key: str, toml: str) -> None:
    """A call that reads the settings refuses a bad value in config.toml by its place."""
    (home / "config.toml").write_text(f"[profiles.mine]\n{key} = {toml}\n")
    assert f"([profiles.mine] in {home / 'config.toml'})" in refused(capsys, key, run(["profile", "show"]))


@pytest.mark.parametrize("key", ["upstream", "allow_ips", "browser", "health_port"])
def test_an_option_is_refused(home: Path, key: str) -> None:
    """A bad value from the caller of the library is refused, too."""
    with pytest.raises(Configuration, match=rf"{key} = .* \(flag\) is not "):
        load("mine", flags={key: BAD[key][-1]}, environment=Environment({"GWCTL_HOME": str(home)}))


@pytest.mark.parametrize("key", [*FILE_KEYS, *PROGRAM_KEYS])
def test_a_path_is_written_whole(home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """On the command line and in a variable, a path is relative to the folder where it was typed."""
    monkeypatch.chdir(home)
    assert run(["profile", "set", "mine", f"{key}=./here"]) == 0
    assert load("mine", environment=Environment({"GWCTL_HOME": str(home)}))[key] == str(home / "here")
    monkeypatch.setenv(variable_of(key), "./there")
    assert load("mine", environment=own_environment())[key] == str(home / "there")


def test_a_bad_value_can_be_replaced(home: Path) -> None:
    """`profile set` repairs a file with a bad value."""
    (home / "config.toml").write_text('[profiles.mine]\nallow_ips = ["*"]\nhealth_port = 5000\n')
    assert run(["profile", "set", "mine", "allow_ips=10.*", "health_port=0"]) == 0
    assert load("mine", environment=Environment({"GWCTL_HOME": str(home)}))["allow_ips"] == ("10.*",)
