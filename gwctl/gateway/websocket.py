"""The gateway's WebSocket, which pushes changes of the session.

The library is imported for the first connection. In the supervisor it takes 0.9 MB more than wsproto, which needs a
protocol of ours around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gwctl.http_requests import USER_AGENT, trust_only

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


class Push(Struct, frozen=True):
    """One message with a topic."""

    topic: str
    args: Mapping[str, object]
    beats: bool = False


def read_push(message: bytes | str) -> Push | None:
    """Return the content of a message, or None if it is not one of IBKR's; never raises."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("topic"), str):
        return None
    args = value.get("args")
    return Push(value["topic"], args if isinstance(args, dict) else {}, "hb" in value)


class Said(Struct, frozen=True):
    """The content of ``sts`` on one connection so far; IBKR may send one field without the others (Voyz/ibind 25)."""

    authenticated: bool | None = None
    competing: bool | None = None
    connected: bool | None = None

    def and_then(self, args: Mapping[str, object]) -> Said:
        """Return it updated with ``args``, ignoring values that are not booleans."""
        return Said(
            _flag(args, "authenticated", self.authenticated),
            _flag(args, "competing", self.competing),
            _flag(args, "connected", self.connected),
        )

    @property
    def ready(self) -> bool | None:
        """Whether the session can be used; None until a message says."""
        if self.authenticated is False or self.connected is False or self.competing:
            return False
        return self.authenticated


def says_something(args: Mapping[str, object]) -> bool:
    """Say whether these arguments of ``sts`` concern the session at all."""
    return Said().and_then(args) != Said()


def _flag(args: Mapping[str, object], name: str, before: bool | None) -> bool | None:  # noqa: FBT001 - a field's value
    value = args.get(name)
    return value if isinstance(value, bool) else before


log = logging.getLogger("gwctl.gateway")

CONNECT_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0
"""A connection with messages for this long was a good one: the pauses start over."""
TIC_INTERVAL_S: Final = 60.0
LONGEST_SILENCE_S: Final = 75.0
"""Longer than a tic and its answer."""
LONGEST_PAUSE_OF_BEATS_S: Final = 25.0
"""Two heartbeats may be missing."""
ANSWERED_WITHIN_S: Final = 5.0
"""By then, IBKR has accepted or refused a connection, if it answers at all."""
SAID_WITHIN_S: Final = 2.0
"""By then, a connection that is up to date has reported what a check found."""
PATH: Final = "/v1/api/ws"
MAX_MESSAGE_BYTES: Final = 1_048_576
"""A longer message ends the connection; IBKR's are below 1 KB."""


class ConnectionEnded(Exception):
    """The other side refused, closed, or did not speak WebSocket; the text contains nothing that it sent."""


class Line:
    """One connection to the gateway, and the messages on it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._reconsidering: asyncio.TimerHandle | None = None
        self.opened_s = self._loop.time()
        self.heard_s: float | None = None
        self.beats = False
        self.tic_s = self.opened_s
        self.said = Said()
        self.has_session = False
        """Whether it was opened while a session was known to be up: then IBKR may still answer."""
        self.replaced = False

    async def receive(self) -> bytes | str:
        """Return the next message; raise ConnectionEnded after the last one."""
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise ConnectionEnded(type(error).__name__) from None  # its text may contain what was sent

    async def send_tic(self) -> None:
        """Send a tic, which keeps the connection alive; raise ConnectionEnded."""
        from websockets.exceptions import ConnectionClosed

        self.tic_s = self._loop.time()
        try:
            await self._connection.send("tic")
        except ConnectionClosed as error:
            raise ConnectionEnded(type(error).__name__) from None

    def patience_s(self) -> float | None:
        """Return how long to wait for the next message; None, without limit, until IBKR has sent the first."""
        if self.heard_s is None:
            return None
        return max(0.0, min(self._mute_at_s(self.heard_s), self.tic_s + TIC_INTERVAL_S) - self._loop.time())

    def is_mute(self) -> bool:
        """Whether it has been silent for longer than a live connection is."""
        return self.heard_s is not None and self._loop.time() >= self._mute_at_s(self.heard_s)

    def _mute_at_s(self, heard_s: float) -> float:
        return heard_s + (LONGEST_PAUSE_OF_BEATS_S if self.beats else LONGEST_SILENCE_S)

    def reconsider(self) -> None:
        """Close it unless it soon reports that the session is up, or IBKR may still answer."""
        self._cancel_reconsidering()
        if self.heard_s is not None:
            delay_s = SAID_WITHIN_S
        elif self.has_session:
            return
        else:
            delay_s = max(0.0, self.opened_s + ANSWERED_WITHIN_S - self._loop.time())
        self._reconsidering = self._loop.call_later(delay_s, self._give_up_unless_ready)

    def _give_up_unless_ready(self) -> None:
        if not self.said.ready:
            self.replaced = True
            self._connection.transport.abort()

    def _cancel_reconsidering(self) -> None:
        if self._reconsidering is not None:
            self._reconsidering.cancel()

    async def close(self) -> None:
        """Send a close frame, do not wait for the answer to it, and release everything; never raises."""
        from websockets.protocol import OPEN

        self._cancel_reconsidering()
        if self._connection.state is OPEN:
            self._connection.protocol.send_close(1000)
            self._connection.send_data()
        await _release(self._connection)


class _Place(Struct, frozen=True):
    port: int
    ca_file: Path
    leaf_der: bytes


class PushListener:
    """Keep at most one connection to a gateway's WebSocket, and report its messages.

    It calls ``on_change`` at every ``sts`` that says whether the session is ready, with that value (False when another
    client competes); and with None when a connection that has spoken is lost. Both are hints.
    """

    def __init__(self, on_change: Callable[[bool | None], None]) -> None:
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self._line: Line | None = None
        self._woken = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._session: bool | None = None
        self._heard_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which IBKR has spoken; the gateway alone would accept any."""
        return self._line is not None and self._line.heard_s is not None

    @property
    def last_frame_age_s(self) -> float | None:
        """The seconds since IBKR last spoke, on any connection; None if never."""
        return None if self._heard_s is None else asyncio.get_running_loop().time() - self._heard_s

    def start(self, port: int, ca_file: Path, leaf_der: bytes) -> None:
        """Start to listen, in the background, to the gateway on 127.0.0.1 with the certificate ``leaf_der``.

        It begins at once; before there is a session, that is of no use and costs a few seconds at the first ``poke``. A
        second call leaves the earlier gateway for this one.
        """
        before = self._cancel_all()
        self._session = None
        self._pause_s = FIRST_PAUSE_S
        work = self._run(_Place(port, ca_file, leaf_der), before)
        task = asyncio.get_running_loop().create_task(work, name="gwctl-push")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def poke(self, *, up: bool = True) -> None:
        """Note that a session has just come up or, with ``up=False``, gone. Report changes only.

        Up: it connects if there is no connection, and replaces one that does not know of the session. Gone: it keeps a
        connection that speaks; one that is lost comes back when the session does.
        """
        self._session = up
        self._pause_s = FIRST_PAUSE_S
        if self._line is None:
            self._woken.set()
        elif up:
            self._line.reconsider()
        else:
            self._line.has_session = False

    async def close(self) -> None:
        """Stop listening and release everything; ``on_change`` is not called afterwards. Safe at any time."""
        if leaving := self._cancel_all():
            await asyncio.wait(leaving)

    def _cancel_all(self) -> set[asyncio.Task[None]]:
        leaving = set(self._tasks)
        for task in leaving:
            task.cancel()
        return leaving

    async def _run(self, place: _Place, before: set[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        while True:
            while self._session is False:
                self._woken.clear()
                await self._woken.wait()
            self._woken.clear()
            if await self._listen(place):
                continue
            pause_s = self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _listen(self, place: _Place) -> bool:
        """Use one connection until it ends; return whether another one should replace it at once."""
        has_session = self._session is True
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                line = Line(await _connected(place))
        except (OSError, ConnectionEnded) as error:  # a timeout and a wrong certificate are OSErrors
            log.debug("no WebSocket: %s", type(error).__name__)
            return False
        except Exception:  # the supervisor works without hints too
            log.exception("the WebSocket could not be opened")
            return False
        line.has_session = has_session
        self._line = line
        if self._woken.is_set() and self._session:
            self._woken.clear()  # set while the connection was being opened
            line.reconsider()
        try:
            await self._follow(line)
        except (OSError, ConnectionEnded) as error:
            log.debug("the WebSocket ended: %s", type(error).__name__)
        except Exception:  # as above
            log.exception("the WebSocket could not be read")
        finally:
            self._line = None
            await line.close()
        if asyncio.get_running_loop().time() - line.opened_s >= STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        if line.heard_s is not None and not line.replaced:
            self._tell(None)
        return line.replaced

    async def _follow(self, line: Line) -> None:
        while True:
            try:
                async with asyncio.timeout(line.patience_s()):
                    message = await line.receive()
            except TimeoutError:
                if line.is_mute():
                    raise ConnectionEnded("mute") from None
                await line.send_tic()
            else:
                self._take(line, message)

    def _take(self, line: Line, message: bytes | str) -> None:
        push = read_push(message)
        if push is None:
            return
        line.heard_s = self._heard_s = asyncio.get_running_loop().time()
        line.beats = line.beats or push.beats
        if push.topic != "sts":
            return
        line.said = line.said.and_then(push.args)
        if says_something(push.args) and line.said.ready is not None:
            self._tell(line.said.ready)

    def _tell(self, ready: bool | None) -> None:  # noqa: FBT001 - the shape of on_change
        try:
            self._on_change(ready)
        except Exception:  # a listener's error must not end the connection
            log.exception("a push could not be reported")


async def _connected(place: _Place) -> ClientConnection:
    """Return a connection that the gateway has accepted; raise OSError, ConnectionEnded. Sends nothing to a stranger.

    Not ``websockets.connect``, which sends its request before the certificate can be compared, and follows redirects.
    """
    from websockets.client import ClientProtocol
    from websockets.exceptions import WebSocketException
    from websockets.uri import parse_uri

    silent = logging.getLogger("gwctl.gateway.websocket.library")
    silent.disabled = True  # its lines contain messages
    uri = parse_uri(f"wss://localhost:{place.port}{PATH}")

    def begin() -> ClientConnection:
        protocol = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES, logger=silent)
        return _connection_type()(protocol, ping_interval=None, close_timeout=CLOSE_TIMEOUT_S)

    trust = trust_only(place.ca_file)
    connect = asyncio.get_running_loop().create_connection
    _, connection = await connect(begin, "127.0.0.1", place.port, ssl=trust, server_hostname="localhost")
    try:
        shown = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if shown != place.leaf_der:
            raise ConnectionEnded("a stranger's certificate")  # noqa: TRY301 - the connection is released below
        await connection.handshake(user_agent_header=USER_AGENT)
    except BaseException as error:
        await _release(connection)
        if isinstance(error, WebSocketException | EOFError):
            raise ConnectionEnded(type(error).__name__) from None  # its text may contain what was sent
        raise
    return connection


@functools.cache
def _connection_type() -> type[ClientConnection]:
    from websockets.asyncio.client import ClientConnection

    class Impatient(ClientConnection):
        """Ends its connection with the last frame; a gateway that hangs would leave the end to us, too."""

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.protocol.close_expected():
                self.transport.abort()

    return Impatient


async def _release(connection: ClientConnection) -> None:
    connection.transport.abort()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.wait_closed()
