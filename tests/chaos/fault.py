"""The description of one fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gwctl.session_status import Verdict

NAMES, DISK, TAKES_OVER, SMALL_HEAP = "names", "disk", "takes over", "small heap"
FOR_ROOT = frozenset({NAMES, DISK})
"""What a fault may need from its home: IBKR by a name, a small disk, ``on_competing = take_over``, little memory."""


@dataclass(frozen=True)
class Answer:
    """A scenario of the fake IBKR that is a fault by its answer alone, and the verdict that gwctl must read in it."""

    scenario: str
    verdict: Verdict = Verdict.UPSTREAM_ILL
    parameters: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Fault:
    """One fault. ``name`` is also the name of its injection, unless its ``answer`` is all there is to inject.

    All times assume the release's own ``authDelay``.

    ``bound_s`` is the time to ready at most, checked by a call through the gateway, also on a busy machine. It counts
    from the end of the cause, or from the fault if it is over at once. ``aim_s`` is the target on a machine that is not
    busy. ``submits`` is how often the password may be sent. With ``cookies``, the recovery needs the login's cookies,
    which are in the supervisor's memory; ``forgets`` says that the fault costs them. A fault that is not ``felt`` must
    leave the session ready all the time; any other that lasts (``hold_s``, counted from when it was seen) must be seen.
    ``world`` is what it needs from the home that it happens in.
    """

    name: str
    title: str
    injected: str
    cleared: str
    seen: str
    recovery: str
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
    answer: Answer | None = None
    aim_s: float | None = None
