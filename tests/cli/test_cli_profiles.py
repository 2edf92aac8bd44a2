"""Profiles in config.toml, and secrets beside it."""

from __future__ import annotations

import json
import time
import tomllib

import pytest
from cli_fakes import Home, one_line_with_hint

CONFIG = """# mine, do not touch
[defaults]
tickle_interval_s = 45  # slower

[profiles.one]   # the first
username = "one"
# port of the first
port = 5101
"""


def test_create_and_delete_keep_what_a_person_wrote(home: Home) -> None:
    """`profile create` and `delete` change only their own table: comments, order and spaces stay."""
    home.write_config(CONFIG)
    done = home.gwctl("profile", "create", "two", "--username", "u2", "--mode", "live", "--port", "5102")
    assert "gwctl --profile two" in done.check(0).stdout
    text = (home.home / "config.toml").read_text()
    assert text.startswith(CONFIG)
    assert tomllib.loads(text)["profiles"]["two"] == {"username": "u2", "mode": "live", "port": 5102}
    assert (home.home / "config.toml").stat().st_mode & 0o077 == 0
    home.gwctl("profile", "delete", "two").check(0)
    assert (home.home / "config.toml").read_text().rstrip() == CONFIG.rstrip()
    assert home.gwctl("profile", "list", "--json").check(0).envelope["data"]["profiles"] == ["default", "one"]


def test_create_in_a_file_with_scattered_tables(home: Home) -> None:
    """Tables of profiles that are scattered over the file are legal TOML and survive."""
    home.write_config('[profiles.a]\nport = 1\n\n[defaults]\nmode = "live"\n\n[profiles.b]\nport = 2\n')
    home.gwctl("profile", "create", "c", "--set", "rejected_limit=2", "--set", "allow_ips=127.0.0.1,10.0.*").check(0)
    parsed = tomllib.loads((home.home / "config.toml").read_text())
    assert parsed["profiles"]["c"].pop("port") >= 5000
    assert parsed["profiles"]["c"] == {"rejected_limit": 2, "allow_ips": ["127.0.0.1", "10.0.*"]}
    assert (parsed["profiles"]["a"], parsed["profiles"]["b"]) == ({"port": 1}, {"port": 2})
    home.gwctl("profile", "delete", "a").check(0)
    assert set(tomllib.loads((home.home / "config.toml").read_text())["profiles"]) == {"b", "c"}


def test_show_names_each_source(home: Home) -> None:
    """`profile show` gives each setting with its source, in the contract's order."""
    home.write_config(CONFIG)
    settings = home.gwctl("profile", "show", "one", "--json", GWCTL_PORT="5200").check(0).envelope["data"]["settings"]
    assert settings["port"] == {"value": 5200, "source": "$GWCTL_PORT"}
    assert settings["username"]["value"] == "one"
    assert settings["username"]["source"].startswith("[profiles.one] in ")
    assert settings["tickle_interval_s"]["source"].startswith("[defaults] in ")
    assert settings["mode"] == {"value": "paper", "source": "built in"}
    shown = home.gwctl("profile", "show", "one", GWCTL_PORT=None).check(0).stdout
    assert f"5101  ([profiles.one] in {home.home / 'config.toml'})" in shown
    assert shown.endswith(f"\nsettings file: {home.home / 'config.toml'}\n")


@pytest.mark.parametrize(
    ("argv", "exit_code", "said"),
    [
        (["create", "one"], 78, "exists"),
        (["create", "a/b"], 78, "invalid profile name"),
        (["create", "new", "--set", "prot=1"], 2, "known key"),
        (["create", "new", "--set", "password=canary"], 2, "gwctl secret set password"),
        (["create", "new", "--set", "mode=demo"], 78, "one of paper, live"),
        (["create", "new", "--port", "0"], 2, "--port"),
        (["delete", "nobody"], 78, "unknown profile 'nobody'"),
        (["show", ".."], 78, "invalid profile name"),
    ],
)
def test_mistakes_change_nothing(home: Home, argv: list[str], exit_code: int, said: str) -> None:
    """A mistake gives one line and leaves the file unchanged."""
    home.write_config(CONFIG)
    done = home.gwctl("profile", *argv).check(exit_code)
    assert said in one_line_with_hint(done)
    assert "canary" not in done.stderr
    assert (home.home / "config.toml").read_text() == CONFIG


def test_a_broken_file_is_not_written_to(home: Home) -> None:
    """`profile create` does not touch a file with an error elsewhere."""
    broken = CONFIG + "\n[profiles.bad]\nprot = 1\n"
    home.write_config(broken)
    assert "unknown key 'prot'" in one_line_with_hint(home.gwctl("profile", "create", "new").check(78))
    assert (home.home / "config.toml").read_text() == broken


def test_a_password_command(home: Home) -> None:
    """`secret check` runs the profile's password_command and names it, but never prints its output."""
    home.write_config("[profiles.default]\npassword_command = ['echo', 'canary-command']\n")
    done = home.gwctl("secret", "check").check(0)
    assert (done.stdout, done.stderr) == ("password: password_command\n", "")
    home.write_config("[profiles.default]\npassword_command = ['false']\n")
    assert "password_command failed" in one_line_with_hint(home.gwctl("secret", "check").check(78))


def test_a_command_is_set_as_config_toml_has_it(home: Home) -> None:
    """`profile set` takes the list that its own error shows; a single text is not split."""
    home.gwctl("profile", "create", "default").check(0)
    home.gwctl("profile", "set", "default", 'password_command=["echo", "canary-command"]').check(0)
    assert home.gwctl("secret", "check").check(0).stdout == "password: password_command\n"
    for wrong in ("echo canary", '["echo"', "[]", "5"):
        said = one_line_with_hint(home.gwctl("profile", "set", "default", f"password_command={wrong}").check(78))
        assert 'such as ["pass", "show", "ibkr"]' in said
    assert home.gwctl("secret", "check").check(0).stdout == "password: password_command\n"


def test_a_hidden_username_is_not_listed(home: Home) -> None:
    """With `show_username = false`, the list for people has no name; --json has it as a field."""
    home.gwctl("profile", "create", "two", "--username", "Reader01", "--set", "show_username=false").check(0)
    assert "Reader01" not in home.gwctl("profile", "list").check(0).stdout
    shown = home.gwctl("profile", "list", "--json").check(0).envelope["data"]["details"][-1]
    assert (shown["username"], shown["show_username"]) == ("Reader01", False)


def test_a_setting_is_put_back(home: Home) -> None:
    """`profile unset` removes a key: what `[defaults]` or gwctl itself has applies again; the rest is unchanged."""
    home.write_config(CONFIG)
    home.gwctl("profile", "unset", "one", "browser").check(0)
    assert (home.home / "config.toml").read_text() == CONFIG
    home.gwctl("profile", "set", "one", "maintenance=europe", "tickle_interval_s=60").check(0)
    done = home.gwctl("profile", "unset", "one", "maintenance", "tickle_interval_s", "--json").check(0)
    shown = done.envelope["data"]["settings"]
    assert shown["maintenance"] == {"value": ["north-america"], "source": "built in"}
    assert shown["tickle_interval_s"]["value"] == 45
    assert (home.home / "config.toml").read_text().rstrip() == CONFIG.rstrip()


@pytest.mark.parametrize(
    ("key", "exit_code", "said"),
    [
        ("maintenence", 2, "did you mean maintenance?"),
        ("password", 2, "gwctl secret set password"),
        ("port", 78, "5000"),
    ],
)
def test_a_setting_that_cannot_be_put_back(home: Home, key: str, exit_code: int, said: str) -> None:
    """An unknown key, a secret, and a default that does not fit the others are refused; nothing is written."""
    config = "[profiles.one]\nport = 5101\nhealth_port = 5000\n"
    home.write_config(config)
    assert said in one_line_with_hint(home.gwctl("profile", "unset", "one", key, GWCTL_PORT=None).check(exit_code))
    assert (home.home / "config.toml").read_text() == config


def test_delete_keeps_what_was_refused(home: Home) -> None:
    """The count of a deleted profile stays its username's: for another profile, and after the last one (law 2)."""
    for name in ("a", "b"):
        home.gwctl("profile", "create", name, "--username", "Reader01").check(0)
    former = home.home / "state" / "profiles" / "a" / "ledger.json"
    former.parent.mkdir(parents=True, mode=0o700)
    submit = {"at_s": time.time(), "print": "00", "outcome": "refused", "uptime": None}
    empty = {"worked_print": None, "refused_print": None, "locked_reason": None, "block": None}
    former.write_text(json.dumps({"salt": "00" * 16, "submits": [submit], **empty}))
    home.gwctl("profile", "delete", "a").check(0)
    assert not former.parent.exists()
    status = home.gwctl("--profile", "b", "status", "--json").envelope["data"]["login"]
    assert (status["rejected"], status["shared_with"]) == (1, [])
    home.gwctl("profile", "delete", "b").check(0)
    home.gwctl("profile", "create", "c", "--username", "reader01").check(0)
    assert home.gwctl("--profile", "c", "status", "--json").envelope["data"]["login"]["rejected"] == 1


def test_delete_forgets_no_refusals_of_an_unknown_username(home: Home) -> None:
    """A count whose username only a variable named is not thrown away: the message says how to name it."""
    former = home.home / "state" / "profiles" / "a" / "ledger.json"
    former.parent.mkdir(parents=True, mode=0o700)
    submit = {"at_s": time.time(), "print": "00", "outcome": None}
    empty = {"worked_print": None, "refused_print": None, "locked_reason": None, "block": None}
    former.write_text(json.dumps({"salt": "00" * 16, "submits": [submit], **empty}))
    assert "GWCTL_USERNAME=NAME" in home.gwctl("profile", "delete", "a").check(78).stderr
    assert former.exists()
    home.gwctl("profile", "delete", "a", GWCTL_USERNAME="reader01").check(0)
    home.gwctl("profile", "create", "b", "--username", "reader01").check(0)
    assert home.gwctl("--profile", "b", "status", "--json").envelope["data"]["login"]["rejected"] == 1


def test_status_doctor_and_reset_name_who_shares_the_count(home: Home) -> None:
    """Profiles of one username: what one calls is about both, and says so; a reset on a stopped one resets both."""
    for name in ("a", "b"):
        home.gwctl("profile", "create", name, "--username", "reader01").check(0)
    former = home.home / "state" / "profiles" / "a" / "ledger.json"
    former.parent.mkdir(parents=True, mode=0o700)
    submit = {"at_s": time.time(), "print": "00", "outcome": "refused"}
    former.write_text(json.dumps({"salt": "00" * 16, "submits": [submit] * 3, "worked_print": None,
                                  "refused_print": "00", "locked_reason": None, "block": None}))  # fmt: skip
    status = home.gwctl("--profile", "b", "status").stdout
    assert "3 of 3 refusals in 24 h" in status
    assert "together with a: the same username" in status
    findings = home.gwctl("--profile", "b", "doctor", "--json").envelope["data"]["findings"]
    [login] = [one for one in findings if one["check"] == "login"]
    assert login["state"] == "failed"
    assert "together with a" in login["what"]
    assert "together with a" in home.gwctl("--profile", "b", "login", "--reset-lockout").check(0).stderr
    status = home.gwctl("--profile", "a", "status", "--json").envelope["data"]["login"]
    assert (status["rejected"], status["locked"]) == (0, False)
