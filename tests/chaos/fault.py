"""What is known of one fault."""

from __future__ import annotations

from dataclasses import dataclass

NAMES, DISK, TAKES_OVER, SMALL_HEAP = "names", "disk", "takes over", "small heap"
FOR_ROOT = frozenset({NAMES, DISK})
"""What a fault may need of its home: IBKR by a name, a small disk, ``on_competing = take_over``, little memory."""


@dataclass(frozen=True)
class Fault:
    """One fault. ``name`` is also its injection's; seconds are those of the ``authDelay`` that the release has.

    ``bound_s`` counts from the cause's end, or from the fault where it is over at once, until the session is ready and
    a call through the gateway finds it so, at the latest, also on a busy machine; ``aim_s`` is what is aimed at on one
    that is not. ``submits`` is how often the password may be sent. With ``cookies`` the cure
    needs the login's cookies, which are in the supervisor's memory; ``forgets`` says that the fault costs them. A fault
    that is not ``felt`` must leave the session ready all the time; any other that lasts (``hold_s``, counted from when
    it was seen) must be seen. ``world`` is what it needs of the home that it happens in.
    """

    name: str
    title: str
    injected: str
    cleared: str
    seen: str
    cure: str
    bound_s: float
    test: str
    kind: str
    hold_s: tuple[float, float] = (0.0, 0.0)
    submits: int = 0
    same_gateway: bool = True
    cookies: bool = False
    forgets: bool = False
    alone: bool = False
    felt: bool = True
    world: str = ""
    aim_s: float | None = None
