"""WebSocket frames as IBKR or a stranger may send them: hints or nothing, and the next connection works."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from corpus.frames import INPUTS, frame
from fuzzing import about, bounded, damaged, fuzzed, swept, torn, without_complaints
from hypothesis import given
from hypothesis import strategies as st
from push_fakes import Ears, FakeGateway, Visit, make_leaf, until

from gwctl.gateway import websocket
from gwctl.gateway.keystore import Leaf
from gwctl.gateway.websocket import PushListener, Said, read_push, says_something

STS = {"topic": "sts", "args": {"authenticated": True, "competing": False, "connected": True, "message": ""}, "hb": 5}
YES = json.dumps(STS)
ANSWERS_WITHIN_S = 10.0


def read(message: bytes | str) -> None:
    """Read a message; it is a hint of the session or nothing."""
    with bounded():
        push = read_push(message)
        if push is not None:
            assert isinstance(push.topic, str)
            assert Said().and_then(push.args).ready in {True, False, None}
            says_something(push.args)


def test_a_wrong_value_in_any_field_is_read() -> None:
    """Every field of a message gets each value that is wrong in some way, and is left out."""
    for message in swept(STS):
        with about(message):
            read(message)


def test_any_message_is_read() -> None:
    """Whatever a message is, as bytes and as text, it is a hint or nothing."""

    @fuzzed(150)
    @given(damaged(STS) | st.binary(max_size=60))
    def check(message: bytes) -> None:
        read(message)
        read(message.decode(errors="replace"))

    check()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Leaf]:
    return make_leaf(tmp_path_factory.mktemp("identity"))


class Rough:
    """A gateway that sends ``raw`` on its first connection, before or after the upgrade, and behaves on the next."""

    def __init__(self, raw: bytes, *, upgraded: bool) -> None:
        self._raw = raw
        self._upgraded = upgraded

    async def behave(self, visit: Visit) -> None:
        if visit.number > 1:
            await visit.upgrade()
            visit.push(YES)
            await visit.listen()
            return
        if self._upgraded:
            await visit.upgrade()
        else:
            await visit.reader.read(4096)
        for at in range(0, len(self._raw), 65_536):
            visit.send(self._raw[at : at + 65_536])
            await visit.writer.drain()


def play(raw: bytes, identity: tuple[Path, Leaf], folder: Path, *, upgraded: bool) -> None:
    """Send ``raw``; the listener must hear the good message of the next connection, and log no error."""

    async def run() -> None:
        hear_loop()
        ears = Ears()
        listener = PushListener(ears)
        gateway = FakeGateway(Rough(raw, upgraded=upgraded).behave)
        async with gateway.serve(identity[1], folder) as port, asyncio.timeout(ANSWERS_WITHIN_S):
            listener.start(port, identity[0], identity[1].der)
            await until(lambda: len(gateway.visits) > 1 and ears.told and ears.told[-1] is True)
            await listener.close()

    with without_complaints(websocket.log) as hear_loop, about(raw[:2000]), bounded(cpu_s=10.0):
        asyncio.run(run())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "FIRST_PAUSE_S", 0.01)


@pytest.mark.parametrize("upgraded", [False, True])
@pytest.mark.parametrize("case", INPUTS)
def test_a_kept_input_costs_one_connection(
    case: str,
    upgraded: bool,  # noqa: FBT001 - a parameter
    identity: tuple[Path, Leaf],
    tmp_path: Path,
) -> None:
    """After everything that was ever interesting, the listener connects again and hears the next message."""
    play(INPUTS[case], identity, tmp_path, upgraded=upgraded)


def test_any_bytes_cost_one_connection(identity: tuple[Path, Leaf], tmp_path: Path) -> None:
    """Whatever comes before or after the upgrade, the listener connects again and hears the next message."""
    made = st.builds(
        frame,
        st.binary(max_size=40) | damaged(STS).filter(lambda one: len(one) < 5000),
        st.integers(0, 255),
        masked=st.booleans(),
    )

    @fuzzed(15, share=20)
    @given(
        st.lists(made, min_size=1, max_size=4).map(b"".join) | made.flatmap(torn) | st.binary(max_size=40),
        st.booleans(),
    )
    def check(raw: bytes, upgraded: bool) -> None:  # noqa: FBT001 - drawn
        play(raw, identity, tmp_path, upgraded=upgraded)

    check()
