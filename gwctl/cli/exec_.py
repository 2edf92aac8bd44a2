"""``gwctl exec``: a command with a ready session around it."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, global_options
from gwctl.cli.down import bring_down
from gwctl.cli.env import variables_of
from gwctl.cli.parsing import Seconds
from gwctl.cli.up import bring_up
from gwctl.errors import Unavailable


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--sandbox", is_flag=True, help="Use the built-in stand-in for IBKR.")
@click.option("--timeout", "timeout_s", type=Seconds(1), default=180.0, show_default=True, metavar="S")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@global_options
@click.pass_context
def command(context: click.Context, *, sandbox: bool, timeout_s: float, argv: tuple[str, ...]) -> int:
    """Bring the session up, run CMD with the variables of `gwctl env`, and bring down what this call brought up.

    Exits with CMD's code.
    """
    from gwctl.gateway.process.foreground import run_through

    call = context.ensure_object(Call)
    _, started = bring_up(call, {}, sandbox=sandbox, timeout_s=timeout_s, undo=True)
    try:
        variables = {**call.environment.variables, **variables_of(call.settings())}
        for name in ("GWCTL_PASSWORD", "GWCTL_TOTP_SECRET"):
            variables.pop(name, None)
        try:
            return run_through(list(argv), env=variables)
        except FileNotFoundError:
            raise Unavailable(f"there is no program {argv[0]!r}", hint="check the command after --") from None
        except PermissionError:
            raise Unavailable(f"{argv[0]!r} cannot be run", hint=f"chmod +x {argv[0]}") from None
    finally:
        if started:
            bring_down(call, keep_session=False)
