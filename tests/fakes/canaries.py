"""Planted secrets, to search for in files, in what processes receive, and in text read from pictures."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

LOOK_EVERY_S = 0.05
PIECE_CHARS = 6
"""So much of a canary in one line of a picture is found: a mask that covers half of it is none."""
# Characters that tesseract sometimes confuses.
_LOOK_ALIKE = str.maketrans("olisgqzb", "01159928")


@dataclass(frozen=True)
class Canaries:
    """Planted secrets by name; every search ignores case."""

    secrets: Mapping[str, str]

    def and_also(self, **secrets: str) -> Canaries:
        """Return these and more."""
        return Canaries({**self.secrets, **secrets})

    def without(self, name: str) -> Canaries:
        """Return these except one."""
        return Canaries({other: secret for other, secret in self.secrets.items() if other != name})

    def in_bytes(self, content: bytes) -> list[str]:
        """Return the names of those in ``content``, plain or encoded as a program may encode them."""
        lower = content.lower()
        return [name for name, secret in self.secrets.items() if _is_in(secret, content, lower)]

    def in_files(self, folder: Path) -> list[str]:
        """Return the finds in names and contents below ``folder``, with packed files unpacked."""
        found = []
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            found += [f"{name} in the name of {place}" for name in self.in_bytes(os.fsencode(place))]
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                with contextlib.suppress(OSError, EOFError):
                    content = gzip.decompress(content)
                found += [f"{name} in {place}" for name in self.in_bytes(content)]
        return found

    def in_picture(self, words: str) -> list[str]:
        """Return the names of those of which a line read from a picture contains a piece, misread or not."""
        lines = [_as_read(line) for line in words.splitlines()]
        return [
            name
            for name, secret in self.secrets.items()
            if any(piece in line for piece in _pieces(_as_read(secret)) for line in lines)
        ]

    def in_processes(self, told: Iterable[Told]) -> list[str]:
        """Return the finds in what processes received."""
        return [f"{name} in the {one.part} of {one.process}" for one in told for name in self.in_bytes(one.content)]


def _is_in(secret: str, content: bytes, lower: bytes) -> bool:
    if secret.isdigit() and len(secret) <= PIECE_CHARS:
        # A TOTP code counts only as a number on its own; inside a longer one, a digest or a fraction it is chance.
        return re.search(rb"(?<![0-9a-f.])%s(?![0-9a-f])" % secret.encode(), lower) is not None
    if any(form.lower() in lower for form in _spellings(secret)):
        return True
    return any(form in content for form in _in_base64(secret.encode()))


def _spellings(secret: str) -> set[bytes]:
    plain = secret.encode()
    every_char = "".join(f"%{byte:02x}" for byte in plain).encode()
    return {plain, secret.encode("utf-16-le"), quote(secret, safe="").encode(), every_char, plain.hex().encode()}


def _in_base64(plain: bytes) -> set[bytes]:
    """Return the patterns that every base64 text containing ``plain`` has in common, at any offset."""
    return {base64.b64encode(b"\0" * before + plain)[(before * 8 + 5) // 6 :].rstrip(b"=")[:-1] for before in range(3)}


def _as_read(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum()).translate(_LOOK_ALIKE)


def _pieces(text: str) -> set[str]:
    return {text[at : at + PIECE_CHARS] for at in range(max(1, len(text) - PIECE_CHARS + 1))}


@dataclass(frozen=True)
class Told:
    """What one process received: ``part`` is cmdline or environ."""

    process: str
    part: str
    content: bytes


@dataclass
class Watch:
    """Watches, for the length of a ``with``, every process below this one or at work in one of ``folders``."""

    folders: tuple[Path, ...] = ()
    told: set[Told] = field(default_factory=set)
    _relatives: set[int] = field(default_factory=lambda: {os.getpid()})
    _strangers: set[int] = field(default_factory=set)
    _places: set[Path] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._places.update(self.folders)
        self.look()
        self._thread = threading.Thread(target=self._keep_looking, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(10)
        self.look()

    def saw(self, word: str) -> bool:
        """Say whether a process with this word in its arguments was seen."""
        return any(one.part == "cmdline" and word.encode() in one.content for one in self.told)

    def _keep_looking(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """Record what each of them receives now."""
        living = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - twenty times a second
        self._strangers &= living
        self._relatives &= living
        self._meet(living - self._strangers - self._relatives)
        for pid in self._relatives - {os.getpid()}:
            with contextlib.suppress(OSError):
                process = Path("/proc", str(pid))
                name = f"{pid} {(process / 'comm').read_text().strip()}"
                for part in ("cmdline", "environ"):
                    self.told.add(Told(name, part, (process / part).read_bytes()))

    def _meet(self, newcomers: set[int]) -> None:
        """Distinguish relatives from strangers, which stay so: by the parent, or by the folder if that has ended."""
        described = {pid: described for pid in newcomers if (described := _parent_and_folder(pid)) is not None}
        grows = True
        while grows:
            grows = False
            for pid in described.keys() - self._relatives:
                parent, cwd = described[pid]
                if parent in self._relatives or any(cwd.is_relative_to(place) for place in self._places):
                    self._relatives.add(pid)
                    grows = True
                    if cwd.name.startswith("gwctl-login-"):
                        self._places.add(cwd)
        self._strangers |= described.keys() - self._relatives


def _parent_and_folder(pid: int) -> tuple[int, Path] | None:
    process = Path("/proc", str(pid))
    try:
        # The name in parentheses may contain anything; after the last one there are only numbers.
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None
    try:
        return parent, (process / "cwd").readlink()
    except OSError:
        return parent, Path("/")
