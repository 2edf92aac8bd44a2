"""The settings file and each setting, as people and programs may write them: settings, or what is wrong with them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus.settings import INPUTS
from fuzzing import TEXTS, WRONG, about, bounded, fuzzed, memory_folder, torn, values
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config import load, profile_names
from gwctl.environment import Environment
from gwctl.errors import Configuration
from gwctl.gateway.isolated import Network
from gwctl.maintenance import BadWindow, Windows
from gwctl.paths import Paths
from gwctl.profile_registry import known_names, ports_by_profile
from gwctl.setting_keys import KEYS, variable_of

GOOD = b"""\
[defaults]
mode = "paper"
port = 5000
maintenance = ["europe", "Fri 23:00-Sat 03:00 Europe/Zurich"]
allow_ips = ["127.0.0.1", "192.168.1.*"]
java_options = "-Xmx128m"

[profiles.default]
username = "wren"
upstream = "https://api.ibkr.com:443"
tickle_interval_s = 30.5
certificate_names = ["gwctl.example.internal", "10.0.0.7"]
metrics_address = "[::1]:9464"
password_command = ["pass", "show", "ibkr"]
release = "https://example.org/x.zip"
release_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
allow_users = "alice, 1000"

[profiles.default.page]
password = ["#password", "input[type=password]"]

[profiles.other]
port = 5001
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a home in memory, if there is memory that is a disk; it has a folder for another profile."""
    with memory_folder() as folder:
        (Paths.for_profile("third", folder).profile_dir).mkdir(parents=True, mode=0o700)
        yield folder


def play(home: Path, raw: bytes, **variables: str) -> None:
    """Read ``raw`` in every way that the settings file is read."""
    environment = Environment({"GWCTL_HOME": str(home), **variables})
    paths = Paths.for_profile("default", home)
    paths.config_file.write_bytes(raw)
    with bounded():
        known_names(paths)
        for profile in ("default", "third"):
            with contextlib.suppress(Configuration):
                settings = load(profile, environment=environment)
                json.dumps(settings.to_json())
                Windows.parse(settings["maintenance"]).until(1795000000.0)
                Network.to(settings["upstream"], settings["allow_users"])
        for look in (lambda: profile_names(environment), lambda: ports_by_profile(paths)):
            with contextlib.suppress(Configuration):
                look()


def test_a_good_file_is_read(home: Path) -> None:
    """A file with most settings is read, so the other tests are about what is wrong."""
    play(home, GOOD)
    assert load("default", environment=Environment({"GWCTL_HOME": str(home)}))["tickle_interval_s"] == 30.5


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_file_is_read_or_refused(case: str, home: Path) -> None:
    """Every settings file that was ever interesting is read, or refused with a reason."""
    play(home, INPUTS[case])


def test_any_file_is_read_or_refused(home: Path) -> None:
    """Whatever is in the settings file, it is read or refused with a reason."""
    value = st.recursive(
        st.sampled_from(
            (b"1", b"-0", b"1e400", b"nan", b"true", b"2026-11-29", b"08:00:00", b"0x7fffffffffffffffff", b"'x'")
        )
        | st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda parts: b"[" + b", ".join(parts) + b"]")
            | inner.map(lambda part: b"{a = " + part + b"}")
        ),
        max_leaves=5,
    )
    key = st.sampled_from((*KEYS, "password", "x", '""', "a.b", "profiles")).map(str.encode)
    table = st.sampled_from(
        (b"[defaults]", b"[profiles.default]", b"[[profiles]]", b"[profiles]", b"[profiles.'x y']", b"")
    )
    line = st.builds(lambda name, one: name + b" = " + one, key, value)
    made = st.builds(lambda name, lines: name + b"\n" + b"\n".join(lines) + b"\n", table, st.lists(line, max_size=3))

    @fuzzed(100)
    @given(torn(GOOD) | st.lists(made, max_size=3).map(b"".join) | st.binary(max_size=60))
    def check(raw: bytes) -> None:
        play(home, raw)

    check()


WINDOWS = st.from_regex(
    r"(?i)((Mon|Tue|Sat|Sun) )?[0-2]\d:\d\d ?- ?((Mon|Sat) )?\d\d:\d\d (UTC|Europe/Zurich|[A-Za-z_+/-]{1,9})",
    fullmatch=True,
)
ADDRESSES = st.from_regex(
    r"(https?|ftp|file)://([a-z0-9.@:-]{0,12}|\[[0-9a-f:.%]{0,12}\])(:\d{0,6})?(/|\?|#|\\)?[a-z]{0,3}", fullmatch=True
)
NETWORKS = st.from_regex(r"[0-9*.:a-f]{1,16}(/\d{1,3})?", fullmatch=True)
HOSTILE: st.SearchStrategy[Any] = (
    st.sampled_from((*WRONG, *TEXTS))
    | values
    | WINDOWS
    | ADDRESSES
    | NETWORKS
    | st.lists(NETWORKS | WINDOWS, max_size=3)
)


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_is_refused_with_a_reason(key: str) -> None:
    """Each setting takes or refuses each wrong value; what refuses it is a ValueError that says what was expected."""
    for value in (*WRONG, *TEXTS, *[[one] for one in (*WRONG, *TEXTS)], *[{one: one} for one in TEXTS]):
        with about(value), bounded(), contextlib.suppress(ValueError):
            KEYS[key].parse(value)


def test_any_value_is_taken_or_refused() -> None:
    """Any value for any setting is taken or refused with a ValueError; windows with their own."""

    @fuzzed(80)
    @given(st.sampled_from(sorted(KEYS)), HOSTILE)
    def check(key: str, value: object) -> None:
        with bounded(), contextlib.suppress(ValueError):
            KEYS[key].parse(value)
        if isinstance(value, str):
            with bounded(), contextlib.suppress(BadWindow):
                Windows.parse([value]).until(1795000000.0)

    check()


def test_any_variable_is_taken_or_refused(home: Path) -> None:
    """Whatever an environment variable holds, also bytes that are no text, the settings are read or refused."""

    @fuzzed(40)
    @given(st.sampled_from([key for key in KEYS if KEYS[key].variable]), HOSTILE.map(str) | st.text(max_size=20))
    def check(key: str, value: str) -> None:
        play(home, GOOD, **{variable_of(key): value})

    check()
