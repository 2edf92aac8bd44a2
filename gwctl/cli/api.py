"""``gwctl api``: one verified call."""

from __future__ import annotations

import json
import sys
from urllib.parse import quote

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome, parsed, write
from gwctl.errors import GwctlError, Usage
from gwctl.lifecycle.reach import ask

URL_CHARACTERS = "/?#[]@!$&'()*+,;=:%-._~"


class CallRefused(GwctlError):
    """The gateway or IBKR answered with a status that is no success."""

    code = "http_error"


@click.command("api")
@click.argument("method", type=click.Choice(["GET", "POST", "PUT", "DELETE", "PATCH"], case_sensitive=False))
@click.argument("path")
@click.option("--data", metavar="JSON", help="The body, JSON.")
@verb
def command(call: Call, *, method: str, path: str, data: str | None) -> Outcome:
    """Call the gateway: `gwctl api GET /portfolio/accounts`. The body goes to stdout."""
    if data is not None:
        try:
            json.loads(data)
        except ValueError:
            raise Usage("--data is not JSON", hint="""gwctl api POST PATH --data '{"publish": true}'""") from None
    # A space or a letter of another alphabet in a URL is the shell's or a person's, and means itself.
    path = quote(path, safe=URL_CHARACTERS)
    answer = ask(call.target(), method.upper(), path, data.encode() if data is not None else None)
    text = answer.body.decode(errors="replace")
    if not 200 <= answer.status < 300:
        if text:
            write(text, sys.stderr)
        raise CallRefused(f"{method.upper()} {path} was answered {answer.status}", hint=call.command("status"))
    return Outcome({"status": answer.status, "body": parsed(answer.body)}, text)
