"""``gwctl completion``: a shell's completion script."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verb
def command(_call: Call, *, shell: str) -> Outcome:
    """Print the completion script: `source <(gwctl completion bash)`."""
    from click.shell_completion import get_completion_class

    from gwctl.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(cli, {}, "gwctl", "_GWCTL_COMPLETE").source()
    return Outcome({"shell": shell, "script": script}, script)
