"""``gwctl tickle``: one tickle, printed."""

from __future__ import annotations

import json

import click

from gwctl.cli.api import CallRefused
from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.reaching import ask, parsed


@click.command("tickle")
@verb
def command(call: Call) -> Outcome:
    """Tickle once and print the answer."""
    answer = ask(call, "POST", "/tickle")
    if answer.status != 200:
        raise CallRefused(f"the tickle was answered {answer.status}", hint=call.command("status"))
    body = parsed(answer.body)
    # The session's key is as good as a cookie: it is not for a terminal's scroll-back.
    if isinstance(body, dict) and "session" in body:
        body["session"] = "…"
    return Outcome({"tickle": body}, json.dumps(body, indent=2))
