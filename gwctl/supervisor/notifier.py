"""From the journal to the people: what is news goes out in the background, and what was told is kept on disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gwctl.config import Settings
from gwctl.errors import GwctlError
from gwctl.history.alerts import Desk, Event, News, compose
from gwctl.history.journal import stamp
from gwctl.integrations.notify import Message, Way
from gwctl.integrations.outbox import Outbox
from gwctl.state_file import read_json, write_json
from gwctl.version import VERSION


def message_of(news: News, profile: str) -> Message:
    """Return a piece of news as it goes out."""
    return Message(news.event, news.severity, profile, news.title, news.text, news.at, VERSION)


def trial(profile: str) -> Message:
    """Return the message of ``gwctl notify test``."""
    news = compose(Event.TEST, "this is a test, and nothing has happened", profile, stamp(time.time()))
    return message_of(news, profile)


class BackgroundNotifier:
    """Implements the service's Notifier; ``news.json`` of the profile keeps what one supervisor told for the next."""

    def __init__(
        self,
        settings: Settings,
        ways: Sequence[Way],
        wall_s: Callable[[], float] = time.time,
        do: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        self._do = do
        self._profile = settings.profile
        self._file = settings.paths.news_file
        self._outbox = Outbox(ways)
        kept = None
        with contextlib.suppress(GwctlError):
            kept, _ = read_json(self._file)
        self._desk = Desk(self._profile, wall_s, kept)

    def see(self, entry: dict[str, Any]) -> None:
        """Begin to tell what of ``entry`` is news, and return at once."""
        self._tell(self._desk.see(entry))

    def look(self, reason: str) -> None:
        """Begin to tell of an outage that goes on, for ``reason``, and return at once."""
        self._tell(self._desk.look(reason, stamp(time.time())))

    def _tell(self, found: list[News]) -> None:
        for news in found:
            self._outbox.post(message_of(news, self._profile))
        if self._desk.unkept:
            self._desk.unkept = False
            self._do(partial(self._keep, self._desk.to_json()))

    def _keep(self, told: dict[str, Any]) -> None:
        with contextlib.suppress(GwctlError):  # a full disk: somebody may be told twice
            write_json(self._file, told)

    async def close(self, *, grace_s: float) -> None:
        """Leave what is under way ``grace_s`` to come to its end, then end it."""
        await self._outbox.close(grace_s=grace_s)
