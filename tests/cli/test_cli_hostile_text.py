"""Attacks on a person's terminal by text from elsewhere: IBKR's page and answers, logs, files, a person's clipboard.

An escape sequence can hide lines, forge them or type an answer; a line break can make a line that looks like gwctl's.
"""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Done, Home, a_home, wait_for
from terminal import on_terminal

from gwctl.cli.output import Outcome, show_error, show_outcome
from gwctl.errors import GwctlError
from gwctl.login.failures import STEPS_FILE
from gwctl.plain_text import cleaned, json_text, many_lines, one_line

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
HOSTILE = (
    "A\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\x90q\x9c\x08\x7f\u202eB\u2066\u2069\u200b\u200d\u200e\u061c\ufeff\U000e0041"
    + "".join(f"{sign}FORGED" for sign in BREAKS)
)
ONE_LINE = HOSTILE.replace("\n", "\u2028").replace("\r", "\u2029")
"""The same for a place that takes one line."""


def unsafe(text: str) -> set[str]:
    """Return the characters of an output that control a terminal, break a line unseen, or cannot be seen."""
    return {sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {"\n", "\t"}


def check(done: Done) -> str:
    """Assert that nothing unsafe and no forged line came out; return everything."""
    everything = done.stdout + done.stderr
    assert unsafe(everything) == set(), everything
    assert not [line for line in everything.split("\n") if line.startswith("FORGED")], everything
    return everything


VERBS = [
    ["status"], ["status", "--json"], ["status", "--all"], ["status", "--healthcheck"], ["history"],
    ["history", "--json"], ["history", "--svg", "-"], ["logs"], ["logs", "--json"], ["logs", "--gateway"],
    ["login", "--explain"], ["login", "--explain", "--json"], ["doctor"], ["doctor", "--json"], ["profile", "show"],
    ["profile", "show", "--json"], ["profile", "list"], ["release", "list"], ["release", "verify"], ["up"],
    ["up", "--json"], ["service", "show", "--systemd"], ["sandbox", "show"],
]  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a stopped home whose journal, logs, evidence, settings and release's files have hostile text."""
    with a_home(tmp_path_factory.mktemp("planted")) as home:
        home.gwctl("up", "--sandbox").check(0)
        home.gwctl("down").check(0)
        entries = home.journal()
        planted: list[tuple[str, dict[str, Any]]] = [
            ("start", {"version": HOSTILE}),
            ("phase", {"phase": "ready", "reason": HOSTILE}),
            ("phase", {"phase": "recovering", "reason": HOSTILE}),
            ("login", {"outcome": "rejected", "code": HOSTILE, "text": HOSTILE, "took_s": 1.0}),
            ("restart", {"cause": HOSTILE, "reason": HOSTILE}),
            ("warning", {"code": HOSTILE, "text": HOSTILE}),
        ]
        for number, (kind, fields) in enumerate(planted, 1):
            entries.append({"n": number, "at": entries[-1]["at"], "kind": kind, **fields})
        text = "".join(json.dumps(entry, ensure_ascii=number % 2 == 0) + "\n" for number, entry in enumerate(entries))
        (home.profile_dir / "journal.jsonl").write_text(text)
        for name in ("supervisor.log", "gateway.log"):
            with (home.profile_dir / "logs" / name).open("a", newline="") as log:
                log.write(HOSTILE.replace("\n", "") + "\n")
        evidence = home.profile_dir / "evidence" / "20260101T000000"
        evidence.mkdir(parents=True)
        outcome = {"outcome": HOSTILE, "at": HOSTILE, "text": HOSTILE, "submits": 1, "cause": HOSTILE}
        (evidence / STEPS_FILE).write_text(json.dumps({**outcome, "steps": [[HOSTILE, 1.0]]}))
        (evidence / HOSTILE.replace("/", "")).write_text("")
        value = json.dumps(
            "".join(sign for sign in HOSTILE if sign not in "\n\r\v\f\x1c\x1d\x1e\x1b\x07\x08\x7f"), ensure_ascii=False
        )
        home.write_config(f"[defaults]\nusername = {value}\nsecond_factor_device = {value}\n")
        yield home


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_files_of_a_profile_do_not_reach_the_terminal(planted: Home, verb: list[str]) -> None:
    """Whatever stands in the journal, the logs, the evidence and the settings, no verb prints a control character."""
    check(planted.gwctl(*verb))


ARGUMENTS = [
    [ONE_LINE], ["--profile", HOSTILE, "status"], ["release", "install", "/" + HOSTILE], ["release", "use", HOSTILE],
    ["logs", "--since", HOSTILE], ["api", "GET", "/" + HOSTILE], ["status", "--" + ONE_LINE],
    ["release", "install", "https://u@" + HOSTILE], ["secret", "check", HOSTILE], ["exec", "--", HOSTILE],
]  # fmt: skip


@pytest.mark.parametrize("argv", ARGUMENTS, ids=lambda argv: argv[0][:8] + str(len(argv)))
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_arguments_do_not_reach_the_terminal(home: Home, argv: list[str], *, as_json: bool) -> None:
    """Text that a person pastes into a command is safe in the error that repeats it."""
    plain = [word.replace("\0", "") for word in argv]
    check(home.gwctl(*(["--json"] if as_json else []), *plain))


@pytest.mark.browser
def test_what_ibkr_says_does_not_reach_the_terminal(tmp_path: Path) -> None:
    """The page's text and an answer go through journal, status, notification, terminal without controls."""
    told = tmp_path / "told"
    with a_home(tmp_path) as home:
        hook = tmp_path / "hook"
        hook.write_text(f'#!/bin/sh\ncat >>"{told}"; env | grep ^GWCTL_ >>"{told}"\n')
        hook.chmod(0o755)
        home.write_config(f'[defaults]\nnotify_command = ["{hook}"]\nmaintenance = []\n')
        home.gwctl("up", "--sandbox").check(0)
        home.gwctl("sandbox", "on", "login_error", f"text={HOSTILE}").check(0)
        home.gwctl("sandbox", "do", "drop_session").check(0)
        wait_for(
            lambda: any("A" in str(one.get("text")) for one in home.journal() if one["kind"] == "login"), 40, "said"
        )
        raw = (home.profile_dir / "journal.jsonl").read_text()
        assert all(unsafe(str(list(one.values()))) == set() for one in map(json.loads, raw.splitlines()))
        for verb in (["status"], ["status", "--json"], ["history"], ["logs"], ["login", "--explain"], ["doctor"]):
            check(home.gwctl(*verb))
        check(home.gwctl("login"))
        screen = on_terminal(home, "status", "--watch")
        screen.expect("login")
        screen.sendintr()
        assert not {*unsafe(f"{screen.before}{screen.read()}")} & {*HOSTILE} - {*"\n\r\x1b"}
        if told.exists():
            assert unsafe(told.read_text()) == set()


@pytest.mark.parametrize("as_terminal", [True, False])
def test_a_body_is_raw_in_a_pipe_only(monkeypatch: pytest.MonkeyPatch, *, as_terminal: bool) -> None:
    """Programs get an answer's body as it came; a terminal gets it without controls, as gh does."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: as_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    show_outcome("api", Outcome({}, HOSTILE, is_verbatim=True), as_json=False)
    assert stream.getvalue() == (many_lines(HOSTILE) if as_terminal else HOSTILE) + "\n"
    assert bool(unsafe(stream.getvalue())) is not as_terminal


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Message and hint stay one line each, in color too."""
    for quiet in (False, True):
        show_error("up", GwctlError(HOSTILE, hint=HOSTILE), as_json=False, quiet=quiet, no_color=True)
    err = capsys.readouterr().err
    assert unsafe(err) == set()
    assert len(err.splitlines()) == 3


def test_json_is_the_same_value_without_controls() -> None:
    """JSON's own escapes leave C1 controls, DEL and direction marks: all are escaped, and read back the same."""
    value = {"a": [HOSTILE, "ü€😀", "\udc80", "\U000e0041"], HOSTILE: None}
    assert unsafe(json_text(value)) == set()
    assert "\n" not in json_text(value)
    assert json.loads(json_text(value)) == value
    assert "ü€😀" in json_text(value)


def test_every_character() -> None:
    """Of all characters, only those pass that can be seen; what can be seen is not changed."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert unsafe(one_line(everything)) == set()
    assert unsafe(many_lines(everything)) == set()
    assert one_line(everything).isprintable()
    shown = "".join(sign for sign in everything if sign.isprintable())
    assert one_line(shown) == shown
    assert many_lines("a\n\tb") == "a\n\tb"
    assert cleaned({"ca_file": "/h\u200dome", "x": ["a\nb"]}) == {"ca_file": "/h\u200dome", "x": ["a b"]}
