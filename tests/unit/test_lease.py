from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gwctl.process import Identity, identify
from gwctl.supervisor.handover import Lease, LeaseHolder


@contextmanager
def living() -> Iterator[tuple[subprocess.Popen[bytes], Identity]]:
    """Yield a process that lives until it is killed."""
    with subprocess.Popen(["sleep", "100"]) as popen:
        try:
            identity = identify(popen.pid)
            assert identity is not None
            yield popen, identity
        finally:
            popen.kill()


class World:
    """A lease and what it did."""

    def __init__(self, first: LeaseHolder | None) -> None:
        self.ended = asyncio.Event()
        self.ends = 0
        self.notes: list[tuple[str, object]] = []
        self.tether = Lease(first, self._end, self._note)
        self.tether.begin()

    def _end(self) -> None:
        self.ends += 1
        self.ended.set()

    def _note(self, kind: str, **fields: object) -> None:
        self.notes.append((kind, fields["code"]))

    def ask(self, verb: str, holder: LeaseHolder | None = None, *, ending: bool = False, **body: Any) -> dict[str, Any]:
        """Send it a request."""
        return self.tether.answer(verb, body if holder is None else holder.to_json(), ending=ending)


def test_the_last_one_to_let_go_ends_it() -> None:
    """With two holders, the first to release ends nothing, the second ends it once; then nobody can hold it."""

    async def run() -> None:
        with living() as (_, one), living() as (_, two):
            first, second = LeaseHolder(one, "a"), LeaseHolder(two, "b")
            world = World(first)
            assert world.ask("hold", second)["ok"]
            assert not world.ask("let_go", first)["ending"]
            assert not world.ask("let_go", first)["ending"], "again is no harm"
            assert world.ask("let_go", second)["ending"]
            assert world.ask("hold", first) == {"ok": False, "error": "the supervisor is stopping", "ending": True}
            await world.tether.close()
            assert (world.ends, world.notes) == (1, [])

    asyncio.run(run())


def test_a_holder_that_is_killed_lets_go() -> None:
    """A holder's end ends it, and the journal says why; this includes a holder that had ended before."""

    async def run() -> None:
        with living() as (popen, identity):
            world = World(LeaseHolder(identity))
            popen.kill()
            async with asyncio.timeout(10):
                await world.ended.wait()
            popen.wait()
            late = World(LeaseHolder(identity))
            async with asyncio.timeout(10):
                await late.ended.wait()
            assert (world.ends, late.ends, world.notes) == (1, 1, [("warning", "caller_killed")])

    asyncio.run(run())


def test_what_is_kept_stays() -> None:
    """After `keep`, no holder's end ends it; a request to keep from a holder's own command has no effect."""

    async def run() -> None:
        with living() as (_, identity):
            holder = LeaseHolder(identity, "label")
            world = World(holder)
            assert world.ask("keep", label="label")["bound"]
            assert world.ask("keep", label="another") | {"ok": True} == {
                "ok": True,
                "was_bound": True,
                "bound": False,
                "ending": False,
            }
            assert not world.ask("let_go", holder)["ending"]
            assert world.ends == 0
            await world.tether.close()

    asyncio.run(run())


def test_one_that_was_started_for_nobody_is_nobodys_to_end() -> None:
    """A supervisor that `up` started may be held and stays after the release; while it ends, it cannot be held."""

    async def run() -> None:
        with living() as (_, identity):
            world, holder = World(None), LeaseHolder(identity)
            assert world.ask("hold", holder)["ok"]
            assert not world.ask("let_go", holder)["ending"]
            assert world.ask("hold", holder, ending=True)["ending"]
            assert not world.ask("hold")["ok"], "without a holder"
            assert world.ends == 0
            await world.tether.close()

    asyncio.run(run())
