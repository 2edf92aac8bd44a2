"""The WebSocket's messages, without a connection."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.gateway.websocket import Push, Said, read_push, says_something

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["topic", "args", "hb"]), inner),
)


@pytest.mark.parametrize("encode", [str, str.encode])
def test_sts_is_read_as_text_and_as_bytes(encode: Callable[[str], bytes | str]) -> None:
    """IBKR writes text and the real gateway relays it as binary frames: both mean the same."""
    text = '{"topic": "sts", "args": {"authenticated": true, "competing": false}}'
    assert read_push(encode(text)) == Push("sts", {"authenticated": True, "competing": False})
    assert read_push(encode('{"topic": "system", "hb": 1795470886262}')) == Push("system", {}, beats=True)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe\x00",
        "tic",
        "null",
        "[1]",
        '{"message": "waiting for session"}',
        '{"topic": 7, "args": {}}',
        '{"topic": "sts", "args": {"authenticated": tr',
        "[" * 60_000,
        "9" * 60_000,
    ],
)
def test_what_is_no_message_of_ibkrs_says_nothing(message: bytes | str) -> None:
    """Broken, foreign and hostile messages are ignored without an error."""
    assert read_push(message) is None


@given(st.binary() | st.text() | _JSON.map(json.dumps) | _JSON.map(lambda value: json.dumps({"topic": "sts", **value})
       if isinstance(value, dict) else json.dumps({"topic": "sts", "args": value})))  # fmt: skip
def test_no_message_raises(message: bytes | str) -> None:
    """Any message is read or ignored, and it means a yes, a no or nothing for the session."""
    push = read_push(message)
    if push is not None:
        assert isinstance(push.topic, str)
        assert Said().and_then(push.args).ready in (True, False, None)


@pytest.mark.parametrize(
    ("args", "ready"),
    [
        ({"authenticated": True, "competing": False, "connected": True, "message": ""}, True),
        ({"authenticated": True}, True),
        ({"authenticated": True, "competing": True}, False),
        ({"authenticated": True, "connected": False}, False),
        ({"authenticated": False, "competing": False}, False),
        ({"competing": True}, False),
        ({"competing": False}, None),
        ({"message": ""}, None),
        ({"authenticated": "yes", "competing": 0}, None),
        ({}, None),
    ],
)
def test_ready_is_authenticated_and_nobody_competes(args: dict[str, object], ready: object) -> None:
    """Only known values count, and one negative field is enough."""
    assert Said().and_then(args).ready is ready


def test_one_field_alone_changes_only_itself() -> None:
    """IBKR sends single fields: the others keep their earlier values."""
    said = Said().and_then({"authenticated": True, "competing": False}).and_then({"competing": True})
    assert said == Said(authenticated=True, competing=True)
    assert said.and_then({"competing": False}).ready is True
    assert not says_something({"message": "", "authenticated": None})
    assert says_something({"competing": False})


def test_the_library_is_loaded_when_a_connection_is_made() -> None:
    """Importing the listener loads no WebSocket library."""
    code = "import gwctl.gateway.websocket, sys; sys.exit('websockets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
