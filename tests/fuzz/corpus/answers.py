"""Raw answers of a server to one request. The last part are those that found a fault."""

from __future__ import annotations

import gzip
import zlib

OK = b"HTTP/1.1 200 OK\r\n"
_BOMB = gzip.compress(b"\0" * 200_000_000)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK", length: object = None) -> bytes:
    """Return an answer with a body; ``length`` is what it says of it."""
    said = b"Content-Length: %s" % str(len(body) if length is None else length).encode()
    return b"\r\n".join((b"HTTP/1.1 " + status, said, *headers, b"", body))


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an answer in chunks."""
    return (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + end
    )


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 4096,
    "no UTF-8": b'{"error": "\xff\xfe"}',
    "UTF-16": '{"authenticated": true}'.encode("utf-16"),
    "a page": b"<html><head><style>a{</style><title>Maintenance</title></head><body>Back soon &amp; sorry",
    "a page without end": b"<script>" + b"<" * 8000,
    "a page of comments": b"<!--" * 3000,
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"iserver":' * 100_000,
    "deep in a field": b'{"iserver": {"authStatus": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "long digits": b'{"userId": ' + b"9" * 5000 + b"}",
    "a large number": b'{"ssoExpires": 1' + b"0" * 400 + b', "userId": 1' + b"0" * 400 + b"}",
    "not a number": b'{"ssoExpires": NaN, "userId": Infinity, "LOGIN_TYPE": -Infinity}',
    "a surrogate": b'{"error": "\\ud800 no session", "serverInfo": {"serverName": "\\udfff"}}',
    "every field a list": b'{"iserver": [], "error": [], "accounts": [], "RESULT": [], "ssoExpires": [], "isPaper": 5}',
    "accounts of all kinds": b'{"accounts": [null, 1, [], "", "All", "DU1", {"a": 1}, "\\u0000"]}',
    "escape sequences": b'{"error": "\\u001b]0;x\\u0007\\u202e\\u009b31m no session"}',
    "many words": b'{"error": "' + b"a " * 200_000 + b'"}',
    "one word": b'{"error": "' + b"a" * 200_000 + b'"}',
    "many equal signs": b'{"error": "' + b"token = " * 2_000 + b'"}',
    "entities": b"<p>" + b"&#x41;&#99999999;&#xd800;&lt" * 500,
}
INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 4096,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/0.9": b"<html>",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"HTTP/9.9 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status 0": b"HTTP/1.1 0 x\r\n\r\n",
    "status 99999": b"HTTP/1.1 99999 x\r\n\r\n",
    "status -1": b"HTTP/1.1 -1 x\r\n\r\n",
    "status in other digits": "HTTP/1.1 ２００ x\r\n\r\n".encode(),
    "a hundred interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + answer(b"{}"),
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nabcde",
    "a redirect": answer(b"", b"Location: https://127.0.0.1:1/", status=b"302 Found"),
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a long status line": b"HTTP/1.1 200 " + b"x" * 200_000 + b"\r\n\r\n",
    "a long header": OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": OK + b"X: y\r\n" * 5000 + b"\r\n",
    "a header without a name": OK + b": y\r\nContent-Length: 0\r\n\r\n",
    "a header that goes on": OK + b"X: y\r\n z\r\nContent-Length: 0\r\n\r\n",
    "NUL in a header": OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "other letters in a header": OK + b"X-\xff: \xff\r\nContent-Type: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a strange charset": answer(b'{"error": "x"}', b"Content-Type: application/json; charset=no-such"),
    "a charset that runs": answer(b"abc", b"Content-Type: text/plain; charset=rot13"),
    "too short": answer(b"{}", length=5000),
    "too long": answer(b"{}" * 500, length=2),
    "length twice": answer(b"{}", b"Content-Length: 3"),
    "length is a word": answer(b"{}", length="two"),
    "length is negative": answer(b"{}", length=-1),
    "length in hex": answer(b"{}", length="0x2"),
    "length with a plus": answer(b"{}", length="+2"),
    "chunks and a length": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks": chunked(b"{", b"}"),
    "chunks without an end": chunked(b"{}", end=b""),
    "a chunk of no size": chunked(b"{}", end=b"\r\n"),
    "a negative chunk": chunked(b"{}", end=b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk that is huge": chunked(b"{}", end=b"ffffffffffffffff\r\nabc"),
    "a long size of a chunk": chunked(b"{}", end=b"0" * 200_000 + b"5\r\nabcde\r\n0\r\n\r\n"),
    "a long extension of a chunk": chunked(b"{}", end=b"5;" + b"x" * 200_000 + b"\r\nabcde\r\n0\r\n\r\n"),
    "ten thousand chunks": chunked(*[b"x"] * 10_000),
    "many trailers": chunked(b"{}", end=b"0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"),
    "a strange transfer": OK + b"Transfer-Encoding: gzip, x\r\n\r\n{}",
    "gzip": answer(gzip.compress(b"{}"), b"Content-Encoding: gzip"),
    "gzip that is none": answer(b"{}", b"Content-Encoding: gzip"),
    "gzip, cut short": answer(gzip.compress(b"{}" * 50)[:-9], b"Content-Encoding: gzip"),
    "deflate": answer(zlib.compress(b"{}"), b"Content-Encoding: deflate"),
    "deflate that is none": answer(b"{}", b"Content-Encoding: deflate"),
    "gzip ten times": answer(b"{}", b"Content-Encoding: " + b", ".join([b"gzip"] * 10)),
    "an unknown encoding": answer(b"{}", b"Content-Encoding: strange"),
    "a cookie": answer(
        b"{}", b"Set-Cookie: a=b; Domain=.ibkr.com; Expires=Fri, 99 Foo 9999 99:99:99 GMT; Max-Age=1e99"
    ),
    # Each found a fault.
    "length of 5000 digits": answer(b"{}", length="9" * 5000),
    "length beyond all memory": answer(b"{}", length=10**15),
    "length beyond all machines": answer(b"{}", length=10**30),
    "80 MB": answer(b"[" + b"0," * 40_000_000 + b"0]"),
    "80 MB without a length": OK + b"\r\n" + b"x" * 80_000_000,
    "80 MB in chunks": chunked(*[b"x" * 1_000_000] * 80),
    "a gzip bomb": answer(_BOMB, b"Content-Encoding: gzip"),
    "a gzip bomb in gzip": answer(gzip.compress(_BOMB), b"Content-Encoding: gzip, gzip"),
}
