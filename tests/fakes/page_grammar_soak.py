# ruff: noqa: T201 - the long run reports its progress
"""Many pages of the grammar in one run: each kind of failure once, on the simplest page that still fails."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import page_grammar
from hypothesis import HealthCheck, Phase, given, seed, settings
from page_grammar import Spec, Switch, specs
from page_grammar_play import Stage, a_stage

Play = Callable[[Spec], list[str]]
TRIES = 25
SIMPLIFY_S = 60.0
DRAWN_FOR_ONE = 8
ENOUGH_PARTS = 4


def drawn(count: int, from_seed: int) -> list[Spec]:
    """Return pages, always the same for a seed, and all endings in turn.

    Hypothesis follows each page with some that differ only in a word: a browser's time is better spent on others.
    """
    pool: dict[str, list[Spec]] = {}
    last = [Spec()]

    @seed(from_seed)
    @settings(
        max_examples=count * DRAWN_FOR_ONE,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(specs())
    def take(spec: Spec) -> None:
        if _parts_apart(spec, last[0]) >= ENOUGH_PARTS:
            last[0] = spec
            pool.setdefault(spec.ending.kind, []).append(spec)

    take()
    kinds = sorted(pool.keys() - {"success"})
    first = from_seed * count // 2 % len(kinds)  # a small draw does not have all of them: the next one continues
    turns = [one for kind in kinds[first:] + kinds[:first] for one in ("success", kind)]
    found: list[Spec] = []
    while any(pool.values()) and len(found) < count:
        found += [pool[kind].pop(0) for kind in turns if pool.get(kind)]
    return found[:count]


def _parts_apart(one: Spec, other: Spec) -> int:
    return sum(getattr(one, part.name) != getattr(other, part.name) for part in fields(Spec))


def kind_of(broken: Sequence[str]) -> str:
    """Return the identity of a kind of failure."""
    return broken[0].split(" IBKR's")[0]


def simplest(spec: Spec, broken: Sequence[str], play: Play) -> tuple[Spec, Sequence[str]]:
    """Return the simplest spec that fails in the same way, after at most ``TRIES`` tries."""
    tries = 0
    until_s = time.monotonic() + SIMPLIFY_S
    again = True
    while again and tries < TRIES:
        again = False
        for simpler in _simpler(spec):
            tries += 1
            now = play(simpler)
            if now and kind_of(now) == kind_of(broken):
                spec, broken, again = simpler, now, True
                break
            if tries >= TRIES or time.monotonic() > until_s:
                again = False
                break
    return spec, broken


def _simpler(spec: Spec) -> Iterator[Spec]:
    plain = Spec()
    for part in fields(Spec):
        value, default = getattr(spec, part.name), getattr(plain, part.name)
        if value == default:
            continue
        if part.name == "switch" and spec.markup.version == "unknown":
            default = Switch("none")
        if value == default:
            continue
        if part.name == "markup":
            yield replace(spec, markup=default, switch=Switch())
            yield from (replace(spec, markup=one) for one in _fields_reset(value, default, keep={"version", "by"}))
            continue
        yield replace(spec, **{part.name: default})
        if value is not None and default is not None:
            kept = {"kind"} if part.name == "switch" else set()
            yield from (replace(spec, **{part.name: one}) for one in _fields_reset(value, default, keep=kept))


def _fields_reset(value: Any, default: Any, *, keep: set[str]) -> Iterator[Any]:
    for one in fields(value):
        if one.name not in keep and getattr(value, one.name) != getattr(default, one.name):
            yield replace(value, **{one.name: getattr(default, one.name)})


def soak(stage: Stage, pages: Sequence[Spec], *, simplify: bool) -> dict[str, tuple[Spec, Sequence[str], int]]:
    """Play every page; return by its kind each failure with its simplest page and its count."""
    found: dict[str, tuple[Spec, Sequence[str], int]] = {}
    for at, spec in enumerate(pages):
        broken = stage.broken_laws(spec)
        if not broken:
            continue
        kind = kind_of(broken)
        if kind in found:
            found[kind] = (*found[kind][:2], found[kind][2] + 1)
            print(f"{at}: again {kind} | {spec}", flush=True)
            continue
        print(f"{at}: {kind} | {spec}", flush=True)
        found[kind] = (*(simplest(spec, broken, stage.broken_laws) if simplify else (spec, broken)), 1)
        print(f"   simplest: {found[kind][0]}\n   {found[kind][1][-1]}", flush=True)
    return found


def main(argv: list[str]) -> int:
    """Play pages; return 1 if a law broke."""
    parser = argparse.ArgumentParser(description="Log in on pages drawn from the grammar; say what breaks a law.")
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=1, help="so many processes, each with a browser and a share")
    parser.add_argument("--only", help="only pages of these: current,legacy,two-step,unknown", default="")
    parser.add_argument("--spec", help="play this one page, written as a failure shows it", default="")
    parser.add_argument("--as-found", action="store_true", help="do not look for the simplest page that breaks")
    asked = parser.parse_args(argv)
    if asked.lanes > 1:
        return _in_lanes(asked)
    if asked.spec:
        return _play_one(asked.spec)
    pages = [
        one for one in drawn(asked.pages, asked.seed) if not asked.only or one.markup.version in asked.only.split(",")
    ]
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pages-") as folder, a_stage(Path(folder)) as stage:
        found = soak(stage, pages, simplify=not asked.as_found)
    failures = sum(count for _, _, count in found.values())
    print(f"{len(pages)} pages in {time.monotonic() - begun_s:.0f} s: {failures} failures of {len(found)} kinds")
    return 1 if found else 0


def _play_one(written: str) -> int:
    spec = eval(written, vars(page_grammar))  # noqa: S307 - a developer's own words
    with tempfile.TemporaryDirectory(prefix="pages-") as folder, a_stage(Path(folder)) as stage:
        broken = stage.broken_laws(spec)
    print("\n".join(broken) or "right")
    return 1 if broken else 0


def _in_lanes(asked: argparse.Namespace) -> int:
    share = [str(-(-asked.pages // asked.lanes))] * asked.lanes
    common = ["--only", asked.only] if asked.only else []
    common += ["--as-found"] if asked.as_found else []
    lanes = [
        subprocess.Popen(
            [sys.executable, sys.argv[0], "--pages", pages, "--seed", str(asked.seed * 100 + lane), *common]
        )
        for lane, pages in enumerate(share)
    ]
    return max(lane.wait() for lane in lanes)
