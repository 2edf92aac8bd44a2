"""Tab in a real bash, zsh and fish on a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator

import pexpect
import pytest
from cli_fakes import Home

TIMEOUT_S = 60
SHELLS = {
    "bash": (["--norc", "--noprofile"], "PS1='> '; source <(gwctl completion bash)"),
    "zsh": (["-f"], "PS1='> '; autoload -Uz compinit; compinit -D -u; source <(gwctl completion zsh)"),
    "fish": (["--no-config"], "gwctl completion fish | source"),
}


class Shell:
    """A shell on a terminal, with a gwctl that completes as usual and else only writes down its arguments."""

    def __init__(self, home: Home, name: str) -> None:
        self.name = name
        tools, self.calls = home.folder / "tools", home.folder / "calls"
        tools.mkdir()
        program = tools / "gwctl"
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "if '_GWCTL_COMPLETE' in os.environ or sys.argv[1:2] == ['completion']:\n"
            "    os.execv(sys.executable, [sys.executable, '-m', 'gwctl', *sys.argv[1:]])\n"
            f"with open({str(self.calls)!r}, 'a') as calls:\n"
            "    print(json.dumps(sys.argv[1:]), file=calls)\n"
            "print('called', len(sys.argv))\n"
        )
        program.chmod(0o755)
        options, command = SHELLS[name]
        path = f"{tools}:{os.environ['PATH']}"
        environment = home.environment(TERM="xterm", PATH=path, HOME=str(home.folder), XDG_CONFIG_HOME=None)
        self.terminal = pexpect.spawn(
            str(shutil.which(name)),
            [*options, "-i"],
            env=environment,
            cwd=str(home.folder),
            dimensions=(60, 160),
            timeout=TIMEOUT_S,
            encoding="utf-8",
        )
        self.terminal.sendline(command)
        self.typed("gwctl ready")

    def typed(self, line: str) -> list[str]:
        """Type a line, Tabs included, and Enter; return the arguments with which gwctl was called."""
        before = len(self._calls())
        self.terminal.sendline(line)
        self.terminal.expect(r"called \d+\r\n")
        return self._calls()[before]

    def listed(self, line: str, *wanted: str) -> None:
        """Type the beginning of a line; wait until a list has these patterns, each on its own; run the line."""
        for pattern in wanted:
            # Bash lists at the second Tab, and the others at the first.
            self.terminal.send(line + ("\t\t" if self.name == "bash" else "\t"))
            self.terminal.expect(pattern)
            self.typed("")

    def _calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SHELLS])
def shell(request: pytest.FixtureRequest, home: Home) -> Iterator[Shell]:
    """Yield each shell, in a home with a profile, a release and a file."""
    home.gwctl("profile", "create", "other").check(0)
    (home.home / "releases" / "20230424-a27ed421").mkdir(parents=True)
    (home.folder / "clientportal.gw.zip").touch()
    shell = Shell(home, request.param)
    try:
        yield shell
    finally:
        shell.terminal.close(force=True)


@pytest.mark.timeout(240)
def test_tab_completes_what_is_unique(shell: Shell) -> None:
    """Verbs, options, names and values are one word each, and behind KEY= the value follows without a blank."""
    assert shell.typed("gwctl sta\t--all") == ["status", "--all"]
    assert shell.typed("gwctl up --sand\t") == ["up", "--sandbox"]
    assert shell.typed("gwctl --profile o\tdown") == ["--profile", "other", "down"]
    assert shell.typed("gwctl profile use oth\t") == ["profile", "use", "other"]
    assert shell.typed("gwctl profile set other mod\tpaper") == ["profile", "set", "other", "mode=paper"]
    assert shell.typed("gwctl profile set other mode=l\tport=5") == ["profile", "set", "other", "mode=live", "port=5"]
    assert shell.typed("gwctl profile set other maint\te\t") == ["profile", "set", "other", "maintenance=europe"]
    assert shell.typed("gwctl sandbox on slow pa\tap\t") == ["sandbox", "on", "slow", "paths=api"]
    assert shell.typed("gwctl release use 2\t") == ["release", "use", "20230424-a27ed421"]
    assert shell.typed("gwctl release install cl\t") == ["release", "install", "clientportal.gw.zip"]
    assert shell.typed("gwctl service install --password-file cl\t--cron")[2:] == [
        "--password-file",
        "clientportal.gw.zip",
        "--cron",
    ]


@pytest.mark.timeout(240)
def test_tab_lists_with_descriptions(shell: Shell) -> None:
    """What is not unique is listed: with descriptions, except in bash, which has none."""
    described = {"bash": "{}", "zsh": "{} +-- {}", "fish": r"{} +\({}"}[shell.name].format
    shell.listed("gwctl profile use ", "default +other")
    shell.listed("gwctl release ", described("verify", "Check every file"), described("prune", "Remove the releases"))
    shell.listed("gwctl up --f", described("--fast", "Log in without a browser"))
    shell.listed("gwctl profile set other door", described("door_token_file=", "[A-Z]"), described("door=", "[A-Z]"))
    shell.listed("gwctl profile set other second_factor=", "totp")
