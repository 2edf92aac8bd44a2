"""The release's conf.yaml: rendered with our settings, or ReleaseBroken."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

import pytest
import yaml
from corpus.confs import INPUTS
from fuzzing import bounded, fuzzed, torn
from hypothesis import given
from hypothesis import strategies as st

from gwctl.errors import ReleaseBroken
from gwctl.gateway.keystore import Leaf
from gwctl.gateway.work_folder import GatewaySettings, render_conf

GOOD = (Path(__file__).parents[2] / "fixtures" / "release" / "root" / "conf.yaml").read_bytes()
SETTINGS = GatewaySettings(5000, "https://api.ibkr.com", auth_delay_ms=5)
LEAF = Leaf(Path("/nowhere/gwctl.p12"), "secret", "pin", dt.datetime(2027, 1, 1, tzinfo=dt.UTC), "")


def play(raw: bytes) -> bool:
    """Read ``raw`` as a release's configuration; return whether a gateway could start with it."""
    rendered = b""
    with bounded(), contextlib.suppress(ReleaseBroken):
        rendered = render_conf(raw, SETTINGS, LEAF)
    if rendered:
        conf = yaml.load(rendered, yaml.CSafeLoader)
        assert conf["listenPort"] == 5000
        assert conf["listenSsl"] is True
        assert conf["proxyRemoteHost"] == "https://api.ibkr.com"
        assert conf["ips"] == {"allow": ["127.0.0.1"], "deny": ["255.255.255.255"]}
    return bool(rendered)


def test_a_good_configuration_is_rendered() -> None:
    """The release's configuration is rendered with our settings, so the other tests are about what is wrong."""
    assert play(GOOD)


@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_configuration_is_rendered_or_refused(case: str) -> None:
    """Every configuration that was ever interesting is rendered, or refused."""
    play(INPUTS[case])


def test_any_configuration_is_rendered_or_refused() -> None:
    """Whatever is in the file, it is rendered with our settings or refused."""
    token = st.sampled_from(
        (
            *(
                b"a",
                b"ips",
                b"allow",
                b"<<",
                b"=",
                b"&a ",
                b"*a",
                b"!!int ",
                b"!!set ",
                b"!!omap ",
                b"!!pairs ",
                b"!!binary ",
            ),
            *(
                b"[",
                b"]",
                b"{",
                b"}",
                b", ",
                b": ",
                b"- ",
                b"? ",
                b"\n",
                b"\n  ",
                b"'",
                b'"',
                b"|",
                b">",
                b"#",
                b"---\n",
                b"%",
            ),
            *(
                b"2023-13-01",
                b"0x",
                b"0b2",
                b"1:60",
                b"1_",
                b".",
                b".nan",
                b"~",
                b"yes",
                b"1e5",
                b"-",
                b"0o9",
                b"190:20:30",
            ),
            *(b"2001-02-30T99:00:00Z", b"2001-12-14t21:59:43.10-99:00", b"\\ud800", b"\xef\xbb\xbf", b"\xc2\x85"),
        )
    )

    @fuzzed(150)
    @given(torn(GOOD) | st.lists(token, max_size=14).map(b"".join) | st.binary(max_size=40))
    def check(raw: bytes) -> None:
        play(raw)

    check()
