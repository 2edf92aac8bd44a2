"""What a child of each kind inherits, and that none gets a secret (law 8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.environment import SECRET_PREFIXES
from gwctl.process import Child, environment_of
from gwctl.setting_keys import SECRET_KEYS, variable_of

pytestmark = pytest.mark.law(8)

SECRETS = [variable_of(key) for key in SECRET_KEYS]
ANYBODYS = {"PATH": "/bin", "LC_ALL": "C", "XDG_RUNTIME_DIR": "/run"}
ONLINE = {"HTTPS_PROXY": "http://proxy", "no_proxy": "x", "NODE_EXTRA_CA_CERTS": "/ca"}
KEYRING = {"PYTHON_KEYRING_BACKEND": "plain"}
USERS = {"MY_TOKEN": "t", "PYTHONPATH": "/x", "GWCTL_PROFILE": "p"}
COMMANDS = {"GWCTL_PASSWORD_FILE": "/f", "NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
ALL = {**ANYBODYS, **ONLINE, **KEYRING, **USERS, **COMMANDS, **dict.fromkeys(SECRETS, "secret")}


@pytest.mark.parametrize(
    ("kind", "inherited"),
    [
        (Child.OURS, ANYBODYS),
        (Child.ONLINE, ANYBODYS | ONLINE),
        (Child.SUPERVISOR, ANYBODYS | KEYRING),
        (Child.HOOK, ANYBODYS | ONLINE | KEYRING | USERS),
        (Child.COMMAND, ANYBODYS | ONLINE | KEYRING | USERS | COMMANDS),
    ],
)
def test_each_kind_inherits_its_part(kind: Child, inherited: dict[str, str]) -> None:
    """Ours get the minimum, the user's own programs the user's environment without our secrets."""
    got = environment_of(kind, ALL)
    assert {name: value for name, value in got.items() if not name.startswith("MALLOC_")} == inherited
    assert any(name.startswith("MALLOC_") for name in got) is (kind is Child.SUPERVISOR)


@given(
    st.sampled_from(Child),
    st.dictionaries(st.sampled_from([*SECRETS, *ALL]) | st.text(), st.text()),
    st.dictionaries(st.sampled_from([*SECRETS, *ALL]) | st.text(), st.text()),
)
def test_no_child_gets_a_secret(kind: Child, base: dict[str, str], extra: dict[str, str]) -> None:
    """Law 8, also where a caller adds one by mistake; everything else that a caller adds arrives."""
    got = environment_of(kind, base, extra)
    assert not set(got) & set(SECRETS)
    assert {name for name in extra if not name.startswith(SECRET_PREFIXES)} <= set(got)


def test_every_secret_has_a_name_that_is_known() -> None:
    """A new secret whose variable begins in another way would be passed on."""
    assert all(name.startswith(SECRET_PREFIXES) for name in SECRETS)
