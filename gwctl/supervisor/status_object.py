"""The contract's ``status`` object, from the parts of a running supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gwctl.core.messages import Process, Session
from gwctl.core.tables import Snapshot
from gwctl.gateway.responses import SessionAnswer
from gwctl.login_hours import LoginPlan
from gwctl.plain_text import cleaned
from gwctl.supervisor import kept_pause
from gwctl.supervisor.status_report import (
    describe_budget,
    describe_phase,
    describe_session,
    describe_supervisor,
    describe_tickles,
)
from gwctl.times import utc

if TYPE_CHECKING:
    from gwctl.supervisor.service import Service


def status_of(service: Service) -> dict[str, Any]:
    """Return the ``status`` object."""
    snapshot, settings, now = service.loop.snapshot, service.settings, time.monotonic()
    # What IBKR last said of a session is over with the gateway that had it.
    seen = service.probe.seen if snapshot.process is Process.RUNNING else None
    session = describe_session(seen, service.probe.tickled_at, now)
    status = {
        "profile": settings.profile,
        **describe_phase(snapshot, now),
        "sandbox": service.order.sandbox,
        "mode": settings["mode"],
        "username": None if service.order.sandbox else settings["username"],
        "show_username": settings["show_username"],
        "paused": kept_pause.describe(snapshot.pause),
        "planned": _planned(service.plan, time.time()),
        "gateway": {**service.keeper.describe(), "restarts": snapshot.restarts},
        "isolation": service.keeper.describe_isolation(),
        "door": service.door.describe(),
        "session": {**session, "sso": service.probe.fits_profile and _has_sso(snapshot, seen)},
        "supervisor": describe_supervisor(now - service.started_monotonic, service.port),
        "login": service.ledger.summary(settings["rejected_limit"], look_only=True),
        "drift": [] if service.drift is None else [one.to_status() for one in service.drift.found],
        "question": service.questions.describe_open(),
        "tickles": describe_tickles(service.probe.latencies_s),
        "budget": describe_budget(snapshot.spent, service.loop.policy.budgets, now),
    }
    return dict(cleaned(status))


def outline_of(service: Service) -> dict[str, Any]:
    """Return what everybody on this machine may know; a pause's reason is its person's."""
    snapshot = service.loop.snapshot
    described = describe_phase(snapshot, time.monotonic())
    if snapshot.pause is not None:
        described["reason"] = "paused"
    return {name: cleaned(described[name]) for name in ("phase", "reason", "ready")}


def _planned(plan: LoginPlan, wall_s: float) -> dict[str, Any]:
    opens_s, login_s = plan.opens_at(wall_s), plan.next_login(wall_s)
    return {
        "logins_from": None if opens_s is None else utc(opens_s),
        "relogin_at": None if login_s is None else utc(login_s),
    }


def _has_sso(snapshot: Snapshot, seen: SessionAnswer | None) -> bool:
    """Return whether IBKR knew the login when it was last asked: enough for the portfolio."""
    runs = snapshot.process is Process.RUNNING and snapshot.session is not Session.UNREACHABLE
    return runs and seen is not None and seen.has_sso
