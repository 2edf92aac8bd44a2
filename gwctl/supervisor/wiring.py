"""The parts of a supervisor: settings, ledger, credentials, notifier."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.config import Settings, usual_profile
from gwctl.core.policy import Policy
from gwctl.credentials import Credentials, Found, Secret
from gwctl.environment import Environment
from gwctl.errors import GwctlError
from gwctl.history.alerts import Alert, Alerts, Event, compose
from gwctl.integrations.notify import DeliveryQueue, Message, Way
from gwctl.login_hours import LoginPlan
from gwctl.maintenance import Windows
from gwctl.plain_text import one_line
from gwctl.sandbox.settings import SANDBOX_PASSWORD, SANDBOX_USERNAME
from gwctl.state_file import read_json, write_json
from gwctl.supervisor.attempt import find_login, sources_of
from gwctl.supervisor.authenticator import StartWorker
from gwctl.supervisor.handover import LeaseHolder
from gwctl.supervisor.interfaces import GatewayPort, LoginPort, Notifier, Ports, SessionPort, ToNobody
from gwctl.times import utc_ms
from gwctl.version import VERSION


def message_of(news: Alert, profile: str) -> Message:
    """Return a notification as the message to send."""
    return Message(news.event, news.severity, profile, one_line(news.title), one_line(news.text), news.at, VERSION)


def trial(profile: str) -> Message:
    """Return the message of ``gwctl notify test``."""
    news = compose(Event.TEST, "this is a test; nothing has happened", profile, utc_ms(time.time()))
    return message_of(news, profile)


class BackgroundNotifier:
    """Implements the service's Notifier; the profile's ``news.json`` tells the next supervisor what was notified."""

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
        self._outbox = DeliveryQueue(ways)
        kept = None
        with contextlib.suppress(GwctlError):
            kept, _ = read_json(self._file)
        self._desk = Alerts(self._profile, wall_s, kept, usual=usual_profile(settings.paths))

    def see(self, entry: dict[str, Any]) -> None:
        """Begin to notify about ``entry`` if needed, and return at once."""
        self._tell(self._desk.see(entry))

    def look(self, reason: str) -> None:
        """Begin to notify about a continuing outage with its ``reason`` if needed, and return at once."""
        self._tell(self._desk.look(reason, utc_ms(time.time())))

    def _tell(self, found: list[Alert]) -> None:
        for news in found:
            self._outbox.post(message_of(news, self._profile))
        if self._desk.unkept:
            self._desk.unkept = False
            self._do(partial(self._keep, self._desk.to_json()))

    def _keep(self, told: dict[str, Any]) -> None:
        with contextlib.suppress(GwctlError):  # on a full disk, a notification may be sent twice
            write_json(self._file, told)

    async def close(self, *, grace_s: float) -> None:
        """Give pending messages ``grace_s`` to finish, then end them."""
        await self._outbox.close(grace_s=grace_s)


DEFAULT_AUTH_DELAY_S = 3.0
"""The release's own ``authDelay`` (gateway-facts.md)."""


class MachineClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def asleep(self) -> float:
        """Return the seconds of sleep since the machine's boot; 0 if the system does not provide them."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return 0.0 if boottime is None else time.clock_gettime(boottime) - time.monotonic()


class Order(Struct, frozen=True):
    """The inputs of a supervisor; ``handed_over`` came through a pipe."""

    settings: Settings
    environment: Environment
    sandbox: bool = False
    fast: bool = False
    """Whether logins at the sandbox go without its page, and so without a browser."""
    handed_over: Mapping[str, Found] = field(default_factory=dict)
    follow: Callable[[dict[str, Any]], None] | None = None
    attended: bool = False
    """Whether a person at the terminal of the starting call can be asked for a code."""
    by_hand: bool = False
    """Whether a person logs in by hand: the loop sends no login until requested."""
    holder: LeaseHolder | None = None
    """The call that the supervisor is started for and ends with; None if it stays."""
    load: Callable[[], Settings] | None = None
    """Reads the settings again, from the same sources; raises Configuration."""


FAST_CHECK_S = 0.05
"""How often a fast start asks whether the session is there: the sandbox limits no rate."""


def policy_from(settings: Settings, *, fast: bool = False) -> Policy:
    """Return the core's policy with the profile's settings."""
    delay_ms = settings["auth_delay_ms"]
    policy = Policy(
        seed=secrets.randbits(64),
        check_interval_s=settings["check_interval_s"],
        tickle_interval_s=settings["tickle_interval_s"],
        settle_expected_s=DEFAULT_AUTH_DELAY_S if delay_ms is None else delay_ms / 1000,
        open_early=settings["open_session_early"],
        take_over=settings["on_competing"] == "take_over",
    )
    if not fast:
        return policy
    return replace(policy, settle_second_check_s=FAST_CHECK_S, settle_late_check_s=FAST_CHECK_S)


def calendar_of(order: Order) -> Windows:
    """Return IBKR's maintenance windows; the sandbox has only those that the settings name."""
    unasked = order.sandbox and order.settings.values["maintenance"].source == "built in"
    return Windows() if unasked else Windows.parse(order.settings["maintenance"])


def plan_of(settings: Settings) -> LoginPlan:
    """Return the login hours and planned logins."""
    return LoginPlan.parse(settings["login_hours"], settings["relogin_at"])


def ports_of(order: Order, gateway: GatewayPort, session: SessionPort, login: LoginPort, plan: LoginPlan) -> Ports:
    """Return the loop's ports, with this machine's clocks and the profile's calendar."""
    return Ports(MachineClock(), gateway, session, login, calendar_of(order), plan)


def notifier_of(order: Order, do: Callable[[Callable[[], None]], None]) -> Notifier:
    """Return the notifier, which writes files through ``do``; the sandbox sends no notifications."""
    if order.sandbox:
        return ToNobody()
    from gwctl.integrations.notify import ways_of

    ways = ways_of(order.settings, order.handed_over, order.environment.variables)
    if not ways:
        return ToNobody()

    return BackgroundNotifier(order.settings, ways, do=do)


def worker_of(order: Order) -> StartWorker | None:
    """Return what logs in in place of a browser; None for a browser."""
    if not order.fast:
        return None
    from gwctl.supervisor.pageless_login import PagelessLogin

    return lambda _pin: PagelessLogin(order.settings)


def find_credentials(order: Order) -> Credentials:
    """Return the credentials: the play account in the sandbox, else those of the sources; raise GwctlError."""
    if order.sandbox:
        return Credentials(SANDBOX_USERNAME, Secret(SANDBOX_PASSWORD), None, "the sandbox's play account")
    sources = sources_of(order.environment, order.handed_over, notes_keyring=True)
    return find_login(order.settings, sources)[0]
