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
    "script",
    [
        *("cli-reference", "doctor-reference", "login-matrix", "metrics-reference", "settings-reference"),
        "supervisor-reference",
    ],
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
        (["gwctl", "re"], {"restart", "release", "resume"}),
        (["gwctl", "release", "i"], {"install"}),
        (["gwctl", "up", "--sand"], {"--sandbox"}),
        (["gwctl", "wait", "--for", "st"], {"stopped"}),
        (["gwctl", "--profile", "o"], {"other"}),
        (["gwctl", "status", "--profile", "d"], {"default"}),
        (["gwctl", "profile", "use", ""], {"default", "other"}),
        (["gwctl", "profile", "set", "other", "mod"], {"mode="}),
        # Where COMP_WORDBREAKS has the equals sign, as usual, bash makes words of it.
        (["gwctl", "profile", "set", "other", "mode", "="], {"paper", "live"}),
        (["gwctl", "profile", "set", "other", "second_factor", "=", "t"], {"totp"}),
        (["gwctl", "profile", "set", "other", "second_factor=t"], {"second_factor=totp"}),
        (["gwctl", "profile", "set", "other", "door_read_only", "=", ""], {"true", "false"}),
        (["gwctl", "profile", "set", "other", "username", "="], set()),
        (["gwctl", "profile", "create", "third", "--set", "isol"], {"isolation="}),
        (["gwctl", "profile", "unset", "other", "isol"], {"isolation"}),
        (["gwctl", "release", "use", ""], {"20230424-a27ed421"}),
        (["gwctl", "release", "verify", "2"], {"20230424-a27ed421"}),
        (["gwctl", "secret", "set", "p"], {"password"}),
        (["gwctl", "secret", "check", "totp"], {"totp_secret"}),
        (["gwctl", "sandbox", "on", "html"], {"html_503"}),
        (["gwctl", "sandbox", "on", "slow", ""], {"paths=", "delay_ms="}),
        (["gwctl", "sandbox", "on", "slow", "paths", "=", "a"], {"all", "api"}),
        (["gwctl", "sandbox", "do", "drop_s"], {"drop_session"}),
        (["gwctl", "completion", "z"], {"zsh"}),
    ],
)
def test_completion_in_a_real_bash(home: Home, typed: list[str], offered: set[str]) -> None:
    """`source <(gwctl completion bash)` completes verbs, their verbs, options and values."""
    home.gwctl("profile", "create", "other").check(0)
    (home.home / "releases" / "20230424-a27ed421").mkdir(parents=True)
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


def completed(home: Home, shell: str, line: str, **variables: str) -> list[str]:
    """Return what a shell reads when a person presses Tab after ``line``."""
    words = f"{line}x".split(" ")
    asked = {"_GWCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = home.gwctl(**{**asked, **variables})
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_descriptions_are_short(home: Home) -> None:
    """Beside a word stands the first clause of its help, of at most sixty characters."""
    verbs = completed(home, "zsh", "gwctl ")
    assert verbs[:3] == ["plain", "setup", "Set up a profile"]
    for line in ("gwctl ", "gwctl profile ", "gwctl profile set default ", "gwctl sandbox on ", "gwctl up --"):
        texts = completed(home, "zsh", line)[2::3]
        assert texts
        assert max(map(len, texts)) <= 60
        assert not any(text.endswith((".", "(", ",")) for text in texts)
        assert not any(text.startswith("With --") for text in texts), "a condition says nothing about what it does"


def test_completion_is_quick_quiet_and_creates_nothing(home: Home) -> None:
    """It loads nothing heavy, says nothing about broken settings or variables, and leaves no folder behind."""
    assert completed(home, "bash", "gwctl --profile ") == ["plain,default"]
    assert completed(home, "bash", "gwctl release use ") == []
    assert not home.home.exists()
    for variables in ({"GWCTL_USERNMAE": "x"}, {"GWCTL_HOME": "/dev/null"}, {"COMP_CWORD": "x"}):
        completed(home, "bash", "gwctl profile use ", **variables)
    home.home.mkdir()
    (home.home / "config.toml").write_text("[[[")
    assert completed(home, "bash", "gwctl profile use ") == []
    code = (
        "import sys\nfrom gwctl.cli.main import run\nrun([])\n"
        "heavy = {'playwright', 'yaml', 'cryptography', 'starlette', 'uvicorn', 'httpx', 'rich', 'psutil', 'asyncio'}\n"
        "sys.exit(' '.join(heavy & {name.partition('.')[0] for name in sys.modules}) or 0)\n"
    )
    for line in ("gwctl ", "gwctl profile set default ", "gwctl sandbox on slow "):
        asked = {"_GWCTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=home.environment(**asked), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_of_the_other_shells(home: Home, shell: str) -> None:
    """The shells zsh and fish get their own script, which asks the same program."""
    assert "_GWCTL_COMPLETE" in home.gwctl("completion", shell).check(0).stdout
