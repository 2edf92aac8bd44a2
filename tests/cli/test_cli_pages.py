"""What the command line documents about itself: the reference page and the completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fakes import Home

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "script", ["cli-reference", "supervisor-reference", "login-matrix", "metrics-reference", "doctor-reference"]
)
def test_the_reference_is_what_the_program_says(script: str) -> None:
    """Each generated page is up to date with its source."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_option_and_verb_has_help() -> None:
    """Each option in the reference has a description."""
    page = (ROOT / "docs" / "cli.md").read_text()
    assert "|  |" not in page
    assert [line for line in page.splitlines() if line.startswith("| `-") and line.split("|")[2].startswith(" [")] == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["gwctl", "sta"], {"status"}),
        (["gwctl", "re"], {"restart", "release"}),
        (["gwctl", "release", "i"], {"install"}),
        (["gwctl", "up", "--sand"], {"--sandbox"}),
        (["gwctl", "wait", "--for", "st"], {"stopped"}),
    ],
)
def test_completion_in_a_real_bash(home: Home, typed: list[str], offered: set[str]) -> None:
    """`source <(gwctl completion bash)` completes verbs, their verbs, options and values."""
    tools = home.folder / "tools"
    tools.mkdir()
    program = tools / "gwctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gwctl "$@"\n')
    program.chmod(0o755)
    words = " ".join(f"'{word}'" for word in typed)
    script = (
        "source <(gwctl completion bash)\n"
        f"COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}\n"
        f"$(complete -p gwctl | sed 's/.*-F \\([^ ]*\\) .*/\\1/') gwctl '{typed[-1]}' '{typed[-2]}'\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [str(shutil.which("bash")), "--norc", "--noprofile", "-c", script],
        env=home.environment(PATH=f"{tools}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_of_the_other_shells(home: Home, shell: str) -> None:
    """The shells zsh and fish get their own script, which asks the same program."""
    assert "_GWCTL_COMPLETE" in home.gwctl("completion", shell).check(0).stdout
