"""Raw bytes on a WebSocket, as the answer to its upgrade and after it. The last part are those that found a fault."""

from __future__ import annotations

import struct


def frame(payload: bytes, first: int = 0x81, *, masked: bool = False, length: int | None = None) -> bytes:
    """Return a frame; ``first`` is its flags and kind, ``length`` what it says of its own length."""
    size, mask = len(payload) if length is None else length, 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, mask | size)
    elif size < 65_536:
        head = struct.pack(">BBH", first, mask | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


_UP = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 4096,
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: wss://evil.example/\r\n\r\n",
    "an upgrade without a key": _UP + b"\r\n",
    "an upgrade with another key": _UP + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "an upgrade with other letters": _UP + b"Sec-WebSocket-Accept: \xff\r\n\r\n",
    "an upgrade with extensions": _UP + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    "a long status line": b"HTTP/1.1 101 " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": _UP + b"X: y\r\n" * 10_000 + b"\r\n",
    "a body without an end": b"HTTP/1.1 500 x\r\n\r\n" + b"x" * 5_000_000,
    "length of 5000 digits": b"HTTP/1.1 500 x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "text": frame(b"hello"),
    "text that is no UTF-8": frame(b"\xff\xfe"),
    "bytes that are no UTF-8": frame(b"\xff\xfe", 0x82),
    "deep lists": frame(b"[" * 60_000),
    "long digits": frame(b"9" * 60_000),
    "masked": frame(b"{}", masked=True),
    "reserved flags": frame(b"{}", 0xF1),
    "a strange kind": frame(b"{}", 0x83),
    "a strange kind of control": frame(b"{}", 0x8F),
    "a continuation of nothing": frame(b"{}", 0x80),
    "two beginnings": frame(b"a", 0x01) + frame(b"b", 0x01),
    "30,000 empty pieces": frame(b"", 0x01) + frame(b"", 0x00) * 30_000,
    "a long ping": frame(b"x" * 200, 0x89),
    "a ping in pieces": frame(b"x", 0x09),
    "ten thousand pings": frame(b"x" * 100, 0x89) * 10_000,
    "a pong that nobody asked for": frame(b"x", 0x8A),
    "a close": frame(b"\x03\xe8", 0x88),
    "a close of one byte": frame(b"\x03", 0x88),
    "a close with a strange code": frame(b"\xff\xff", 0x88),
    "a close that is no UTF-8": frame(b"\x03\xe8\xff", 0x88),
    "frames after a close": frame(b"\x03\xe8", 0x88) + frame(b"{}") * 100,
    "a length beyond all memory": frame(b"x", length=2**62),
    "a negative length": frame(b"x", length=2**64 - 1),
    "a length that is too long": b"\x81\x7f\0\0\0\0\0\0\0\x01x",
    "a message of 2 MB": frame(b"x" * 2_000_000),
    "a message of 2 MB in pieces": frame(b"x" * 60_000, 0x01) + frame(b"x" * 60_000, 0x00) * 40,
    "80 MB": frame(b"x" * 60_000) * 1400,
    "many messages": frame(b'{"topic": "x", "args": {}}') * 8_000,
    # Each found a fault.
}
