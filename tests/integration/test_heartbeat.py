"""The heartbeat against gateways that are well, slow, silent, gone, or not ours."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from push_fakes import DEADLINE_S, FakeGateway, Visit, make_leaf, until

from gwctl.gateway import heartbeat
from gwctl.gateway.heartbeat import Heartbeat
from gwctl.gateway.keystore import Leaf

ANSWER = b"HTTP/1.1 302 Found\r\nLocation: /sso/Login\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
Identity = tuple[Path, Leaf]
Behaviour = Callable[[Visit], Awaitable[None]]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_leaf(tmp_path_factory.mktemp("identity"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.1)
    monkeypatch.setattr(heartbeat, "RECONNECT_PAUSE_S", 0.02)


class Hints:
    """The times of the hints, on the loop's clock."""

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def __call__(self) -> None:
        self.at_s.append(asyncio.get_running_loop().time())


async def _request(visit: Visit) -> None:
    visit.heard += await visit.reader.readuntil(b"\r\n\r\n")


async def answer(visit: Visit) -> None:
    """Answer everything."""
    while True:
        await _request(visit)
        visit.send(ANSWER)


async def be_silent(visit: Visit) -> None:
    """Read, and answer nothing."""
    while part := await visit.reader.read(4096):
        visit.heard += part


async def answer_once(visit: Visit) -> None:
    """Answer the first request, and then nothing more."""
    await _request(visit)
    visit.send(ANSWER)
    await be_silent(visit)


def asked(visit: Visit) -> int:
    """Return how many requests arrived."""
    return visit.heard.count(b"GET / HTTP/1.1\r\n")


@asynccontextmanager
async def beating(
    behave: Behaviour, identity: Identity, folder: Path, leaf_der: bytes | None = None
) -> AsyncIterator[tuple[FakeGateway, Heartbeat, Hints]]:
    """Ask a gateway that behaves in this way, for the length of the block."""
    ca_file, leaf = identity
    gateway, hints = FakeGateway(behave), Hints()
    beats = Heartbeat(hints)
    async with gateway.serve(leaf, folder) as port:
        beats.start(port, ca_file, leaf.der if leaf_der is None else leaf_der)
        try:
            yield gateway, beats, hints
        finally:
            await beats.close()


def test_one_that_answers_is_asked_on_one_connection_and_not_hinted_at(identity: Identity, tmp_path: Path) -> None:
    """However often it is asked, only ``GET /`` is sent, which never reaches IBKR."""

    async def run() -> None:
        async with beating(answer, identity, tmp_path) as (gateway, beats, hints):
            await until(lambda: gateway.visits and asked(gateway.visits[0]) >= 10)
            assert len(gateway.visits) == 1
            assert set(gateway.visits[0].heard.split(b"\r\n\r\n")) == {heartbeat._REQUEST[:-4], b""}
            assert hints.at_s == []
            assert not beats.overdue

    asyncio.run(run())


def test_the_next_request_waits_for_the_answer_and_the_pause(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are as far apart as promised: it may cost little processor time."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.2)
    times_s: list[float] = []

    async def note(visit: Visit) -> None:
        while True:
            await _request(visit)
            times_s.append(time.monotonic())
            visit.send(ANSWER)

    async def run() -> float:
        began_s = time.monotonic()
        async with beating(note, identity, tmp_path):
            await until(lambda: len(times_s) == 4)
        return began_s

    began_s = asyncio.run(run())
    assert times_s[3] - began_s >= 3 * 0.2


def test_an_answer_wakes_nobody(identity: Identity, tmp_path: Path) -> None:
    """Each wake-up costs an idle machine more than the answer itself: a beat has one, its own."""

    async def run() -> None:
        async with beating(answer, identity, tmp_path) as (gateway, beats, _):
            await until(lambda: gateway.visits and asked(gateway.visits[0]) >= 3)
            assert beats._line is not None
            assert not asyncio.get_running_loop().remove_reader(beats._line._socket)

    asyncio.run(run())


def test_what_the_gateway_owes_is_known_between_two_beats(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that is under way reads there whether the gateway has answered in the meantime."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 10 * DEADLINE_S)
    may_answer = asyncio.Event()

    async def late(visit: Visit) -> None:
        await _request(visit)
        await may_answer.wait()
        visit.send(ANSWER)
        await be_silent(visit)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with beating(late, identity, tmp_path) as (_, beats, hints):
            await until(lambda: beats.owes_s)
            sent_s = loop.time() - beats.owes_s
            await until(lambda: beats.overdue)
            assert loop.time() - sent_s > heartbeat.ANSWER_S
            assert beats.owes_s == pytest.approx(loop.time() - sent_s, abs=0.1)
            may_answer.set()
            await until(lambda: not beats.overdue)
            assert beats.owes_s == 0.0
            assert hints.at_s == []

    asyncio.run(run())


def test_an_answer_in_two_parts_is_one_answer(identity: Identity, tmp_path: Path) -> None:
    """What is left of one answer must not stand for the next, or a hang would be seen a beat later each time."""

    async def twice_in_parts(visit: Visit) -> None:
        for _ in range(5):
            await _request(visit)
            for part in (ANSWER[:20], ANSWER[20:60], ANSWER[60:]):
                visit.send(part)
        await be_silent(visit)

    async def run() -> None:
        async with beating(twice_in_parts, identity, tmp_path) as (gateway, _, hints):
            await until(lambda: hints.at_s)
            assert asked(gateway.visits[0]) == 6

    asyncio.run(run())


def test_silence_is_hinted_at_in_time(identity: Identity, tmp_path: Path) -> None:
    """The hint comes a beat after a request without an answer: the whole sum for a hung gateway has 7 s."""

    async def run() -> tuple[float, float]:
        async with beating(answer_once, identity, tmp_path) as (gateway, beats, hints):
            await until(lambda: gateway.visits and asked(gateway.visits[0]) == 2)
            began_s = asyncio.get_running_loop().time()
            await until(lambda: hints.at_s)
            assert beats.overdue
            assert asked(gateway.visits[0]) == 2
            assert len(gateway.visits) == 1
            return began_s, hints.at_s[0]

    began_s, hinted_s = asyncio.run(run())
    assert hinted_s - began_s < 1.0


def test_while_an_answer_is_overdue_nothing_more_is_sent(identity: Identity, tmp_path: Path) -> None:
    """A gateway under load gets no more of it from us."""

    async def late(visit: Visit) -> None:
        await _request(visit)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.8):
                await visit.reader.read(1)
        visit.send(ANSWER)
        await answer(visit)

    async def run() -> None:
        async with beating(late, identity, tmp_path) as (gateway, beats, hints):
            await until(lambda: gateway.visits and asked(gateway.visits[0]) >= 3)
            assert len(gateway.visits) == 1
            assert len(hints.at_s) == 1
            assert not beats.overdue

    asyncio.run(run())


def test_hints_are_five_seconds_apart_however_slow_it_is(identity: Identity, tmp_path: Path) -> None:
    """A gateway that is slow for a long time costs no more requests to IBKR than the checks do."""

    async def slow(visit: Visit) -> None:
        while True:
            await _request(visit)
            await asyncio.sleep(0.5)
            visit.send(ANSWER)

    async def run() -> list[float]:
        async with beating(slow, identity, tmp_path) as (gateway, _, hints):
            await until(lambda: len(hints.at_s) == 3)
            assert asked(gateway.visits[0]) >= 15
            return hints.at_s

    first_s, second_s, third_s = asyncio.run(run())
    assert second_s - first_s >= 5.0
    assert third_s - second_s >= 5.0


def test_a_hint_that_had_to_wait_comes_if_the_gateway_is_still_silent(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that hangs just after a slow answer is hinted at as soon as a hint may be given."""
    monkeypatch.setattr(heartbeat, "HINT_PAUSE_S", 1.5)

    async def slow_then_silent(visit: Visit) -> None:
        await _request(visit)
        await asyncio.sleep(0.5)
        visit.send(ANSWER)
        await be_silent(visit)

    async def run() -> list[float]:
        async with beating(slow_then_silent, identity, tmp_path) as (_, _beats, hints):
            await until(lambda: len(hints.at_s) == 2)
            return hints.at_s

    first_s, second_s = asyncio.run(run())
    assert second_s - first_s >= 1.5


def test_after_the_server_closes_it_comes_back(identity: Identity, tmp_path: Path) -> None:
    """A connection that ends is hinted at, and the next one beats as the first did."""

    async def close_the_first(visit: Visit) -> None:
        await _request(visit)
        visit.send(ANSWER)
        if visit.number > 1:
            await answer(visit)

    async def run() -> None:
        async with beating(close_the_first, identity, tmp_path) as (gateway, beats, hints):
            await until(lambda: len(gateway.visits) == 2 and asked(gateway.visits[1]) >= 5)
            assert len(hints.at_s) == 1
            assert not beats.overdue
            assert gateway.open_at_most == 1

    asyncio.run(run())


def test_a_connection_without_an_answer_is_replaced(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If only one connection got stuck, the heartbeat does not stay blind."""
    monkeypatch.setattr(heartbeat, "GIVE_UP_S", 0.5)

    async def stick_the_first(visit: Visit) -> None:
        await (be_silent if visit.number == 1 else answer)(visit)

    async def run() -> None:
        async with beating(stick_the_first, identity, tmp_path) as (gateway, beats, _):
            await until(lambda: len(gateway.visits) == 2 and asked(gateway.visits[1]) >= 5)
            assert asked(gateway.visits[0]) == 1
            assert not beats.overdue

    asyncio.run(run())


def test_nothing_is_sent_to_another_certificate(
    identity: Identity, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither to one of our authority with another key, nor to one that is not trusted; both are hinted at."""
    _, other = make_leaf(tmp_path_factory.mktemp("other"))

    async def run(served: Identity, leaf_der: bytes) -> None:
        async with beating(be_silent, served, tmp_path, leaf_der) as (gateway, _, hints):
            await until(lambda: hints.at_s)
            await until(lambda: len(gateway.came_s) >= 2 or not gateway.came_s)
            assert {visit.heard for visit in gateway.visits} <= {b""}

    asyncio.run(run(identity, other.der))
    asyncio.run(run((identity[0], other), other.der))


def test_a_listener_that_fails_does_not_end_it(
    identity: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next request is sent as if nothing had happened."""

    async def slow_once(visit: Visit) -> None:
        await _request(visit)
        await asyncio.sleep(0.5)
        visit.send(ANSWER)
        await answer(visit)

    def fail() -> None:
        raise RuntimeError

    async def run() -> None:
        gateway, beats = FakeGateway(slow_once), Heartbeat(fail)
        async with gateway.serve(identity[1], tmp_path) as port:
            beats.start(port, identity[0], identity[1].der)
            await until(lambda: gateway.visits and asked(gateway.visits[0]) >= 3)
            await beats.close()

    asyncio.run(run())
    assert "could not be reported" in caplog.text


def test_a_second_start_leaves_the_first_gateway(identity: Identity, tmp_path: Path) -> None:
    """Only the gateway that was named last is asked."""
    ca_file, leaf = identity

    async def run() -> None:
        first, second = FakeGateway(answer), FakeGateway(answer)
        beats = Heartbeat(Hints())
        async with first.serve(leaf, tmp_path) as one, second.serve(leaf, tmp_path) as two:
            beats.start(one, ca_file, leaf.der)
            await until(lambda: first.visits and asked(first.visits[0]) >= 2)
            beats.start(two, ca_file, leaf.der)
            await until(lambda: second.visits and asked(second.visits[0]) >= 5)
            assert not first.open_now
            assert len(first.visits) == 1
            await beats.close()

    asyncio.run(run())


@pytest.mark.parametrize("moment", ["at once", "connecting", "waiting", "between", "overdue", "closed by it"])
def test_nothing_is_left_after_the_close(identity: Identity, tmp_path: Path, moment: str) -> None:
    """Whatever it was doing: no task, no timer that hints, no open file; a second close does nothing."""
    ca_file, leaf = identity
    behaviour = {"waiting": be_silent, "overdue": be_silent, "closed by it": _request}.get(moment, answer)

    held: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async def beat_and_close() -> weakref.ref[Heartbeat]:
        gateway, hints = FakeGateway(behaviour), Hints()
        beats = Heartbeat(hints)
        files = psutil.Process().num_fds()
        mute = await asyncio.start_server(hold, "127.0.0.1", 0)
        async with gateway.serve(leaf, tmp_path) as port:
            beats.start(mute.sockets[0].getsockname()[1] if moment == "connecting" else port, ca_file, leaf.der)
            arrived: dict[str, Callable[[], object]] = {
                "at once": lambda: True,
                "connecting": lambda: held,
                "waiting": lambda: gateway.visits,
                "between": lambda: gateway.visits and asked(gateway.visits[0]) >= 2,
                "overdue": lambda: beats.overdue,
                "closed by it": lambda: hints.at_s,
            }
            await until(arrived[moment])
            await beats.close()
            await beats.close()
            told = len(hints.at_s)
            assert not beats.overdue
            assert "gwctl-heartbeat" not in {task.get_name() for task in asyncio.all_tasks()}
            await until(lambda: not gateway.open_now)
        for writer in held:
            writer.transport.abort()
        mute.close()
        await until(lambda: psutil.Process().num_fds() <= files)
        assert len(hints.at_s) == told
        return weakref.ref(beats)

    async def run() -> None:
        left = await beat_and_close()
        gc.collect()
        assert left() is None, "a timer, a task or a connection keeps it"

    asyncio.run(run())
