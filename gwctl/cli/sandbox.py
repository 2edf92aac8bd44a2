"""``gwctl sandbox``: steer the stand-in for IBKR while it runs."""

from __future__ import annotations

import json
from typing import Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.errors import GatewayUnreachable, Usage


@click.group("sandbox", cls=SuggestingGroup)
@global_options
def command() -> None:
    """Switch faults of the running sandbox on and off, or show its state."""


def _where(call: Call) -> tuple[str, str]:
    from gwctl.supervisor.standin import StandInRecord

    record = StandInRecord.load(call.paths)
    if record is None:
        raise GatewayUnreachable("no sandbox is running", hint=call.command("up --sandbox"))
    return record.url, record.admin_token


def _parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for text in pairs:
        key, equals, value = text.partition("=")
        if not equals:
            raise Usage(f"{text!r} is not KEY=VALUE", hint="gwctl sandbox on slow delay_ms=500")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters


@command.command("show")
@verb
def show(call: Call) -> Outcome:
    """Show the stand-in's address, sessions, logins and scenarios."""
    from gwctl.sandbox.client import read_state

    url, token = _where(call)
    state = {"url": url, "token_file": str(call.paths.sandbox_state_file), **read_state(url, token)}
    return Outcome(state, json.dumps(state, indent=2))


@command.command("on")
@click.argument("scenario")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def on(call: Call, *, scenario: str, parameters: tuple[str, ...]) -> Outcome:
    """Switch SCENARIO on, for example `gwctl sandbox on http_503`."""
    from gwctl.sandbox.client import set_scenario

    state = set_scenario(*_where(call), scenario, on=True, params=_parameters(parameters))
    return Outcome(state, f"{scenario} is on")


@command.command("off")
@click.argument("scenario")
@verb
def off(call: Call, *, scenario: str) -> Outcome:
    """Switch SCENARIO off."""
    from gwctl.sandbox.client import set_scenario

    state = set_scenario(*_where(call), scenario, on=False)
    return Outcome(state, f"{scenario} is off")


@command.command("do")
@click.argument("action")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def do(call: Call, *, action: str, parameters: tuple[str, ...]) -> Outcome:
    """Do ACTION once, for example `gwctl sandbox do drop_session`."""
    from gwctl.sandbox.client import act

    state = act(*_where(call), action, _parameters(parameters))
    return Outcome(state, f"{action} is done")
