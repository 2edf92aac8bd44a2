"""What a person does who follows a page of the docs: pastes its blocks, saves its files, types where an editor opens.

A block that is to be tried has a comment before it, which the page does not show:

    <!-- run -->            paste it into the shell
    <!-- save NAME -->      save it as that file, in the folder where the shell is
    <!-- config -->         add it to config.toml
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^<!-- (run|config|save (\S+)) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^ *<!-- (?:run|config|save\b.*) -->", re.MULTILINE)
HANGS_AFTER_S = 280
"""A page has up to a dozen commands, which share two cores with other tests."""
USER = "YOUR_PAPER_USER"
"""The username that the pages have: the stand-in knows an account of that name."""
END = "end-of-the-block"


@dataclass(frozen=True)
class Block:
    """One block of a page; ``name`` is the file to save it as, empty for one to paste."""

    name: str
    text: str

    def as_shell(self) -> str:
        """Return it as what bash does with it."""
        if not self.name:
            return self.text
        return f"cat >>\"{self.name}\" <<'{END}'\n{self.text}{END}\n"


def blocks(page: str, fill_in: Mapping[str, str] | None = None) -> list[Block]:
    """Return what is to be tried of a page, in order, with what a person puts in the place of the page's examples."""
    found = []
    for kind, name, text in BLOCK.findall((DOCS / page).read_text()):
        filled = text
        for example, own in (fill_in or {}).items():
            filled = filled.replace(example, own)
        found.append(Block("$GWCTL_HOME/config.toml" if kind == "config" else name, filled))
    return found


def script(page: str, fill_in: Mapping[str, str] | None = None) -> str:
    """Return a page as one script that ends at the first command that fails."""
    return "set -euxo pipefail\n" + "\n".join(block.as_shell() for block in blocks(page, fill_in))


def editor(folder: Path, texts: Mapping[str, str]) -> Path:
    """Return a program that writes into a file as a person does with an editor; ``texts`` go by the end of its name."""
    program = folder / "editor"
    cases = "".join(f"*{end}) printf '%s\\n' '{text}' >\"$1\" ;;\n" for end, text in texts.items())
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 1 ;;\nesac\n')
    program.chmod(0o700)
    return program


def follow(page: str, folder: Path, environment: Mapping[str, str], fill_in: Mapping[str, str] | None = None) -> str:
    """Follow a page in ``folder``, which is the person's home, too; return all that was said. Fails where it fails."""
    file = folder / "followed.sh"
    file.write_text(script(page, fill_in))
    kept = {name: value for name, value in environment.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        ["bash", str(file)],
        env={**kept, "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANGS_AFTER_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
