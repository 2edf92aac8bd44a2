"""Messages on their way, in the background: a way that is slow, dead or hanging delays nobody, nor the other ways."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from gwctl.integrations.notify import Message, Way

log = logging.getLogger("gwctl.supervisor")

MOST_WAITING = 12


class Outbox:
    """Tells each way every message, in their order, each way at its own pace."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._lanes = [_Lane(way) for way in ways]

    def post(self, message: Message) -> None:
        """Begin to tell it and return at once."""
        for lane in self._lanes:
            lane.post(message)

    async def close(self, *, grace_s: float) -> None:
        """Leave what is under way ``grace_s`` to come to its end, then end it: nothing of ours outlives us."""
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for lane in self._lanes:
            lane.give_up()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Lane:
    def __init__(self, way: Way) -> None:
        self.task: asyncio.Task[None] | None = None
        self._way = way
        self._waiting: deque[Message] = deque()

    def post(self, message: Message) -> None:
        if len(self._waiting) >= MOST_WAITING:
            # What is newest matters most.
            log.warning("%s: %s was not told, too much waits", self._way.name, self._waiting.popleft().event)
        self._waiting.append(message)
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._send())

    def give_up(self) -> None:
        if self.task is not None:
            self.task.cancel()
            for message in self._waiting:
                log.warning("%s: %s was not told before the end", self._way.name, message.event)
            self._waiting.clear()

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._send_one(self._waiting.popleft())
        finally:
            self.task = None

    async def _send_one(self, message: Message) -> None:
        try:
            delivery = await self._way.send(message)
        except asyncio.CancelledError:
            log.warning("%s: %s was not told before the end", self._way.name, message.event)
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold an address
            log.warning("%s: %s was not told: %s", self._way.name, message.event, type(error).__name__)
            return
        if delivery.ok:
            log.info("%s: told %s", self._way.name, message.event)
        else:
            log.warning("%s: %s was not told: %s", self._way.name, message.event, delivery.said)
