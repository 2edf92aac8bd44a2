"""``gwctl exec``: a command with a ready session around it."""

from __future__ import annotations

import shutil
import signal
from types import FrameType
from typing import NoReturn

import click

from gwctl.cli.call import Call, command_name, global_options
from gwctl.cli.parsing import Seconds
from gwctl.cli.terminal import Terminal
from gwctl.cli.unwinding import Terminated
from gwctl.config import SECRET_KEYS, variable_of
from gwctl.errors import Unavailable
from gwctl.lifecycle import start
from gwctl.lifecycle.lease import let_go, ourselves
from gwctl.lifecycle.variables import variables_of
from gwctl.supervisor.tether import LABEL


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--sandbox", is_flag=True, help="Use the built-in stand-in for IBKR.")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@global_options
@click.pass_context
def command(context: click.Context, *, sandbox: bool, timeout_s: float, argv: tuple[str, ...]) -> int:
    """Bring the session up, run CMD with the variables of `gwctl env`, and bring down what this call brought up.

    Exits with CMD's code.
    """
    from gwctl.gateway.process.foreground import run_through

    call = context.ensure_object(Call)
    call.verb_name = command_name(context)
    if shutil.which(argv[0], path=call.environment.get("PATH")) is None:
        # Known before anything is started: a login is too dear for a misspelt command.
        raise Unavailable(f"there is no program {argv[0]!r} that can be run", hint="check the command after --")
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)
    holder = ourselves()
    with Terminal(call) as terminal:
        up = start.up(call.target(), sandbox=sandbox, timeout_s=timeout_s, holder=holder, observer=terminal)
    # Whatever tears this call out of here, kill -9 included: the supervisor sees its holder end, and ends.
    try:
        ours = {"GWCTL_PROFILE": call.profile_name, LABEL: holder.label}
        variables = {**call.environment.variables, **variables_of(call.settings(), call.environment), **ours}
        for name in SECRET_KEYS:
            variables.pop(variable_of(name), None)
        try:
            return run_through(list(argv), env=variables)
        except OSError as error:
            raise Unavailable(
                f"{argv[0]!r} cannot be run: {error.strerror}", hint="check the command after --"
            ) from None
    finally:
        let_go(call.target(), holder, started=up.started, observer=Terminal(call))


def _hang_up(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
