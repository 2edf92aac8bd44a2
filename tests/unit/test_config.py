from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import gwctl
from gwctl.config import Settings, check_profile_name, load, profile_names, profile_of, require_profile
from gwctl.environment import Environment
from gwctl.errors import Configuration
from gwctl.lifecycle.profile import Profile
from gwctl.setting_keys import KEYS, SECRET_KEYS, variable_of
from gwctl.supervisor.served import command

# For each key: its value from a flag, the variable, the profile and the defaults, and the result of each.
HOURS = ["07:00-22:00 UTC", "Mon-Fri 07:00-22:00 Europe/Zurich", "Fri 22:00-Sat 01:00 UTC", "Mon,Sat 09:00-10:00 UTC"]
MOMENTS = ["07:00 UTC", "Mon-Fri 07:00 Europe/Zurich", "22:30 UTC", "Sat 09:00 UTC"]
YES_OR_NO = ("check_for_updates", "door_read_only", "open_session_early", "push", "show_username")
SAMPLES: dict[str, list[Any]] = {
    "username": ["f", "v", "p", "d"],
    "mode": ["live", "live", "live", "live"],
    "login_hours": HOURS,
    "relogin_at": MOMENTS,
    "ready_when": ["brokerage", "portfolio", "brokerage", "portfolio"],
    "push": ["yes", "no", "true", "0"],
    "show_username": ["yes", "no", "true", "0"],
    "check_for_updates": ["yes", "no", "true", "0"],
    "port": [5001, "5002", 5003, 5004],
    "upstream": ["https://f", "https://v", "https://p", "https://d"],
    "release": ["f", "v", "p", "d"],
    "release_sha256": ["1" * 64, "2" * 64, "3" * 64, "4" * 64],
    "java": ["/f", "/v", "/p", "/d"],
    "java_options": ["-f", "-v", "-p", "-d"],
    "browser": ["/f", "/v", "/p", "/d"],
    "second_factor": ["none", "totp", "push", "prompt"],
    "second_factor_device": ["5.2a", "IB Key", "sms", "4"],
    "tickle_interval_s": [10, "11", 12.5, 13],
    "check_interval_s": [1, "2", 3.5, 4],
    "rejected_limit": [1, "2", 4, 5],
    "on_competing": ["take_over", "take_over", "take_over", "take_over"],
    "allow_ips": [["10.0.0.1"], "10.0.0.2, 10.0.0.3", ["10.0.0.4"], ["10.*"]],
    "certificate_names": [["f.example"], "V.example, 10.0.0.7", ["p"], ["::2"]],
    "door": ["0.0.0.0:5443", "127.0.0.1:2", "[::]:3", "[::1]:65535"],
    "door_read_only": ["yes", "no", "true", "0"],
    "door_token_file": ["/f", "/v", "/p", "/d"],
    "door_client_ca": ["/f", "/v", "/p", "/d"],
    "isolation": ["namespace", "off", "required", "namespace"],
    "allow_users": [["f"], "v, 1000", ["p"], ["d"]],
    "health_port": [1, "2", 3, 0],
    "metrics_address": ["0.0.0.0:9464", "127.0.0.1:2", "[::]:3", "[::1]:65535"],
    "auth_delay_ms": [5, "2", 3, 4],
    "open_session_early": ["yes", "no", "true", "0"],
    **{f"{name}_file": ["/f", "/v", "/p", "/d"] for name in SECRET_KEYS},
}
BECOMES = {
    **{(key, rank): rank in {0, 2} for key in YES_OR_NO for rank in range(4)},
    **{("login_hours", rank): (hours,) for rank, hours in enumerate(HOURS)},
    **{("relogin_at", rank): (at,) for rank, at in enumerate(MOMENTS)},
    ("allow_ips", 1): ("10.0.0.2", "10.0.0.3"),
    ("certificate_names", 1): ("v.example", "10.0.0.7"),
    ("allow_users", 1): ("v", "1000"),
}


def toml(value: object) -> str:
    return repr(value).replace("'", '"')


def write(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text)
    return home


def load_from(home: Path, profile: str = "default", flags: dict[str, Any] | None = None, **variables: str) -> Settings:
    return load(profile, flags=flags, environment=Environment({"GWCTL_HOME": str(home), **variables}))


@pytest.mark.parametrize("highest", range(5), ids=["flag", "variable", "profile", "defaults", "built-in"])
@pytest.mark.parametrize("key", SAMPLES)
def test_first_source_wins(tmp_path: Path, key: str, highest: int) -> None:
    """A flag wins over the variable, then profile, defaults and built-in value; the source is recorded."""
    samples = SAMPLES[key]
    lines = []
    if highest <= 3:
        lines += ["[defaults]", f"{key} = {toml(samples[3])}"]
    if highest <= 2:
        lines += ["[profiles.mine]", f"{key} = {toml(samples[2])}"]
    write(tmp_path, "\n".join(lines))
    variables = {variable_of(key): samples[1]} if highest <= 1 else {}
    flags = {key: samples[0] if highest == 0 else None}
    setting = load_from(tmp_path, "mine", flags, **variables).values[key]
    config = tmp_path / "config.toml"
    places = ["flag", f"${variable_of(key)}", f"[profiles.mine] in {config}", f"[defaults] in {config}", "built in"]
    assert setting.source == places[highest]
    if highest == 4:
        assert setting.value == KEYS[key].default
    else:
        value = BECOMES.get((key, highest), samples[highest])
        expected = type(KEYS[key].parse(samples[highest]))(value)
        assert setting.value == expected


def test_every_key_has_a_sample() -> None:
    """A new key is tested in every source; keys without a variable are lists and tables in the file."""
    assert set(SAMPLES) == {name for name, key in KEYS.items() if key.variable}
    assert {name for name, key in KEYS.items() if not key.variable} == {
        "password_command",
        "totp_secret_command",
        "second_factor_command",
        "notify_command",
        "notify_webhook_command",
        "notify_webhook_token_command",
        "notify_urls_command",
        "page",
        "maintenance",
    }


@pytest.mark.parametrize(
    "address",
    [
        ":9464",
        "9464",
        "0.0.0.0",
        "0.0.0.0:",
        "0.0.0.0:0",
        "0.0.0.0:65536",
        "localhost:9464",
        "::1:9464",
        "[::1]",
        "[1.2.3.4]:1",
    ],
)
def test_address_for_other_machines_is_whole(tmp_path: Path, address: str) -> None:
    """An address to listen on is an IP address and a port; anything else is rejected with an example."""
    with pytest.raises(
        Configuration, match=r"metrics_address = .* is not an IP address and a port, such as 0\.0\.0\.0"
    ):
        load_from(tmp_path, GWCTL_METRICS_ADDRESS=address)


def test_empty_variable_is_none(tmp_path: Path) -> None:
    """An empty variable counts as unset."""
    assert load_from(tmp_path, GWCTL_PORT="")["port"] == 5000


def test_profiles_do_not_mix(tmp_path: Path) -> None:
    """A profile sees only its own table and the defaults."""
    write(tmp_path, '[profiles.one]\nusername = "one"\n[profiles.two]\nport = 5002\n')
    assert load_from(tmp_path, "one")["username"] == "one"
    assert load_from(tmp_path, "two")["username"] is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[defaults]\nusrname = 'a'", r"unknown key 'usrname' in \[defaults\]", "did you mean 'username'?"),
        ("[profiles.a]\nprot = 1", r"unknown key 'prot' in \[profiles.a\]", "did you mean 'port'?"),
        ("[profile.a]\nport = 1", "unknown key 'profile' of", "did you mean 'profiles'?"),
        ("[defaults]\nxyzzy = 1", "unknown key 'xyzzy'", "known keys: username, mode"),
        ("port = 1", "unknown key 'port' of", "known keys: defaults, profiles"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(tmp_path: Path, text: str, message: str, hint: str) -> None:
    """A typo does not become a setting that silently does nothing."""
    with pytest.raises(Configuration, match=message) as caught:
        load_from(write(tmp_path, text))
    assert caught.value.exit_code == 78
    assert (caught.value.hint or "").startswith(hint)


@pytest.mark.parametrize("where", ["defaults", "profiles.default", "profiles.another"])
@pytest.mark.parametrize("key", SECRET_KEYS)
def test_secrets_in_the_file_are_refused(tmp_path: Path, key: str, where: str) -> None:
    """Law 8: config.toml is not a place for secrets, and the error does not repeat them."""
    with pytest.raises(Configuration, match=key) as caught:
        load_from(write(tmp_path, f'[{where}]\n{key} = "hunter2"\n'))
    assert "hunter2" not in str(caught.value) + (caught.value.hint or "")
    assert f"gwctl secret set {key}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("username", 5),
        ("username", "  "),
        ("mode", "demo"),
        ("mode", ["paper"]),
        ("port", 0),
        ("port", 65_536),
        ("port", "http"),
        ("port", True),
        ("port", 5000.0),
        ("health_port", -1),
        ("tickle_interval_s", 4),
        ("tickle_interval_s", 241),
        ("tickle_interval_s", "nan"),
        ("tickle_interval_s", True),
        ("tickle_interval_s", "soon"),
        ("check_interval_s", "inf"),
        ("rejected_limit", 10),
        ("rejected_limit", 0),
        ("on_competing", "fight"),
        ("second_factor", "sms"),
        ("allow_ips", []),
        ("allow_ips", [5]),
        ("allow_ips", 5),
        ("certificate_names", ["*.example"]),
        ("certificate_names", 5),
        ("auth_delay_ms", 60_001),
        ("auth_delay_ms", 0),
        ("login_hours", "07:00-22:00"),
        ("login_hours", ["7-22 Europe/Zurich"]),
        ("login_hours", 7),
        ("relogin_at", "07:30"),
        ("relogin_at", ["25:30 Europe/Zurich"]),
        ("maintenance", ["midnight"]),
        ("maintenance", ["23:45-01:45 America/Nowhere"]),
        ("maintenance", 5),
        ("password_command", "pass show ibkr"),
        ("password_command", []),
        ("totp_secret_command", [5]),
    ],
)
def test_bad_value_is_named_with_its_place(tmp_path: Path, key: str, value: object) -> None:
    """The error names key, value and place."""
    raw = toml(value).replace("True", "true")
    with pytest.raises(Configuration) as caught:
        load_from(write(tmp_path, f"[defaults]\n{key} = {raw}\n"))
    message = caught.value.message
    assert message.startswith(f"{key} = {value!r} ([defaults] in {tmp_path / 'config.toml'}) is not ")
    assert caught.value.hint == "gwctl profile edit"


def test_bad_variable_is_named(tmp_path: Path) -> None:
    """The error for a bad value in the environment names its variable."""
    with pytest.raises(
        Configuration, match=r"port = 'x' \(\$GWCTL_PORT\) is not a whole number from 1 to 65535"
    ) as caught:
        load_from(tmp_path, GWCTL_PORT="x")
    assert caught.value.hint == "correct GWCTL_PORT, or: unset GWCTL_PORT"


@pytest.mark.parametrize("page", ["5", '"a"', "{ username = 5 }", "{ username = [5] }", "{ username = { a = 1 } }"])
def test_bad_page_is_named(tmp_path: Path, page: str) -> None:
    """Selectors are texts; anything else is an error, not a crash."""
    with pytest.raises(Configuration, match="is not a table of selectors"):
        load_from(write(tmp_path, f"[defaults]\npage = {page}\n"))


def test_page_and_commands_are_read(tmp_path: Path) -> None:
    """One selector or several; a command with its arguments."""
    write(tmp_path, '[defaults]\npage = { username = "#a", submit = ["#b", "#c"] }\npassword_command = ["pass", "a"]\n')
    settings = load_from(tmp_path)
    assert settings["page"] == {"username": ["#a"], "submit": ["#b", "#c"]}
    assert settings["password_command"] == ("pass", "a")
    assert settings.to_json()["password_command"]["value"] == ["pass", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[defaults\n", "is not valid TOML"),
        (b"\xff", "is not valid TOML"),
        (b"defaults = 3\n", r"\[defaults\] in .* is not a table"),
        (b"profiles = []\n", r"\[profiles\] in .* is not a table"),
        (b"[profiles]\nmine = 3\n", r"profiles.mine in .* is not a table"),
        (b'[profiles."../x"]\n', "invalid profile name '../x'"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Every reader of an invalid file reports it with its path."""
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(Configuration, match=message) as caught:
        load_from(tmp_path)
    assert caught.value.hint
    with pytest.raises(Configuration, match=message):
        profile_names(Environment({"GWCTL_HOME": str(tmp_path)}))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    """An unreadable file does not count as missing."""
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(Configuration, match="cannot read"):
        load_from(tmp_path)


@pytest.mark.parametrize("name", ["default", "a", "A-1_b.c", "x" * 64])
def test_good_profile_names(name: str) -> None:
    """A profile's name works as a folder's name."""
    assert check_profile_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "-a", "_a", "a b", "a\n", "ü", "x" * 65, "a\0"])
def test_bad_profile_names(name: str) -> None:
    """No name leads out of the folder of profiles."""
    with pytest.raises(Configuration, match="invalid profile name"):
        check_profile_name(name)
    with pytest.raises(Configuration, match="invalid profile name"):
        load(name, environment=Environment({}))


def test_profile_names_are_those_of_file_and_folder(tmp_path: Path) -> None:
    """A profile exists if it is configured or has run."""
    write(tmp_path, "[profiles.configured]\n")
    (tmp_path / "state" / "profiles" / "ran").mkdir(parents=True)
    (tmp_path / "state" / "profiles" / "a-file").write_text("")
    assert profile_names(Environment({"GWCTL_HOME": str(tmp_path)})) == ["configured", "default", "ran"]


def test_the_profile_that_is_used_if_none_is_named(tmp_path: Path) -> None:
    """The variable, else the file of `profile use`, else ``default``; a file without a name is an error, no guess."""
    environment = Environment({"GWCTL_HOME": str(tmp_path)})
    assert profile_of(environment) == "default"
    (tmp_path / "profile").write_text("live\n")
    assert profile_of(environment) == "live"
    assert profile_of(Environment({**environment.variables, "GWCTL_PROFILE": "mine"})) == "mine"
    for content in ("", "a/b\n", "..", "\0"):
        (tmp_path / "profile").write_text(content)
        with pytest.raises(Configuration, match="names no profile"):
            profile_of(environment)
    (tmp_path / "profile").unlink()
    (tmp_path / "profile").symlink_to("/etc/hostname")
    with pytest.raises(Configuration, match="cannot read"):
        profile_of(environment)


def test_commands_name_the_default_profile_where_another_is_used(tmp_path: Path) -> None:
    """After `profile use live`, `gwctl up` would bring up the live account."""
    environment = Environment({"GWCTL_HOME": str(tmp_path)})
    assert Profile("default", environment).command("up") == "gwctl up"
    (tmp_path / "profile").write_text("live\n")
    assert Profile("default", environment).command("up") == "gwctl --profile default up"
    assert Profile("live", environment).command("up") == "gwctl up"
    assert command(load("default", environment=environment), "up") == "gwctl --profile default up"


def test_a_profile_that_there_is_not(tmp_path: Path) -> None:
    """The error names those that there are, and the nearest; with a broken file, nothing is refused."""
    environment = Environment({"GWCTL_HOME": str(tmp_path)})
    (tmp_path / "config.toml").write_text("[profiles.paper]\n[profiles.live]\n")
    for name in ("default", "paper", "live"):
        require_profile(name, environment)
    with pytest.raises(Configuration, match="no profile 'papre', only default, live, paper") as caught:
        require_profile("papre", environment)
    assert caught.value.hint == "gwctl --profile paper …, or gwctl profile create papre --username NAME"
    (tmp_path / "state" / "profiles" / "ran").mkdir(parents=True)
    require_profile("ran", environment)
    (tmp_path / "config.toml").write_text("[")
    require_profile("papre", environment)


KINDS = [key for key, one in KEYS.items() if not one.variable]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GWCTL_USERNMAE", "did you mean GWCTL_USERNAME?"),
        ("GWCTL_PASSWORD_FIL", "did you mean GWCTL_PASSWORD_FILE?"),
        ("GWCTL_XYZZY_Q", "unset GWCTL_XYZZY_Q"),
        *((variable_of(key), f"write {key} into config.toml") for key in KINDS),
    ],
)
def test_a_variable_that_there_is_not(tmp_path: Path, name: str, hint: str) -> None:
    """It would have no effect: the error names the right one, and never its value."""
    with pytest.raises(Configuration, match=name) as caught:
        load("default", environment=Environment({"GWCTL_HOME": str(tmp_path), name: "canary"}))
    assert caught.value.hint == hint
    assert "canary" not in caught.value.message


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    """What Kubernetes sets for a service named gwctl, what tests use, and what the documentation names."""
    docs = Path(gwctl.__file__).parents[1] / "docs"
    named = {name for page in docs.rglob("*.md") for name in re.findall(r"\bGWCTL_[A-Z_]+[A-Z]\b", page.read_text())}
    links = ("GWCTL_SERVICE_HOST", "GWCTL_SERVICE_PORT_DOOR", "GWCTL_PORT_5443_TCP", "GWCTL_DOOR_PORT_5443_TCP_ADDR")
    linked = {"GWCTL_LIVE_PORT": "tcp://10.0.0.1:5000"}
    known = Environment(
        dict.fromkeys({*named, *links, "GWCTL_TEST_RELEASE_ZIP", "_GWCTL_COMPLETE", "PATH"}, "x") | linked
    )
    known.require_known()
    assert "GWCTL_PASSWORD_FILE" in named


@pytest.mark.parametrize(
    ("value", "is_set"), [("1", True), ("yes", True), ("0", False), ("No", False), ("off", False), ("", False)]
)
def test_flag_variables(value: str, is_set: bool) -> None:  # noqa: FBT001 - parametrised
    """A "no" value counts as no."""
    assert Environment({"X": value}).flag("X") is is_set
    assert Environment({}).home is None
