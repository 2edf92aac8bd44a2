"""`sandbox` and `completion`."""

from __future__ import annotations

import json
from typing import Any

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup
from gwctl.errors import Usage
from gwctl.lifecycle.sandbox import Sandbox


@click.group("sandbox", cls=SuggestingGroup)
@global_options
def sandbox() -> None:
    """Switch faults of the running sandbox on and off, or show its state."""


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


@sandbox.command("show")
@verb
def show(call: Call) -> Outcome:
    """Show the stand-in's address, sessions, logins and scenarios."""
    state = Sandbox(call.target()).state()
    return Outcome(state, json.dumps(state, indent=2))


@sandbox.command("on")
@click.argument("scenario")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def on(call: Call, *, scenario: str, parameters: tuple[str, ...]) -> Outcome:
    """Switch SCENARIO on, for example `gwctl sandbox on http_503`."""
    state = Sandbox(call.target()).on(scenario, **_parameters(parameters))
    return Outcome(state, f"{scenario} is on")


@sandbox.command("off")
@click.argument("scenario")
@verb
def off(call: Call, *, scenario: str) -> Outcome:
    """Switch SCENARIO off."""
    state = Sandbox(call.target()).off(scenario)
    return Outcome(state, f"{scenario} is off")


@sandbox.command("do")
@click.argument("action")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]…")
@verb
def do(call: Call, *, action: str, parameters: tuple[str, ...]) -> Outcome:
    """Do ACTION once, for example `gwctl sandbox do drop_session`."""
    state = Sandbox(call.target()).do(action, **_parameters(parameters))
    return Outcome(state, f"{action} is done")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verb
def completion(_call: Call, *, shell: str) -> Outcome:
    """Print the completion script: `source <(gwctl completion bash)`."""
    from click.shell_completion import get_completion_class

    from gwctl.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(cli, {}, "gwctl", "_GWCTL_COMPLETE").source()
    return Outcome({"shell": shell, "script": script}, script)
