"""What one run measures, and how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.rows import PARTS, SIDES


@dataclass(frozen=True)
class Plan:
    """The whole run, or a part of it."""

    release_zip: Path
    rounds: int
    auth_delay_ms: int = 3000
    peer_venv: Path | None = None
    """Where the peer is installed; None to leave it out."""
    peer_lacks: str = ""
    """What this machine lacks for the peer."""
    parts: tuple[str, ...] = PARTS
    sides: tuple[str, ...] = SIDES
    short: bool = False
    """As few starts as possible, for a test that everything works: what it measures is not to be read."""
    requests: int = 2000
    idle_s: float = 600.0
    quiet_s: float = 5.0
    """How long nothing happens before a fault, so that nothing of the login is still running."""
    kills: int = 10
    calls: int = 5
    """How often each short call is made in a round."""
    profiles: tuple[int, ...] = (1, 5, 10, 25)
    profiles_idle_s: float = 60.0
    soak_s: float = 3600.0

    def about(self) -> dict[str, str]:
        """Return what of the plan makes figures comparable: only those of the same plan are added up."""
        told = {
            "authDelay": f"{self.auth_delay_ms} ms",
            "idle": f"{self.idle_s:g} s; {self.profiles_idle_s:g} s with several profiles",
            "requests": f"{self.requests}",
            "soak": f"{self.soak_s:g} s",
        }
        return {**told, "short": "yes"} if self.short else told


def short(plan: Plan) -> Plan:
    """Return the plan as a test can afford it."""
    return replace(
        plan,
        rounds=1,
        short=True,
        requests=100,
        idle_s=1.0,
        quiet_s=0.5,
        kills=2,
        calls=1,
        auth_delay_ms=500,
        profiles=(2,),
        profiles_idle_s=1.0,
        soak_s=6.0,
    )
