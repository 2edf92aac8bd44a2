"""``gwctl env``: what a client needs to know."""

from __future__ import annotations

import shlex

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.errors import Configuration
from gwctl.lifecycle.variables import variables_of


@click.command("env")
@click.option("--dotenv", is_flag=True, help="Print NAME=value lines, for $GITHUB_ENV and files of variables.")
@verb
def command(call: Call, *, dotenv: bool) -> Outcome:
    """Print export lines: `eval "$(gwctl env)"`."""
    variables = variables_of(call.settings(), call.environment)
    if dotenv:
        lines = "\n".join(_plain(name, value) for name, value in variables.items())
    else:
        lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return Outcome(dict(variables), lines)


def _plain(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        # Whoever reads such a file would take what comes after it for a variable of its own.
        raise Configuration(f"{name} has a line break in it", hint="set GWCTL_HOME to a folder without one")
    return f"{name}={value}"
