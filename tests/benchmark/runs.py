"""A run of the benchmark: the sides in turn, so that a slow minute of the machine is shared."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from playwright.sync_api import Error as BrowserError
from rig import Rig, free_port

from benchmark import faults, many
from benchmark.ending import a_folder_of_its_own
from benchmark.faults import NEVER, Life
from benchmark.figures import Figures
from benchmark.floor import Floor
from benchmark.plan import Plan
from benchmark.rows import FLOOR, OURS, PEER, PHASE, rows_of
from benchmark.sides import Ours, Peer, Side, peer_python
from benchmark.used_home import a_used_home, furnish
from gwctl.errors import GwctlError
from gwctl.login.browser import find_browser
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import Account, PageOptions, StandInConfig

# The same page for all: the peer expects no dialog over the form, and that the form stays when it changes to paper.
PAGE = PageOptions(form_delay_ms=0, cookie_dialog=False, toggle_clears=False)
FAILURES = (
    *(AssertionError, LookupError, OSError, ValueError, RuntimeError, subprocess.SubprocessError),
    *(psutil.Error, BrowserError, GwctlError),
)
"""What a side that fails makes of a measurement; a fault of the benchmark itself, such as a wrong type, ends it."""


class NoSession(RuntimeError):
    """A side did not get as far as the fault that was to be measured."""

    def __init__(self) -> None:
        super().__init__("no session before the fault")


@dataclass(frozen=True)
class Part:
    """What is done to a side that is up.

    ``polled`` has gwctl look by itself, without the gateway's WebSocket; ``new_home`` has it start where it never was.
    """

    name: str
    sides: tuple[str, ...]
    act: Callable[[Life], None]
    polled: bool = False
    new_home: bool = False

    @property
    def start_row(self) -> str:
        """The row of the start itself."""
        return "first" if self.new_home else "cold"


PARTS = (
    Part("first", (OURS,), faults.nothing, new_home=True),
    Part("calls", (OURS,), faults.calls),
    Part("cold", (FLOOR, OURS, PEER), faults.nothing),
    Part("killed", (OURS, PEER), faults.kill),
    Part("killed-ten", (OURS, PEER), faults.kill_often),
    Part("hung", (OURS, PEER), faults.hang),
    Part("dropped", (OURS, PEER), faults.drop),
    Part("polled", (OURS,), faults.drop_polled, polled=True),
    Part("keeper", (OURS, PEER), faults.kill_keeper),
    Part("idle", (OURS, PEER), faults.idle),
    Part("traffic", (FLOOR, OURS, PEER), faults.traffic),
    Part("soak", (OURS,), faults.soak),
)
SHARED = ("cold", "killed", "dropped", "keeper", "traffic", "hung")
"""In one life of the peer, because each start of it takes minutes and no fault slows a later recovery."""
LAST = ("hung",)
"""Of several faults in one life: its cure is a new gateway, or there is none."""


def lives(plan: Plan, name: str) -> list[list[Part]]:
    """Return a side's parts by the lives in which they are measured; in a short run these are as few as possible."""
    wanted = [part for part in PARTS if part.name in plan.parts and name in part.sides]
    wanted.sort(key=lambda part: part.name in LAST)

    def life_of(part: Part) -> object:
        if plan.short:
            return (part.new_home, part.polled)
        return (name == PEER and part.name in SHARED) or part.name

    kinds = dict.fromkeys(map(life_of, wanted))
    return [[part for part in wanted if life_of(part) == kind] for kind in kinds]


def turns(plan: Plan, names: Sequence[str]) -> list[tuple[str, list[Part]]]:
    """Return what is done in a round: the sides in turn, so that a slow minute of the machine is shared."""
    all_lives = {name: lives(plan, name) for name in names}
    return [(name, life) for part in PARTS for name in names for life in all_lives[name] if life[0] is part]


def measure(plan: Plan, figures: Figures, save: Callable[[], None], told: Callable[[str], None]) -> None:
    """Make the whole run; ``save`` is called after each side of each part."""
    python = _peer(plan, figures, told)
    names = [name for name in (FLOOR, OURS, PEER) if name in plan.sides and (name != PEER or python is not None)]
    with ExitStack() as stack:
        used = None
        if OURS in names:
            used = stack.enter_context(a_used_home(plan.release_zip))
            told("made a home that was used once")
        _rounds(plan, figures, save, told, sides=Sides(plan, python, used), names=names)


def _rounds(
    plan: Plan,
    figures: Figures,
    save: Callable[[], None],
    told: Callable[[str], None],
    *,
    sides: Sides,
    names: Sequence[str],
) -> None:
    for number in range(1, plan.rounds + 1):
        for name, life in turns(plan, names):
            began_s = time.monotonic()
            _one_life(sides, name, life, figures, told)
            what = ", ".join(part.name for part in life)
            told(f"round {number} of {plan.rounds}: {what}: {name}: {time.monotonic() - began_s:.0f} s")
            save()
        if "profiles" not in plan.parts or sides.used is None:
            continue
        for count in plan.profiles:
            began_s = time.monotonic()
            try:
                many.measure(plan, count, figures, sides.used)
            except FAILURES as error:
                figures.miss("profiles_ready", str(count), _reason(error))
            told(f"round {number} of {plan.rounds}: {count} profiles: {time.monotonic() - began_s:.0f} s")
            save()


def _peer(plan: Plan, figures: Figures, told: Callable[[str], None]) -> Path | None:
    """Return the peer's Python, None without the peer; then its rows say why, if nothing was measured before."""
    if plan.peer_venv is None or PEER not in plan.sides:
        return None
    lacks = plan.peer_lacks
    if not lacks:
        try:
            return peer_python(plan.peer_venv)
        except LookupError as error:
            lacks = str(error)
    told(f"without {PEER}: {lacks}")
    for part in PARTS:
        if PEER in part.sides and part.name in plan.parts:
            _miss_the_rest(figures, part, PEER, {}, lacks)
    return None


def _one_life(sides: Sides, name: str, parts: Sequence[Part], figures: Figures, told: Callable[[str], None]) -> None:
    """Start one side, do the parts to it, and stop it; what fails is noted.

    Folder and stand-in are new each time: an earlier fault slows a later recovery on purpose.
    """
    before = {row.key: figures.attempts(row.key, name) for part in parts for row in rows_of(part.name)}
    row = parts[0].start_row
    starts, reason = figures.attempts(row, name), NEVER
    account = Account(username="bench", password=secrets.token_hex(8))
    config = StandInConfig(admin_token=secrets.token_hex(8), account=account, page=PAGE)
    with serve_in_thread(config) as stand_in, a_folder_of_its_own() as folder:
        try:
            side = sides.side(name, folder, stand_in, parts[0])
            with _stopped_at_the_end(side, told):
                _start(side, figures, row)
                for part in parts:
                    part.act(Life(side, stand_in, sides.plan, figures))
                reason = "no value"
        except FAILURES as error:
            reason = _reason(error)
            told(f"{name}: {reason}")
    if figures.attempts(row, name) == starts:
        figures.miss(row, name, reason)
    for part in parts:
        _miss_the_rest(figures, part, name, before, reason)


def _start(side: Side, figures: Figures, row: str) -> None:
    took_s = side.up()
    if took_s is None:
        figures.miss(row, side.name, NEVER)
        raise NoSession
    figures.add(row, side.name, took_s)
    if isinstance(side, Ours) and row == "cold":
        for phase, after_s in side.phases().items():
            figures.add(f"{PHASE}{phase}", side.name, after_s)
    if isinstance(side, Floor):
        for floor_of, value in side.parts.items():
            figures.add(floor_of, side.name, value)


@contextmanager
def _stopped_at_the_end(side: Side, told: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            side.down()
        except FAILURES as error:  # what it left is ended with its folder
            told(f"{side.name} did not stop: {_reason(error)}")


@dataclass(frozen=True)
class Sides:
    """What every side of a run is made of."""

    plan: Plan
    python: Path | None
    """The peer's."""
    used: Path | None
    """The home that was used once; None without gwctl's side."""

    def side(self, name: str, folder: Path, stand_in: RunningStandIn, part: Part) -> Side:
        """Return one side in its own folder, not started."""
        plan, account = self.plan, stand_in.state.config.account
        if name == FLOOR:
            browser = str(find_browser(None, os.environ).executable)
            made = (free_port(), stand_in.port, account.username, account.password, plan.auth_delay_ms)
            return Floor(folder / "floor", plan.release_zip, *made, browser)
        if name == PEER and self.python is not None:
            (folder / "peer").mkdir()
            ports = (free_port(), free_port(), stand_in.port)
            made_of = (account.username, account.password, plan.auth_delay_ms)
            return Peer(folder / "peer", self.python, plan.release_zip, *ports, *made_of)
        rig = Rig(folder, free_port(), account, stand_in)
        rig.starts_the_program = True
        rig.settings["GWCTL_AUTH_DELAY_MS"] = str(plan.auth_delay_ms)
        if part.polled:
            rig.settings["GWCTL_PUSH"] = "false"
        if part.new_home or self.used is None:
            rig.gwctl("release", "install", str(plan.release_zip)).check(0)
        else:
            furnish(rig.home, self.used)
        return Ours(rig)


def _miss_the_rest(figures: Figures, part: Part, side: str, before: Mapping[str, int], reason: str) -> None:
    """Note the reason for each row of a part that got neither a value nor a reason of its own."""
    for row in rows_of(part.name):
        if side in row.sides and figures.attempts(row.key, side) == before.get(row.key, 0):
            figures.miss(row.key, side, reason)


def _reason(error: BaseException) -> str:
    """Return an error in one short line that a table can hold."""
    text = (" ".join(str(error).split()) or type(error).__name__)[:100].replace("|", "/")
    return text if isinstance(error, NoSession) else f"failed: {text}"
