"""`env`, `exec`, `api`, `door` and `tickle`: the verbs for clients of the gateway."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
from types import FrameType
from typing import NoReturn
from urllib.parse import quote

import click

from gwctl.cli.call import Call, Seconds, command_name, global_options, verb
from gwctl.cli.output import Outcome, parsed, write
from gwctl.cli.terminal import Terminal
from gwctl.errors import Configuration, GwctlError, Unavailable, Usage
from gwctl.gateway.responses import refuses_method, words_in
from gwctl.lifecycle import start
from gwctl.lifecycle.lease import let_go, ourselves
from gwctl.lifecycle.reach import ask, docker_options, variables_of
from gwctl.signals import Terminated
from gwctl.supervisor.handover import LABEL


@click.command("env")
@click.option(
    "--dotenv", is_flag=True, help="Print NAME=value lines without quotes, for $GITHUB_ENV and files named .env."
)
@click.option(
    "--docker",
    is_flag=True,
    help="Print options instead: `docker run $(gwctl env --docker) IMAGE` reaches the gateway of this machine.",
)
@verb
def env(call: Call, *, dotenv: bool, docker: bool) -> Outcome:
    """Print export lines for a shell: `eval "$(gwctl env)"`."""
    if dotenv and docker:
        raise Usage("--dotenv and --docker are two forms", hint="choose one of them")
    variables = variables_of(call.settings(), call.environment)
    if docker:
        options = docker_options(variables)
        # With --json the list needs no shell, and every path will do.
        return Outcome({"options": options}, "" if call.as_json else _words(call, options), is_verbatim=True)
    if dotenv:
        lines = "\n".join(_plain(name, value) for name, value in variables.items())
    else:
        lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return Outcome(dict(variables), lines, is_verbatim=True)


def _plain(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        # A reader of the file would take the text after a line break for another variable.
        raise Configuration(f"{name} contains a line break", hint="set GWCTL_HOME to a folder without one")
    return f"{name}={value}"


def _words(call: Call, options: list[str]) -> str:
    # A shell splits what `$(...)` prints into words, and removes no quotes from it.
    odd = next((one for one in options if shlex.quote(one) != one), None)
    if odd is not None:
        hint = f"a list for programs: {call.command('env --docker --json')}"
        raise Configuration(f"a shell would not take this for one word: {odd}", hint=hint)
    return " ".join(options)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--sandbox", is_flag=True, help="Use the built-in sandbox: no account, no internet.")
@click.option("--fast", is_flag=True, help="With --sandbox: log in without a browser and without the gateway's delay.")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@global_options
@click.pass_context
def exec_(context: click.Context, *, sandbox: bool, fast: bool, timeout_s: float, argv: tuple[str, ...]) -> int:
    """Bring the session up, run CMD with the variables of `gwctl env`, and bring down what this call brought up.

    Exits with CMD's exit code.
    """
    from gwctl.process.spawn import Child, environment_of, run_through

    call = context.ensure_object(Call)
    call.verb_name = command_name(context)
    if shutil.which(argv[0], path=call.environment.get("PATH")) is None:
        # Check this before starting anything: a misspelled command must not cost a login.
        raise Unavailable(f"no executable program {argv[0]!r} found", hint="check the command after --")
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)
    holder = ourselves()
    with Terminal(call) as terminal:
        result = start.up(
            call.target(), sandbox=sandbox, fast=fast, timeout_s=timeout_s, holder=holder, observer=terminal
        )
    # Even after kill -9 of this call: the supervisor notices that its holder ended, and ends.
    try:
        ours = {"GWCTL_PROFILE": call.profile_name, LABEL: holder.label}
        given = {**variables_of(call.settings(), call.environment), **ours}
        variables = environment_of(Child.COMMAND, call.environment.variables, given)
        try:
            return run_through(list(argv), env=variables)
        except OSError as error:
            raise Unavailable(f"cannot run {argv[0]!r}: {error.strerror}", hint="check the command after --") from None
    finally:
        let_go(call.target(), holder, started=result.started, observer=Terminal(call))


def _hang_up(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


URL_CHARACTERS = "/?#[]@!$&'()*+,;=:%-._~"


class CallRefused(GwctlError):
    """The gateway or IBKR answered with a status other than success."""

    code = "http_error"


@click.command("api")
@click.argument("method", type=click.Choice(["GET", "POST", "PUT", "DELETE", "PATCH"], case_sensitive=False))
@click.argument("path")
@click.option("--data", metavar="JSON", help="Request body, as JSON.")
@verb
def api(call: Call, *, method: str, path: str, data: str | None) -> Outcome:
    """Call the gateway's API: `gwctl api GET /portfolio/accounts`. The body goes to stdout."""
    if data is not None:
        try:
            json.loads(data)
        except ValueError:
            raise Usage("--data is not JSON", hint="""gwctl api POST PATH --data '{"publish": true}'""") from None
    # Quote what a URL must not contain, such as spaces and non-ASCII letters.
    path = quote(path, safe=URL_CHARACTERS)
    answer = ask(call.target(), method.upper(), path, data.encode() if data is not None else None)
    text = answer.body.decode(errors="replace")
    if not 200 <= answer.status < 300:
        if text:
            write(text, sys.stderr, is_verbatim=True)
        raise CallRefused(f"{method.upper()} {path} returned {answer.status}", hint=call.command("status"))
    return Outcome({"status": answer.status, "body": parsed(answer.body)}, text, is_verbatim=True)


@click.command("door")
@click.option("--new-token", is_flag=True, help="Replace the token; clients with the old one are refused at once.")
@verb
def door(call: Call, *, new_token: bool) -> Outcome:
    """Print how other machines reach the gateway: address, certificate, token.

    If the gateway runs, it returns when its door accepts connections.
    """
    from gwctl.lifecycle.doorway import door_of

    found = door_of(call.target(), renew=new_token)
    if not found["open"]:
        why = found["problem"] or f"it opens with the gateway: {call.command('up')}"
        call.say(f"the door is closed: {why}")
    lines = [f"address      {found['base_url']}", f"certificate  {found['ca_file']}"]
    if found["token_file"] is None:
        lines.append(f"key          a client certificate of {found['client_ca']}")
    else:
        lines.append(f"token        {found['token_file']}, as Authorization: Bearer TOKEN")
    return Outcome(dict(found), "\n".join(lines))


@click.command("tickle")
@verb
def tickle(call: Call) -> Outcome:
    """Send one tickle and print the answer."""
    answer = ask(call.target(), "POST", "/tickle")
    if refuses_method(answer.status, answer.body):
        answer = ask(call.target(), "GET", "/tickle")
    if answer.status != 200:
        words = words_in(answer.body)
        said = "" if words is None else f"; IBKR: {words}"
        raise CallRefused(f"the tickle returned {answer.status}{said}", hint=call.command("status"))
    body = parsed(answer.body)
    # The session key is as sensitive as a cookie: keep it out of a terminal's scroll-back.
    if isinstance(body, dict) and "session" in body:
        body["session"] = "…"
    return Outcome({"tickle": body}, json.dumps(body, indent=2))
