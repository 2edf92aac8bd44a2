"""Settings and a certificate that change under a running gateway: applied at its next start, reported until then."""

from __future__ import annotations

import json
import socket
import time

import pytest
from cli_fakes import Home, wait_for
from cryptography import x509
from rig import AT_ANY_HOUR

from gwctl.http_requests import trust_only

WIDE = f'{AT_ANY_HOUR}certificate_names = ["new.test", "old.test"]\n'
NARROW = f'{AT_ANY_HOUR}certificate_names = ["new.test"]\n'
DIFFER = "certificate_names: the gateway runs with new.test, old.test; the settings say new.test"


def certified(home: Home) -> list[str]:
    """Return the names, besides this machine's own, in the certificate that the running gateway serves."""
    context = trust_only(home.home / "ca" / "ca.pem")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", home.port)), server_hostname="localhost") as served:
        leaf = x509.load_der_x509_certificate(served.getpeercert(binary_form=True) or b"")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(set(names.get_values_for_type(x509.DNSName)) - {"localhost"})


def findings(home: Home, check: str) -> list[tuple[str, str, str | None]]:
    """Return what doctor's check reports."""
    said = json.loads(home.gwctl("doctor", "--json").stdout)["data"]["findings"]
    return [(one["state"], one["what"], one["remedy"]) for one in said if one["check"] == check]


@pytest.fixture
def wide(home: Home) -> Home:
    """Return a ready sandbox whose gateway has a name that the settings no longer have."""
    home.write_config(WIDE)
    home.gwctl("up", "--sandbox").check(0)
    home.write_config(NARROW)
    return home


def test_a_narrowed_list_is_followed_by_restart_and_shown_until_then(wide: Home) -> None:
    """`status` and `doctor` report what the running gateway does, not the settings; `restart` applies them."""
    assert wait_for(lambda: wide.status()["drift"], 10, "the supervisor has seen it") == [
        {"setting": "certificate_names", "text": DIFFER, "remedy": "gwctl restart"}
    ]
    assert f"settings    {DIFFER}\n              to apply it: gwctl restart\n" in wide.gwctl("status").check(0).stdout
    assert f"{DIFFER}; to apply it: gwctl restart\n" in wide.gwctl("up", "--sandbox").check(0).stderr
    assert findings(wide, "drift") == [("warning", DIFFER, "gwctl restart")]
    submits = wide.sandbox_submits()
    wide.gwctl("restart").check(0)
    assert certified(wide) == ["new.test"]
    assert wait_for(lambda: wide.status()["drift"] == [], 10, "there is none any more")
    assert wide.sandbox_submits() == submits
    assert [state for state, _, _ in findings(wide, "drift")] == ["ok"]


def test_an_adopted_gateway_goes_on_and_its_drift_is_said(wide: Home) -> None:
    """The gateway is not restarted (law 4): `up` reports its different settings, and so does `status`."""
    pid = wide.status()["gateway"]["pid"]
    wide.gwctl("down", "--keep-session").check(0)
    assert DIFFER in wide.gwctl("status").check(150).stdout
    assert findings(wide, "drift")[0][2] == "gwctl restart"
    assert DIFFER in wide.gwctl("up", "--sandbox").check(0).stderr
    assert (wide.status()["gateway"]["pid"], certified(wide)) == (pid, ["new.test", "old.test"])


@pytest.mark.parametrize(
    "text", [pytest.param("[defaults\n", marks=pytest.mark.wide), 'maintenance = []\ncertificate_names = ["*"]\n']
)
def test_settings_that_cannot_be_used_end_nothing(wide: Home, text: str) -> None:
    """The gateway starts with its previous settings and reports that: a typo in a file ends no session."""
    wide.write_config(f"{AT_ANY_HOUR}{text}".replace("maintenance = []\n", "", text.count("maintenance")))
    wait_for(lambda: wide.status()["drift"], 10, "it is shown")
    wide.gwctl("restart").check(0)
    assert certified(wide) == ["new.test", "old.test"]
    assert [entry for entry in wide.journal() if entry.get("code") == "settings_unusable"]
    wide.write_config(NARROW)


def test_what_the_supervisor_was_started_with_is_shown(wide: Home) -> None:
    """A setting that only a new supervisor can apply is reported; the suggested command keeps the session."""
    wide.write_config(f"{WIDE}tickle_interval_s = 77\njava_options = '-Xmx200m'\n")
    assert wait_for(lambda: wide.status()["drift"], 10, "it is shown") == [
        {
            "setting": "java_options",
            "text": "java_options was changed since the gateway started",
            "remedy": "gwctl restart",
        },
        {
            "setting": "tickle_interval_s",
            "text": "tickle_interval_s was changed since the supervisor started",
            "remedy": "gwctl down --keep-session, then gwctl up --sandbox",
        },
    ]
    assert {remedy for _, _, remedy in findings(wide, "drift")} == {
        "gwctl restart",
        "gwctl down --keep-session, then gwctl up --sandbox",
    }


def test_one_command_that_applies_several_settings_is_said_once(home: Home) -> None:
    """`status` and `up` name each setting, and then what applies all of them."""
    home.gwctl("up", "--sandbox", "--fast").check(0)
    home.write_config("[defaults]\ntickle_interval_s = 40\ncheck_interval_s = 7\ncertificate_names = ['new.test']\n")
    wait_for(lambda: len(home.status()["drift"]) == 3, 10, "the supervisor has seen them")
    shown = home.gwctl("status").check(0).stdout
    since, remedy = "was changed since the supervisor started", "gwctl down --keep-session, then gwctl up --sandbox"
    keys = [line.split()[-7] for line in shown.splitlines() if line.endswith(since)]
    assert sorted(keys) == ["check_interval_s", "tickle_interval_s"]
    assert f"              to apply them: {remedy}\n" in shown
    assert "              to apply it: gwctl restart\n" in shown
    assert shown.count(remedy) == 1
    told = home.gwctl("up", "--sandbox").check(0).stderr
    assert told.count(since) == 2
    assert told.count(remedy) == 1


def test_a_certificate_is_renewed_at_a_start_and_not_under_a_gateway(home: Home) -> None:
    """In its last 30 days `up` still adopts the running gateway; `restart` then creates a new certificate."""
    home.gwctl("up", "--sandbox").check(0)
    pid, submits = home.status()["gateway"]["pid"], home.sandbox_submits()
    leaf = (home.profile_dir / "leaf.pem").read_text()
    home.gwctl("down", "--keep-session").check(0)
    facts_file = home.profile_dir / "leaf.json"
    facts = json.loads(facts_file.read_text())
    facts_file.write_text(json.dumps({**facts, "not_after_s": int(time.time()) + 29 * 86_400}))
    home.gwctl("up", "--sandbox").check(0)
    assert (home.status()["gateway"]["pid"], home.sandbox_submits()) == (pid, submits)
    assert (home.profile_dir / "leaf.pem").read_text() == leaf
    home.gwctl("restart").check(0)
    assert (home.profile_dir / "leaf.pem").read_text() != leaf


def test_a_list_from_a_variable_needs_another_supervisor_and_that_is_said(home: Home) -> None:
    """A supervisor keeps its variables: `restart` names the command that narrows the list."""
    narrow, applied = {"GWCTL_CERTIFICATE_NAMES": "new.test"}, "gwctl down, then gwctl up --sandbox"
    home.gwctl("up", "--sandbox", GWCTL_CERTIFICATE_NAMES="new.test,old.test").check(0)
    done = home.gwctl("restart", **narrow).check(0)
    assert f"{DIFFER}; the supervisor still uses the variables from its start; to apply it: {applied}\n" in done.stderr
    assert "certificate_names" not in home.gwctl("restart").check(0).stderr
    home.gwctl("down").check(0)
    home.gwctl("up", "--sandbox", **narrow).check(0)
    assert certified(home) == ["new.test"]


def test_a_list_that_cannot_be_used_is_said_once_and_truly(home: Home) -> None:
    """A first start has no previous settings to fall back to."""
    done = home.gwctl("up", "--sandbox", GWCTL_CERTIFICATE_NAMES="*.test").check(78)
    assert not [text for text in ("of before", "previous settings") if text in done.stderr]
    assert done.stderr.count("is a wildcard; list each name") == 1


def test_a_ready_session_is_told_as_ready_though_the_settings_are_broken(home: Home) -> None:
    """With a ready session `up`, as called by cron, reports the broken file and exits with 0; otherwise 78."""
    home.gwctl("up", "--sandbox").check(0)
    home.write_config("[defaults\n")
    for _ in range(2):
        done = home.gwctl("up", "--sandbox").check(0)
        assert "already ready" in done.stdout
        assert len([line for line in done.stderr.splitlines() if "config.toml" in line]) == 1, done.stderr
        wait_for(lambda: home.status()["drift"], 10, "the supervisor has seen it, too")
    home.gwctl("down").check(0)
    home.gwctl("up", "--sandbox").check(78)
