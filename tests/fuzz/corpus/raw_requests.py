"""Raw requests to the supervisor's server. The last part are those that found a fault."""

from __future__ import annotations

HOST = b"Host: 127.0.0.1\r\n"


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    """Return a command as gwctl sends it."""
    said = b"".join(header + b"\r\n" for header in headers) or b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + said + b"\r\n" + body


def get(path: bytes, *headers: bytes) -> bytes:
    """Return a question as a probe sends it."""
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 4096,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET /livez HTTP/9.9\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "another host": b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a host of ports": b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:1:2:3\r\n\r\n",
    "line feeds alone": b"GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n",
    "half a head": b"GET /livez HTT",
    "a long path": get(b"/" + b"x" * 200_000),
    "a long header": get(b"/livez", b"X: " + b"x" * 200_000),
    "many headers": get(b"/livez", *[b"X: y"] * 20_000),
    "a header that goes on": get(b"/livez", b"X: y\r\n z"),
    "NUL in a header": get(b"/livez", b"X: a\0b"),
    "other letters in a header": get(b"/status", b"Authorization: Bearer \xff\xfe", b"Accept: \xff", b"Host\xff: x"),
    "other letters in a path": get(b"/\xff\xfe"),
    "a path of another host": get(b"http://evil.example/livez"),
    "a path with dots": get(b"/../../etc/passwd"),
    "an encoded path": get(b"/%00%2e%2e/%c3%28"),
    "any path": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a strange method": b"G\xcbT / HTTP/1.1\r\n" + HOST + b"\r\n",
    "an upgrade": get(b"/livez", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
    "an expectation": post(b"/control/hold", b"{}", b"Expect: 100-continue", b"Content-Length: 2"),
    "a strange expectation": post(b"/control/hold", b"{}", b"Expect: miracles", b"Content-Length: 2"),
    "two requests": get(b"/livez") * 2,
    "a thousand requests": get(b"/livez") * 1000,
    "a body after a question": get(b"/livez") + b"x" * 100_000,
    "length is a word": post(b"/control/hold", b"{}", b"Content-Length: two"),
    "length is negative": post(b"/control/hold", b"{}", b"Content-Length: -1"),
    "length of 5000 digits": post(b"/control/hold", b"{}", b"Content-Length: " + b"9" * 5000),
    "length twice": post(b"/control/hold", b"{}", b"Content-Length: 2", b"Content-Length: 3"),
    "chunks and a length": post(b"/control/hold", b"0\r\n\r\n", b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    "a strange transfer": post(b"/control/hold", b"{}", b"Transfer-Encoding: gzip"),
    "a chunk that is huge": post(b"/control/hold", b"ffffffffffffffff\r\nx", b"Transfer-Encoding: chunked"),
    "a negative chunk": post(b"/control/hold", b"-1\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "many trailers": post(
        b"/control/hold", b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"Transfer-Encoding: chunked"
    ),
    "a large body": post(b"/control/hold", b"x" * 70_000),
    "a body of 5 MB": post(b"/control/hold", b"x" * 5_000_000),
    "no JSON": post(b"/control/hold", b"{"),
    "no UTF-8": post(b"/control/hold", b'{"a": "\xff"}'),
    "UTF-16": post(b"/control/hold", '{"a": 1}'.encode("utf-16")),
    "a list": post(b"/control/hold", b"[]"),
    "deep lists": post(b"/control/hold", b"[" * 60_000),
    "deep objects": post(b"/control/hold", b'{"a":' * 10_000),
    "long digits": post(b"/control/hold", b'{"a": ' + b"9" * 5000 + b"}"),
    "a surrogate": post(b"/control/\xff", b'{"a": "\\ud800"}'),
    "no verb": post(b"/control/", b"{}"),
    "a strange verb": post(b"/control/../status?x", b"{}"),
    "events since a word": get(b"/events?since=x"),
    "events since the end of time": get(b"/events?since=" + b"9" * 400),
    "events since another digit": get("/events?since=²".encode()),
    # Each found a fault.
    "events since 5000 digits": get(b"/events?since=" + b"9" * 5000),
    "many chunks": post(b"/control/hold", b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
}
