"""When a profile may log in by itself, and when it replaces its session: ``login_hours`` and ``relogin_at``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field

from gwctl.maintenance import BadWindow, Window, Windows

ANNOUNCED_S = 600.0
"""How long before a planned login it is announced."""


class LoginPlan(Struct, frozen=True):
    """Login hours and planned logins; times are seconds since 1970. Without hours, logins are always allowed."""

    hours: Windows = field(default_factory=Windows)
    logins: tuple[Window, ...] = ()

    @classmethod
    def parse(cls, hours: Iterable[str], logins: Iterable[str]) -> LoginPlan:
        """Parse both settings; raise BadWindow, also if a planned login is outside the hours."""
        plan = cls(Windows.parse(hours), tuple(one for text in logins for one in Window.parse_moment(text)))
        plan._require_within_hours()
        return plan

    def _require_within_hours(self) -> None:
        for login in self.logins:
            for begins_s, _ in login.around(_SOME_DAY_S):
                if self.opens_at(begins_s) is not None:
                    raise BadWindow(f"relogin_at {login.begins:%H:%M} {login.zone.key} is outside login_hours")

    def opens_at(self, wall_s: float) -> float | None:
        """Return when the hours begin again; None while they last."""
        if not self.hours.windows or self.hours.until(wall_s) is not None:
            return None
        return self.hours.next_change(wall_s)

    def next_login(self, wall_s: float) -> float | None:
        """Return the next planned login after ``wall_s``; None if none is planned within the hours."""
        begins = sorted(begins_s for login in self.logins for begins_s, _ in login.around(wall_s) if begins_s > wall_s)
        # Daylight saving time of two zones can move a planned login out of the hours for some weeks.
        return next((begins_s for begins_s in begins if self.opens_at(begins_s) is None), None)

    def next_change(self, wall_s: float) -> float | None:
        """Return when the hours begin or end, or a planned login is due or announced; None if never."""
        login_s = self.next_login(wall_s)
        announced_s = self.next_login(wall_s + ANNOUNCED_S)
        changes = (self.hours.next_change(wall_s), login_s, None if announced_s is None else announced_s - ANNOUNCED_S)
        return min((change for change in changes if change is not None), default=None)

    def words(self, wall_s: float) -> str:
        """Return a time as ``Mon 07:00 Europe/Zurich``, in the time zone of the settings."""
        zones = [window.zone for window in (*self.hours.windows, *self.logins)]
        at = datetime.fromtimestamp(wall_s, zones[0] if zones else None)
        return f"{at:%a %H:%M} {zones[0].key if zones else ''}".strip()


_SOME_DAY_S = 1_767_225_600.0
"""Around this day each planned login is compared with the hours."""
