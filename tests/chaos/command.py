"""The command line of scripts/chaos."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import SystemRandom
from types import FrameType

from after_a_kill import a_watched_folder

from chaos import machine, report
from chaos.catalogue import BY_NAME, FAULTS
from chaos.drawing import draw, draw_storms, worlds_of
from chaos.fault import Fault
from chaos.rounds import Result, can_be_injected, play_all
from chaos.soak import soak
from chaos.worlds import Interrupted, Run, release_of

ROUNDS = 100
REAL_ROUNDS = 25
LANES = 3
REAL_LANES = 2


def main(arguments: list[str], root: Path) -> int:
    """Run and return the exit code."""
    parser = _parser()
    wish = parser.parse_args(arguments)
    if wish.markdown:
        Path(wish.markdown).write_text(report.page())
        return 0
    unknown = [name for name in wish.only if name not in BY_NAME]
    if unknown:
        parser.error(f"unknown fault {unknown[0]}; known faults: {', '.join(BY_NAME)}")
    faults = tuple(BY_NAME[name] for name in wish.only) or FAULTS
    possible = tuple(fault for fault in faults if can_be_injected(fault, root=machine.IS_ROOT))
    if left_out := [fault.name for fault in faults if fault not in possible]:
        _say(f"skipped, only root can play them: {', '.join(left_out)}")
    if not possible:
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return _run(wish, root, possible)
    except KeyboardInterrupt:
        _say("interrupted; nothing is left running")
        return 130


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Throw faults at gwctl and check the laws.")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds ({ROUNDS}; {REAL_ROUNDS} with --real)")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of the random choices (default: a new one)")
    parser.add_argument("--real", action="store_true", help="use the real gateway's jar instead of the fake gateway")
    parser.add_argument("--hours", type=float, metavar="H", help="run one home for H hours, a fault every 20 to 60 s")
    parser.add_argument(
        "--lanes", type=int, metavar="K", help=f"homes at the same time ({LANES}; {REAL_LANES} with --real)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="FAULT", help="play only this fault; may be repeated"
    )
    parser.add_argument(
        "--storms", type=int, metavar="N", help="play N storms instead: many faults in a row, also during a recovery"
    )
    parser.add_argument("--round", type=int, metavar="N", help="play only the world of this round of the seed")
    parser.add_argument("--markdown", metavar="FILE", help="only write the catalogue as a page")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # A second signal would interrupt the cleanup and leave processes running.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(wish: argparse.Namespace, root: Path, faults: tuple[Fault, ...]) -> int:
    seed = SystemRandom().randrange(1 << 31) if wish.seed is None else wish.seed
    rounds = wish.rounds or (REAL_ROUNDS if wish.real else ROUNDS)
    lanes = wish.lanes or (REAL_LANES if wish.real else LANES)
    results: queue.Queue[Result] = queue.Queue()
    played: list[Result] = []
    printer = threading.Thread(target=_tell, args=(results, played), daemon=True)
    began_s = time.time()
    told: list[str] = []
    with a_watched_folder("gwctl-chaos-") as name:
        run = Run(Path(name), release_of(Path(name), _real_zip(root) if wish.real else None), real=wish.real)
        _say(f"seed {seed}, {'the real gateway' if wish.real else 'the fake gateway'}")
        printer.start()
        try:
            if wish.hours:
                told = soak(run, wish.hours, seed, faults, results)
            else:
                drawn = draw_storms(seed, wish.storms, faults) if wish.storms else draw(seed, rounds, faults)
                worlds = list(worlds_of(drawn))
                if wish.round:
                    worlds = [world for world in worlds if wish.round in {one.number for one in world}]
                play_all(run, worlds, lanes, results)
        except Interrupted:
            raise KeyboardInterrupt from None
        finally:
            results.put(None)  # type: ignore[arg-type] # the printer's end
            printer.join()
    _say("")
    _say(report.table(played))
    _say("\n".join(told))
    number = f"--storms {wish.storms}" if wish.storms else f"--rounds {rounds}"
    replay = f"scripts/chaos --seed {seed} {number}" + (" --real" if wish.real else "")
    replay += "".join(f" --only {name}" for name in wish.only)
    bad = [result for result in played if not result.is_good]
    if bad:
        _say(report.broken(bad, replay))
    count = sum(bool(result.round.faults) for result in played)
    _say(f"\n{count} rounds in {time.time() - began_s:.0f} s, {len(bad)} broken, seed {seed}")
    return 1 if bad or not count else 0


def _tell(results: queue.Queue[Result], played: list[Result]) -> None:
    while (result := results.get()) is not None:
        played.append(result)
        _say(report.line(result))


def _real_zip(root: Path) -> str:
    named = os.environ.get("GWCTL_TEST_RELEASE_ZIP")
    if named:
        return named
    command = [sys.executable, str(root / "scripts" / "standard-release")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
