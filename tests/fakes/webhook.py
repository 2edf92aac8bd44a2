"""A real HTTP server on loopback that is told by a webhook, each of its ways to behave named."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Webhook:
    """What the server got, and how it answers: a status, ``hang`` or ``close``; the last one for ever."""

    port: int = 0
    scheme: str = "http"
    answers: list[int | str] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with each answer."""
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Path, headers in lower case, body of each request."""
    hanging: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What it was told."""
        return [body for _, _, body in self.requests]

    @property
    def events(self) -> list[str]:
        """The events that it was told of."""
        return [body["event"] for body in self.bodies]

    def answer(self) -> int | str:
        """Return how to answer the next request."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _handler(webhook: Webhook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            webhook.requests.append((self.path, headers, json.loads(body)))
            answer = webhook.answer()
            if answer == "hang":
                webhook.hanging.release()
                webhook.over.wait(60)
            if isinstance(answer, str):
                self.close_connection = True
                return
            self.send_response(answer)
            for name, value in webhook.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away, which is what some tests make them do."""


@contextlib.contextmanager
def a_webhook(*answers: int | str, certificate: Path | str | None = None, **headers: str) -> Iterator[Webhook]:
    """Yield a server that answers so; with ``certificate`` (PEM, its key in it) by https."""
    webhook = Webhook(answers=list(answers) or [200], headers=headers)
    server = _Server(("127.0.0.1", 0), _handler(webhook))
    webhook.port = server.server_port
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        webhook.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        webhook.over.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
