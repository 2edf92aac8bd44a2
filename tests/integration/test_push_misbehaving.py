"""The listener against gateways that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from pathlib import Path
from typing import Any

import pytest
from facts import current
from push_fakes import Ears, FakeGateway, Visit, listen_to, make_leaf, until
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from gwctl.gateway import websocket as push
from gwctl.gateway.keystore import Leaf
from gwctl.gateway.websocket import PushListener

YES = '{"topic": "sts", "args": {"authenticated": true, "competing": false}}'
NO = '{"topic": "sts", "args": {"authenticated": false, "competing": false}}'


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Leaf]:
    return make_leaf(tmp_path_factory.mktemp("identity"))


async def _speak(visit: Visit) -> None:
    await visit.upgrade()
    visit.push(YES)
    await visit.listen()


async def _be_silent(visit: Visit) -> None:
    """Accept and send nothing, as the real gateway does if IBKR refuses."""
    await visit.upgrade()
    await visit.listen()


@pytest.mark.parametrize("status", [401, 403, 404, 503, None])
def test_where_it_is_not_served_it_is_asked_for_ever_more_rarely_and_nobody_is_told(
    status: int | None, identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After refusals and hang-ups, the pauses double up to the longest one; a poke connects at once."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(push, "LONGEST_PAUSE_S", 0.16)

    async def behave(visit: Visit) -> None:
        if status is not None:
            await visit.refuse(status)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: len(gateway.came_s) == 7)
        assert not listener.connected
        assert ears.told == []
        monkeypatch.setattr(push, "LONGEST_PAUSE_S", 3600.0)
        await until(lambda: listener._pause_s > 1.0)
        count, began_s = len(gateway.came_s), time.monotonic()
        listener.poke()
        await until(lambda: len(gateway.came_s) > count)
        assert time.monotonic() - began_s < 0.5  # the pause would have been longer

    gateway = listen_to(behave, identity, tmp_path, script)
    pauses_s = [later - earlier for earlier, later in zip(gateway.came_s, gateway.came_s[1:6], strict=False)]
    assert all(pause_s >= floor_s for pause_s, floor_s in zip(pauses_s, (0.02, 0.04, 0.08, 0.16, 0.16), strict=True))
    assert gateway.open_at_most == 1


def test_a_stranger_is_sent_nothing(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """A certificate from our authority that is not this gateway's ends it before any byte is sent."""
    ca_file, leaf = identity
    seen: list[bytes] = []
    gone: list[int] = []

    async def behave(visit: Visit) -> None:
        with contextlib.suppress(OSError):
            seen.append(await visit.reader.read(4096))
        gone.append(visit.number)

    async def run() -> None:
        listener = PushListener(Ears())
        async with FakeGateway(behave).serve(leaf, tmp_path) as port:
            listener.start(port, ca_file, b"another")
            await until(lambda: gone)
            await listener.close()

    asyncio.run(run())
    assert b"".join(seen) == b""


def test_another_authority_is_not_trusted(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """A holder of a certificate from another authority gets no connection, with any expected leaf."""
    _, leaf = identity
    foreign_ca, _ = make_leaf(tmp_path / "foreign")
    gateway = FakeGateway(_speak)

    async def run() -> None:
        listener = PushListener(Ears())
        async with gateway.serve(leaf, tmp_path) as port:
            listener.start(port, foreign_ca, leaf.der)
            await until(lambda: listener._pause_s > push.FIRST_PAUSE_S)
            await listener.close()

    asyncio.run(run())
    assert gateway.visits == []


def test_never_two_connections(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """With starts and pokes at the same moment, at most one connection is open, and at the end exactly one."""
    ca_file, leaf = identity
    gateway = FakeGateway(_speak)

    async def run() -> None:
        listener = PushListener(Ears())
        async with gateway.serve(leaf, tmp_path) as port:
            for turn in range(60):
                if turn % 3 == 0:
                    listener.start(port, ca_file, leaf.der)
                listener.poke(up=turn % 5 != 0)
                for _ in range(turn % 8):
                    await asyncio.sleep(0)
            listener.poke()
            await until(lambda: listener.connected)
            assert gateway.open_now == 1
            await listener.close()

    asyncio.run(run())
    assert gateway.open_at_most == 1


def test_a_silent_one_from_before_the_session_is_replaced_when_there_is_one(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is waited out, counts as no connection, and its replacement as no loss."""
    monkeypatch.setattr(push, "ANSWERED_WITHIN_S", 0.2)

    async def behave(visit: Visit) -> None:
        await (_be_silent if visit.number == 1 else _speak)(visit)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: listener._line is not None)
        listener.poke(up=False)
        await asyncio.sleep(0.3)  # longer than a poke would leave it
        assert len(gateway.visits) == 1
        assert not current(listener.connected)
        listener.poke()
        await ears.until(1)
        assert listener.connected
        assert ears.told == [True]
        assert len(gateway.visits) == 2

    assert listen_to(behave, identity, tmp_path, script).open_at_most == 1


def test_a_silent_one_that_may_yet_be_answered_is_left_alone(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened during a session it may be waiting for one of the gateway's five places, and closing it would lose one."""
    monkeypatch.setattr(push, "ANSWERED_WITHIN_S", 0.05)
    monkeypatch.setattr(push, "SAID_WITHIN_S", 0.05)

    async def behave(visit: Visit) -> None:
        if visit.number == 1:
            return  # so that the second is opened with a session
        await _be_silent(visit)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: gateway.visits)
        listener.poke()
        await until(lambda: listener._line is not None)
        listener.poke()
        await asyncio.sleep(0.3)  # longer than it would be given otherwise
        assert len(gateway.visits) == 2
        gateway.visits[1].push(YES)
        await ears.until(1)
        assert listener.connected

    listen_to(behave, identity, tmp_path, script)


def test_one_that_does_not_know_of_the_new_session_is_replaced(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that still says no after a check said yes is replaced; one that says yes in time is kept."""
    monkeypatch.setattr(push, "SAID_WITHIN_S", 0.1)

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        visit.push(NO if visit.number == 1 else YES)
        await visit.listen()

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await ears.until(1)
        listener.poke()
        await ears.until(2)
        assert ears.told == [False, True]
        gateway.visits[1].push(NO)
        await ears.until(3)
        listener.poke()
        gateway.visits[1].push(YES)
        await ears.until(4)
        await asyncio.sleep(0.2)  # longer than it was given
        assert listener.connected
        assert ears.told == [False, True, False, True]
        assert len(gateway.visits) == 2

    assert listen_to(behave, identity, tmp_path, script).open_at_most == 1


def test_without_a_session_a_lost_connection_does_not_come_back(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poke reports the end of the session: the loss is reported, nothing is opened until the next session's poke."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await ears.until(1)
        listener.poke(up=False)
        gateway.visits[0].writer.transport.abort()
        await ears.until(2)
        assert ears.told == [True, None]
        await asyncio.sleep(0.2)  # twenty times the pause
        assert len(gateway.visits) == 1
        listener.poke()
        await ears.until(3)
        assert ears.told == [True, None, True]

    listen_to(_speak, identity, tmp_path, script)


@pytest.mark.parametrize(("beats", "silence"), [(True, "LONGEST_PAUSE_OF_BEATS_S"), (False, "LONGEST_SILENCE_S")])
def test_one_that_falls_silent_is_lost(
    beats: bool,  # noqa: FBT001 - a parameter of the test
    silence: str,
    identity: tuple[Path, Leaf],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After heartbeats, their absence shows the loss, otherwise complete silence; it is reported and reconnects."""
    monkeypatch.setattr(push, silence, 0.2)
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        visit.push(YES)
        if beats:
            visit.push('{"topic": "system", "hb": 1795470886262}')
        await visit.listen()

    async def script(_gateway: FakeGateway, _listener: PushListener, ears: Ears) -> None:
        await ears.until(3)
        assert ears.told == [True, None, True]
        assert ears.at_s[1] - ears.at_s[0] >= 0.2

    assert listen_to(behave, identity, tmp_path, script).open_at_most == 1


def test_a_tic_is_all_that_is_sent(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live connection gets `tic` at its interval, a silent one nothing; never a cookie or a key."""
    monkeypatch.setattr(push, "TIC_INTERVAL_S", 0.1)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: listener._line is not None)
        await asyncio.sleep(0.3)  # three intervals, in silence
        assert gateway.visits[0].texts == []
        began_s = time.monotonic()
        gateway.visits[0].push(YES)
        await ears.until(1)
        await until(lambda: len(gateway.visits[0].texts) == 4)
        assert time.monotonic() - began_s >= 0.3

    gateway = listen_to(_be_silent, identity, tmp_path, script)
    assert set(gateway.visits[0].texts) == {"tic"}
    request = gateway.visits[0].heard.partition(b"\r\n\r\n")[0].lower()
    assert request.startswith(b"get /v1/api/ws http/1.1")
    assert b"cookie" not in request
    assert b"origin" not in request
    assert len(gateway.visits) == 1


def test_junk_between_the_messages_and_a_follower_that_fails_change_nothing(
    identity: tuple[Path, Leaf], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown messages are skipped, and the callback may raise: the next message is still reported."""
    ca_file, leaf = identity
    told: list[bool | None] = []

    def fail(ready: bool | None) -> None:  # noqa: FBT001 - the shape of on_change
        told.append(ready)
        raise ZeroDivisionError

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        for junk in ("", "canary-1", '{"topic": 7}', "[" * 60_000, "x" * 200_000, '{"message": "waiting for session"}'):
            visit.push(junk)
            visit.push(YES)
        await visit.listen()

    async def run() -> None:
        listener = PushListener(fail)
        gateway = FakeGateway(behave)
        async with gateway.serve(leaf, tmp_path) as port:
            listener.start(port, ca_file, leaf.der)
            await until(lambda: len(told) == 6)
            assert listener.connected
            assert len(gateway.visits) == 1
            await listener.close()

    asyncio.run(run())
    assert told == [True] * 6
    assert "canary" not in caplog.text


def test_junk_instead_of_frames_ends_the_connection_and_not_the_listener(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that stops speaking WebSocket is lost: reported, and opened again."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        visit.push(YES)
        if visit.number == 1:
            visit.send(b"\xff" * 100)
        await visit.listen()

    async def script(_gateway: FakeGateway, _listener: PushListener, ears: Ears) -> None:
        await ears.until(3)
        assert ears.told == [True, None, True]

    listen_to(behave, identity, tmp_path, script)


def test_too_long_a_message_ends_the_connection_and_not_the_listener(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message over 1 MB, whole or in pieces, costs the connection, and not the memory for it."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        visit.push(YES)
        if visit.number == 1:
            visit.push("x" * (push.MAX_MESSAGE_BYTES + 1))
        elif visit.number == 2:
            for _ in range(push.MAX_MESSAGE_BYTES // 8192 + 1):
                visit.send(visit.server.send(BytesMessage(b"x" * 8192, message_finished=False)))
        await visit.listen()

    async def script(_gateway: FakeGateway, _listener: PushListener, ears: Ears) -> None:
        await ears.until(5)
        assert ears.told == [True, None, True, None, True]

    assert listen_to(behave, identity, tmp_path, script).open_at_most == 1


def test_what_came_before_a_close_is_not_lost(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two messages and a close at once, the first in pieces: both are reported, then the loss."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        if visit.number == 1:
            pieces = [visit.server.send(TextMessage(NO[:20], message_finished=False))]
            pieces += [visit.server.send(TextMessage(NO[20:])), visit.server.send(TextMessage(YES))]
            visit.send(b"".join([*pieces, visit.server.send(CloseConnection(1001, "XYZAB=canary"))]))
        await visit.listen()

    async def script(_gateway: FakeGateway, _listener: PushListener, ears: Ears) -> None:
        await ears.until(3)
        assert ears.told == [False, True, None]

    listen_to(behave, identity, tmp_path, script)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 Found\r\nLocation: wss://localhost:%d/other\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_upgrade_is_the_end(
    answer: bytes, identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, a page, a redirect and another protocol: tried again after the pause, nothing is followed."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)
    asked: list[bytes] = []

    async def behave(visit: Visit) -> None:
        asked.append((await visit.reader.read(4096)).split(b"\r\n")[0])
        visit.send(answer % visit.writer.get_extra_info("sockname")[1] if b"%d" in answer else answer)
        await visit.reader.read()

    async def script(_gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: len(asked) == 3)
        assert not listener.connected
        assert ears.told == []

    listen_to(behave, identity, tmp_path, script)
    assert set(asked) == {b"GET /v1/api/ws HTTP/1.1"}


def test_a_ping_is_answered_and_a_farewell_is_said(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """It sends what the protocol asks for; it leaves with a close frame and does not wait for an answer to it."""
    heard: list[object] = []

    async def behave(visit: Visit) -> None:
        await visit.upgrade()
        visit.send(visit.server.send(Ping(b"here?")))
        visit.push(YES)
        with contextlib.suppress(OSError):
            while True:
                data = await visit.reader.read(4096)
                if not data:
                    break
                visit.server.receive_data(data)
                heard.extend(visit.server.events())

    async def script(_gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await ears.until(1)
        await until(lambda: heard)
        began_s = time.monotonic()
        await listener.close()
        assert time.monotonic() - began_s < push.CLOSE_TIMEOUT_S / 2
        await until(lambda: len(heard) == 2)

    listen_to(behave, identity, tmp_path, script)
    assert heard == [Pong(b"here?"), CloseConnection(1000, "")]


def test_a_time_out_of_the_socket_is_its_end(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ETIMEDOUT is not taken for our own timeout: it is lost, reconnects, and nothing is sent on it."""
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await ears.until(1)
        assert listener._line is not None
        transport: Any = listener._line._connection.transport
        transport._ssl_protocol._transport._force_close(TimeoutError(errno.ETIMEDOUT, "timed out"))
        await ears.until(3)
        assert ears.told == [True, None, True]
        assert gateway.visits[0].texts == []

    listen_to(_speak, identity, tmp_path, script)


def test_who_accepts_and_does_not_answer_is_left_after_the_deadline(
    identity: tuple[Path, Leaf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that hangs, before or after TLS, costs only the deadline; nothing is reported."""
    monkeypatch.setattr(push, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(push, "FIRST_PAUSE_S", 0.01)

    async def hang(visit: Visit) -> None:
        await visit.listen()

    async def script(gateway: FakeGateway, listener: PushListener, ears: Ears) -> None:
        await until(lambda: len(gateway.visits) == 3)
        assert ears.told == []
        assert not listener.connected

    began_s = time.monotonic()
    gateway = listen_to(hang, identity, tmp_path, script)
    # A visit may be seen late, so not the time between two of them counts, but from before the first.
    assert gateway.came_s[2] - began_s >= 2 * 0.2
    ca_file, leaf = identity
    tasks: list[asyncio.Task[None]] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type] # this is a task
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        listener = PushListener(Ears())
        listener.start(server.sockets[0].getsockname()[1], ca_file, leaf.der)
        await until(lambda: len(tasks) == 3)
        await listener.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
