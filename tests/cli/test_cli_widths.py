"""Every verb on a terminal of 80 and of 120 columns: nothing is wider, no command is broken, the room is used."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence

import click
import pexpect
import pytest
from cli_fakes import PROGRAM, Home

from gwctl.cli.columns import folded, shown, table
from gwctl.cli.main import VERBS, cli
from gwctl.times import utc_ms

LONG = "a-rather-long-name-of-a-profile-in-the-family-office"
WIDTHS = (80, 120)
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
VERBATIM = {("logs",), ("service", "show", "--cron"), ("completion", "bash"), ("env",)}
"""Lines of files and programs, which are copied as they are."""
ANSWERS: list[tuple[str, ...]] = [
    ("status",),
    ("status", "--all"),
    ("status", "--profile", LONG),
    ("history", "--since", "all"),
    ("doctor",),
    ("profile", "list"),
    ("profile", "show"),
    ("logs",),
    ("env",),
    ("door",),
    ("service", "show", "--cron"),
    ("secret", "check", "password"),
    ("release", "list"),
    ("release", "verify"),
    ("browser", "show"),
    ("login", "--explain"),
    ("sandbox", "show"),
    ("completion", "bash"),
    ("wait", "--timeout", "1"),
    ("down", "--all"),
]
ERRORS: list[tuple[str, ...]] = [
    ("status", "--profile", "nobody"),
    ("up", "--profile", LONG, "--no-input"),
    ("up", "--port", "22"),
    ("up", "--timeout", "soon"),
    ("restart",),
    ("tickle",),
    ("api", "GET", "/nothing"),
    ("exec", "--profile", LONG, "--no-input", "--", "true"),
    ("history", "--since", "some-time-in-the-past-that-nobody-can-tell-from-any-other-time-in-the-past"),
    ("profile", "set", "default", "prot=1"),
    ("profile", "set", "default", "allow_ips=10.0.0.0/33"),
    ("profile", "set", "default", "maintenance=always"),
    ("profile", "create", "default", "--set", "mode=demo"),
    ("profile", "edit", "--no-input"),
    ("release", "use", "of-another-year"),
    ("release", "install", "http://example.org/clientportal.gw.zip"),
    ("secret", "set", "pasword"),
    ("sandbox", "on", "maintenance_baner"),
    ("sandbox", "do", "nothing"),
    ("service", "install", "--systemd", "--cron"),
    ("notify", "test"),
    ("setup", "--no-input"),
    ("login", "--manual", "--probe"),
    ("completion", "powershell"),
    ("stauts",),
]


def helps() -> Iterator[tuple[str, ...]]:
    """Yield the help of each verb, from the program itself."""
    context = click.Context(cli)
    yield ("--help",)
    for name in VERBS:
        command = cli.get_command(context, name)
        yield (name, "--help")
        if isinstance(command, click.Group):
            yield from ((name, one, "--help") for one in command.list_commands(context))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a home with profiles of long names, a long history and a failed login."""
    home = Home(tmp_path_factory.mktemp("w"))
    home.gwctl("profile", "create", LONG, "--username", "a.long.user.name.of.the.office", "--mode", "live").check(0)
    home.profile_dir.mkdir(parents=True)
    at_s = time.time() - 40 * 3600
    words = "IBKR cannot be reached: api.ibkr.com has no address, and neither has any other name that was asked for"
    entries: list[tuple[int, str, dict[str, object]]] = [
        (0, "start", {"sandbox": False}),
        (9, "phase", {"phase": "ready", "reason": "authenticated", "event": "Checked"}),
        (3600, "phase", {"phase": "degraded", "reason": words, "event": "Checked"}),
        (9999, "phase", {"phase": "ready", "reason": "authenticated", "event": "Checked"}),
        (99_999, "login", {"outcome": "timed_out", "text": words, "took_s": 35.5}),
        (99_999, "phase", {"phase": "recovering", "reason": words, "event": "LoginDone"}),
    ]
    lines = [
        json.dumps({"n": n, "at": utc_ms(at_s + after_s), "kind": kind, **fields})
        for n, (after_s, kind, fields) in enumerate(entries, 1)
    ]
    (home.profile_dir / "journal.jsonl").write_text("\n".join(lines) + "\n")
    return home


def seen(home: Home, argv: Sequence[str], width: int, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return what a terminal shows of one call."""
    environment = {**home.environment(NO_COLOR=None), "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    child = pexpect.spawn(
        program[0], [*program[1:], *argv], env=environment, dimensions=(50, width), timeout=60, encoding="utf-8"
    )
    text = _CODES.sub("", child.read())
    child.close()
    return [line.split("\r")[-1].rstrip() for line in text.split("\r\n")]


def is_unbreakable(line: str, width: int) -> bool:
    """Say whether a line is as wide as it is for one word or one command that does not fit below its label."""
    return line.lstrip().startswith(("try: gwctl ", "gwctl ")) or max(map(len, line.split())) > width - 12


@pytest.mark.parametrize("width", WIDTHS)
def test_no_help_is_wider_than_the_terminal(family: Home, width: int) -> None:
    """The help of each verb fits, and uses up to 100 columns."""
    code = "import json, sys\nfrom gwctl.cli.main import run\nfor argv in json.loads(sys.argv[1]): run(argv)"
    lines = seen(family, ["-c", code, json.dumps([*helps()])], width, [sys.executable])
    assert sum(line.startswith("Usage: ") for line in lines) == len([*helps()])
    assert [line for line in lines if len(line) > width] == []
    assert max(map(len, lines)) > width * 0.8


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("argv", [*ANSWERS, *ERRORS], ids=" ".join)
def test_no_line_is_wider_than_the_terminal(family: Home, argv: tuple[str, ...], width: int) -> None:
    """Answers and errors fit; only a word or a command that is longer than a line is left whole."""
    lines = seen(family, argv, width)
    assert any(lines)
    wide = [line for line in lines if len(line) > width and not is_unbreakable(line, width)]
    assert wide == [] or argv in VERBATIM


def test_the_room_of_a_wide_terminal_is_used(family: Home) -> None:
    """With 120 columns the history has half hours, names are whole, and helps and reasons are longer than 80."""
    for argv in (("status", "--all"), ("history", "--since", "all"), ("up", "--help"), ("doctor",)):
        narrow, wide = (seen(family, argv, width) for width in WIDTHS)
        assert max(map(len, wide)) > 80, argv
        assert len(wide) <= len(narrow), argv
    assert LONG in "\n".join(seen(family, ("status", "--all"), 120))
    assert "0           6           12          18" in "\n".join(seen(family, ("history", "--since", "all"), 120))


def test_what_is_piped_is_not_folded(family: Home) -> None:
    """Programs read one line for one thing, however long."""
    assert "and neither has any other name that was asked for" in family.gwctl("history", "--since", "all").stdout
    row = next(row for row in family.gwctl("profile", "list").stdout.splitlines() if LONG in row)
    assert "a.long.user.name.of.the.office" in row
    assert "stopped; port also of default" in row


@pytest.mark.parametrize(
    ("line", "width", "parts"),
    [
        ("short", 40, ["short"]),
        ("one two three four five", 12, ["one two", "  three four", "  five"]),
        ("  label   one two three", 22, ["  label   one two", "          three"]),
        ("try gwctl up --sandbox, then gwctl down", 24, ["try gwctl up --sandbox,", "  then gwctl down"]),
        ("do this: gwctl profile set default port=1", 36, ["do this:", "  gwctl profile set default port=1"]),
        ("  key   https://example.org/a/long/path", 36, ["  key", "    https://example.org/a/long/path"]),
        ("x" * 50, 40, ["x" * 50]),
    ],
)
def test_folding_keeps_labels_and_commands(line: str, width: int, parts: list[str]) -> None:
    """Words go on below what they belong to; a command stays in one piece if a line can hold it."""
    assert folded(line, width).split("\n") == parts
    assert folded(line, None) == line


def test_columns_are_cut_in_order() -> None:
    """The first column named is cut first, none below its least width, and colors take no room."""
    rows = [["name", "\x1b[31mred\x1b[0m", "reason"], ["a-long-name", "x", "a-long-reason"]]
    assert [shown(line) for line in table(rows)] == [24, 31]
    assert list(table(rows, width=24, least={2: 6, 0: 4}))[1] == "a-long-name  x    a-lon…"
