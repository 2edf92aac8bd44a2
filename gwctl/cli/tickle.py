"""``gwctl tickle``: one tickle, printed."""

from __future__ import annotations

import json

import click

from gwctl.cli.api import CallRefused
from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome, parsed
from gwctl.gateway.answer import refuses_method
from gwctl.gateway.words import words_in
from gwctl.lifecycle.reach import ask


@click.command("tickle")
@verb
def command(call: Call) -> Outcome:
    """Tickle once and print the answer."""
    answer = ask(call.target(), "POST", "/tickle")
    if refuses_method(answer.status, answer.body):
        answer = ask(call.target(), "GET", "/tickle")
    if answer.status != 200:
        words = words_in(answer.body)
        said = "" if words is None else f"; IBKR: {words}"
        raise CallRefused(f"the tickle was answered {answer.status}{said}", hint=call.command("status"))
    body = parsed(answer.body)
    # The session's key is as good as a cookie: it is not for a terminal's scroll-back.
    if isinstance(body, dict) and "session" in body:
        body["session"] = "…"
    return Outcome({"tickle": body}, json.dumps(body, indent=2))
