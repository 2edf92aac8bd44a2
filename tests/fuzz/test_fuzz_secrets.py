"""What a program prints for a password, and what it takes of memory: a secret, or a reason without it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from random import Random

import pytest
from corpus.secrets import INPUTS
from fuzzing import about, bounded, fuzzed, tear
from hypothesis import given
from hypothesis import strategies as st

from gwctl import process
from gwctl.config import Settings, load
from gwctl.credentials import Sources, doubt_of, find, fingerprint
from gwctl.environment import Environment
from gwctl.errors import Configuration, TimedOut
from gwctl.login.codes import BadSecret, bytes_of, code_at, plan_code
from gwctl.process.pipes import KEPT_BYTES

CONFIG = """\
[defaults]
password_command = ["the-password"]
totp_secret_command = ["the-secret"]
notify_urls_command = ["the-urls"]
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    (home / "config.toml").write_text(CONFIG)
    return load("default", environment=Environment({"GWCTL_HOME": str(home)}))


def take(raw: bytes, settings: Settings) -> None:
    """Take ``raw`` for each secret that a program may print, and make of it what a login does."""
    sources = Sources(Environment({}), lambda _argv: process.Completed(0, raw, "").text)
    for name in ("password", "totp_secret", "notify_urls"):
        with bounded():
            try:
                found = find(name, settings, sources)
            except Configuration:
                continue
        assert found is not None
        text = found.secret.reveal()
        assert name == "notify_urls" or text.encode() in raw, "only what was printed is sent"
        assert name == "notify_urls" or not {"\n", "\r"} & set(text)
        doubt_of(found)
        with bounded(), contextlib.suppress(BadSecret):
            bytes_of(text)
            assert code_at(text, 1).isdigit()
    if len(raw) < 40 and b"\xef" not in raw:
        return
    with contextlib.suppress(Configuration):
        found = find("password", settings, sources)
        assert found is not None
        fingerprint(found.secret, "00")


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_output_is_a_secret_or_refused(case: str, settings: Settings) -> None:
    """Every output that was ever interesting is a secret as it was printed, or is refused."""
    take(INPUTS[case], settings)


def test_a_password_ends_at_its_line_and_nowhere_else(settings: Settings) -> None:
    """A sign at which Python also splits lines may be part of a password."""
    sources = Sources(Environment({}), lambda _argv: "hunt\x85er\u20282\x0c!\r\nnote")
    found = find("password", settings, sources)
    assert found is not None
    assert found.secret.reveal() == "hunt\x85er\u20282\x0c!"


@pytest.mark.parametrize("case", ["UTF-16", "Latin-1", "no UTF-8", "a surrogate"])
def test_what_is_no_text_is_never_sent(case: str, settings: Settings) -> None:
    """A password with replacement characters in it would be refused, and count (law 2)."""
    sources = Sources(Environment({}), lambda _argv: process.Completed(0, INPUTS[case], "").text)
    with pytest.raises(Configuration, match="did not print UTF-8 text") as refused:
        find("password", settings, sources)
    assert "\ufffd" not in str(refused.value)


def test_any_output_is_a_secret_or_refused(settings: Settings) -> None:
    """Whatever a program prints, it is a secret as it was printed, or is refused."""
    text = st.text(max_size=30).map(lambda one: one.encode("utf-8", "replace"))

    @fuzzed(100)
    @given(st.binary(max_size=30) | text, st.randoms(use_true_random=False))
    def check(raw: bytes, of: Random) -> None:
        with about(raw):
            take(raw, settings)
            take(tear(raw, of), settings)

    check()


def test_any_time_has_a_code() -> None:
    """Whatever time it is, by whatever clock, there is a plan for a code or none."""

    @fuzzed(100)
    @given(st.floats(-1e9, 1e13), st.none() | st.integers(-10, 10**12), st.integers(0, 3))
    def check(now_s: float, used: int | None, tries: int) -> None:
        plan = plan_code(now_s, used, tries)
        if plan is not None:
            with contextlib.suppress(BadSecret):
                assert code_at("GEZDGNBVGY3TQOJQ", plan.window).isdigit()

    check()


ENDLESS = [sys.executable, "-c", "import os\nwhile True: os.write(1, b'x' * 65536)"]
LONG = [sys.executable, "-c", "import os\nfor _ in range(1200): os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)"]


@pytest.mark.parametrize("way", ["waits", "loop"])
def test_a_program_that_prints_without_end_takes_no_memory(way: str) -> None:
    """It is ended at its deadline, and of an output that ends, the start is kept; so is what it is fed."""

    def run(argv: list[str], *, timeout_s: float, fed: bytes = b"") -> process.Completed:
        env = dict(os.environ)
        if way == "waits":
            return process.run(argv, timeout_s=timeout_s, env=env, fed=fed)
        return asyncio.run(process.run_async(argv, timeout_s=timeout_s, env=env, fed=fed))

    with bounded(cpu_s=20.0):
        with pytest.raises(TimedOut):
            run(ENDLESS, timeout_s=1.0)
        assert run(LONG, timeout_s=60.0).stdout == b"x" * KEPT_BYTES
    fed = bytes(range(256)) * 2000
    assert run(["cat"], timeout_s=30.0, fed=fed).stdout == fed
    assert run(["true"], timeout_s=30.0, fed=fed * 10).exit_code == 0
