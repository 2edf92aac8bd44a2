"""The WebSocket's messages, and its protocol, without a connection."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, RejectConnection, TextMessage

from gwctl.gateway.websocket import Push, Said, read_push, says_something
from gwctl.gateway.websocket_frames import MAX_MESSAGE_BYTES, ConnectionEnded, Wire

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["topic", "args", "hb"]), inner),
)


def _accepted() -> tuple[Wire, WSConnection]:
    """Return a client with an accepted upgrade, and its server."""
    wire = Wire(5000)
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(wire.to_send)
    wire.to_send = b""
    assert list(server.events())
    assert wire.receive(server.send(AcceptConnection())) == []
    assert wire.accepted
    return wire, server


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


def test_messages_come_whole_in_whatever_pieces() -> None:
    """Fragments of a message and pieces of a frame are joined, for text and bytes alike."""
    wire, server = _accepted()
    sent = server.send(TextMessage('{"topic"', message_finished=False)) + server.send(TextMessage(': "sts"}'))
    sent += server.send(BytesMessage(b"\x00\xff", message_finished=False)) + server.send(BytesMessage(b"\x01"))
    heard = [message for byte in sent for message in wire.receive(bytes([byte]))]
    assert heard == ['{"topic": "sts"}', b"\x00\xff\x01"]


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=10))
def test_junk_on_the_wire_ends_the_connection_and_nothing_else(chunks: list[bytes]) -> None:
    """Any bytes lead to messages or the end of the connection, before and after the upgrade."""
    for wire in (Wire(5000), _accepted()[0]):
        try:
            for chunk in chunks:
                for message in wire.receive(chunk):
                    read_push(message)
        except ConnectionEnded:
            pass


def test_too_long_a_message_is_skipped_and_the_next_is_heard() -> None:
    """A message over 64 KB costs no memory and no connection; one of exactly 64 KB is read."""
    wire, server = _accepted()
    piece = b"x" * 8192
    for _ in range(100):
        assert wire.receive(server.send(BytesMessage(piece, message_finished=False))) == []
        assert sum(len(part) for part in wire._parts) <= MAX_MESSAGE_BYTES
    assert wire.receive(server.send(BytesMessage(b"end"))) == []
    whole = b"y" * MAX_MESSAGE_BYTES
    assert wire.receive(server.send(BytesMessage(whole))) == [whole]


def test_a_ping_is_answered_and_a_tic_and_a_farewell_are_said() -> None:
    """It sends only what the protocol asks for, and our two words."""
    wire, server = _accepted()
    assert wire.receive(server.send(Ping(b"here?"))) == []
    wire.say("tic")
    wire.say_goodbye()
    server.receive_data(wire.to_send)
    pong, tic, farewell = server.events()
    assert pong == Pong(b"here?")
    assert tic == TextMessage("tic")
    assert isinstance(farewell, CloseConnection)
    assert farewell.code == 1000


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_a_refusal_ends_it_and_its_text_is_not_kept(status: int) -> None:
    """A server that answers with anything but the upgrade is not used; the error names only the status."""
    wire = Wire(5000)
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(wire.to_send)
    assert list(server.events())
    refusal = server.send(RejectConnection(status_code=status, headers=[(b"set-cookie", b"XYZAB=canary")]))
    with pytest.raises(ConnectionEnded) as caught:
        wire.receive(refusal)
    assert str(caught.value) == f"HTTP {status}"
    assert not wire.accepted


def test_an_upgrade_of_somebody_else_is_no_upgrade() -> None:
    """101 with a wrong key, and 200 with a page, end the connection."""
    for answer in (
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ):
        with pytest.raises(ConnectionEnded):
            Wire(5000).receive(answer)


def test_the_end_of_the_stream_and_a_close_end_it() -> None:
    """No more data, and a close frame, are the connection's end."""
    wire, server = _accepted()
    with pytest.raises(ConnectionEnded, match="closed with 1001"):
        wire.receive(server.send(CloseConnection(1001, "XYZAB=canary")))
    with pytest.raises(ConnectionEnded):
        _accepted()[0].receive(b"")


def test_what_came_before_the_end_is_not_lost() -> None:
    """A last message together with the close is returned first; every later call reports the end."""
    wire, server = _accepted()
    last = server.send(TextMessage("last")) + server.send(CloseConnection(1000))
    assert wire.receive(last) == ["last"]
    for _ in range(2):
        with pytest.raises(ConnectionEnded, match="closed with 1000"):
            wire.receive(b"")


def test_the_library_is_loaded_when_a_connection_is_made() -> None:
    """Importing the listener loads no WebSocket library."""
    code = "import gwctl.gateway.websocket, sys; sys.exit('wsproto' in sys.modules or 'websockets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
