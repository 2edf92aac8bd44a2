"""The laws that must hold after every fault. Each check returns its violations as text, empty if there are none."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import machine

BROWSERS = ("chrom", "headless", "msedge")
NEVER_SCANNED = frozenset({"releases", "filling"})
"""Installed releases: IBKR's own files, written before there is any secret."""


@dataclass(frozen=True)
class Seen:
    """One process as the kernel shows it."""

    pid: int
    argv: tuple[str, ...]
    cwd: str

    @property
    def program(self) -> str:
        """The name of the program."""
        return Path(self.argv[0]).name if self.argv else ""

    @property
    def is_front(self) -> bool:
        """Whether it is the front of an isolated gateway."""
        return any("isolation import front" in word for word in self.argv)

    def __str__(self) -> str:
        """Return it for a person."""
        return f"pid {self.pid} ({' '.join(self.argv)[:100]})"


def processes() -> Iterator[Seen]:
    """Yield every running process that this user may inspect."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not machine.is_alive(int(entry.name)):
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(words):
                yield Seen(int(entry.name), tuple(words[:-1]), machine.cwd_of(int(entry.name)))


def of_home(home: Path) -> list[Seen]:
    """Return the processes that work below ``home`` or name it in their arguments."""
    inside = str(home)
    return [
        one
        for one in processes()
        if one.pid != os.getpid() and (Path(one.cwd).is_relative_to(home) or any(inside in word for word in one.argv))
    ]


def one_gateway(seen: list[Seen], gateway_dir: Path, pid: int) -> list[str]:
    """Law 1: exactly one gateway of the profile, and it is the one that status names."""
    there = [one for one in seen if one.cwd == str(gateway_dir) and one.program not in {"bash", "sh"}]
    gateways = [one for one in there if not one.is_front]
    if [one.pid for one in gateways] == [pid]:
        return []
    return [f"one gateway, pid {pid}, was to be there; there is: {', '.join(map(str, gateways)) or 'none'}"]


def one_front(seen: list[Seen], gateway_dir: Path) -> list[str]:
    """Law 1: exactly one front lets programs in to the gateway."""
    fronts = [one for one in seen if one.cwd == str(gateway_dir) and one.is_front]
    if len(fronts) == 1:
        return []
    return [f"one front was to be there; there is: {', '.join(map(str, fronts)) or 'none'}"]


def one_supervisor(seen: list[Seen], profile_dir: Path, pid: int) -> list[str]:
    """Law 1: exactly one supervisor of the profile, and it is the one that answers."""
    supervisors = [one for one in seen if one.cwd == str(profile_dir) and "--foreground" in one.argv]
    if [one.pid for one in supervisors] == [pid]:
        return []
    return [f"one supervisor, pid {pid}, was to be there; there is: {', '.join(map(str, supervisors)) or 'none'}"]


def browsers(seen: list[Seen]) -> list[Seen]:
    """Return processes that a login left behind (law 7): browsers and their drivers."""
    return [
        one
        for one in seen
        if any(name in one.program.lower() for name in BROWSERS)
        or "gwctl.login.worker" in one.argv
        or "playwright" in " ".join(one.argv)
    ]


def submits_within(before: int, after: list[str], allowed: int) -> list[str]:
    """Law 2: no submit beyond what recovery needs, and none that was refused."""
    new = after[before:]
    broken = []
    if len(new) > allowed:
        broken.append(f"{len(new)} submits, {allowed} allowed: {new}")
    if refused := [outcome for outcome in new if outcome != "success"]:
        broken.append(f"submits that did not succeed: {refused}")
    return broken


def no_defect(entries: list[dict[str, Any]]) -> list[str]:
    """No fault may cause an unexpected error in gwctl."""
    return [f"a defect: {entry}" for entry in entries if entry.get("kind") == "defect"]


def no_secret_in_files(home: Path, wanted: Mapping[str, str]) -> list[str]:
    """Law 8: no secret in any file below ``home``; the control token is in supervisor.json and nowhere else."""
    secrets = {name: secret.encode() for name, secret in wanted.items() if secret}
    control = {f"the control token of {file}": token for file, token in _control_tokens(home)}
    broken = []
    for file in _files(home):
        try:
            content = file.read_bytes()
        except OSError:
            continue  # a file that was just removed
        found = [name for name, secret in secrets.items() if secret in content]
        if file.name != "supervisor.json":
            found += [name for name, secret in control.items() if secret in content]
        elif file.stat().st_mode & 0o077:
            found.append("the control token for others to read")
        broken += [f"{name} is in {file.relative_to(home)}" for name in found]
    return broken


def no_secret_in_processes(wanted: Mapping[str, str], folder: Path = Path("/proc")) -> list[str]:
    """Law 8: no secret in any process's arguments or environment, ours or others'."""
    secrets = {name: secret.encode() for name, secret in wanted.items() if secret}
    broken = []
    for entry in folder.iterdir():
        if not entry.name.isdigit():
            continue
        for part in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                content = (entry / part).read_bytes()
                broken += [
                    f"{name} is in {part} of pid {entry.name}" for name, secret in secrets.items() if secret in content
                ]
    return broken


def control_tokens(home: Path) -> dict[str, str]:
    """Return the supervisors' tokens, by name."""
    return {f"the control token of {file}": token.decode() for file, token in _control_tokens(home)}


def _files(home: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(home):
        folders[:] = [name for name in folders if name not in NEVER_SCANNED]
        for name in names:
            file = Path(folder, name)
            if name not in NEVER_SCANNED and file.is_file() and not file.is_symlink():
                yield file


def _control_tokens(home: Path) -> list[tuple[str, bytes]]:
    found = []
    for file in home.glob("state/profiles/*/supervisor.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found.append((str(file.relative_to(home)), str(json.loads(file.read_bytes())["token"]).encode()))
    return found
