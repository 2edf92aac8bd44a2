"""What the command line understands beyond Click's own: lengths of time, and the nearest word to a wrong one."""

from __future__ import annotations

import math

import click

from gwctl.errors import Usage

LONGEST_WAIT_S = 7 * 86_400.0


class Seconds(click.ParamType):  # type: ignore[type-arg] # generic from Click 8.4 on only
    """Seconds from ``least`` to a week: longer is not a wait but a mistake, and sockets take no infinity."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail as Click does if it is none, or out of range."""
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= LONGEST_WAIT_S:
            self.fail(f"{value!r} is not seconds from {self.least:g} to {LONGEST_WAIT_S:g}.", param, ctx)
        return seconds


class SuggestingGroup(click.Group):
    """A group of verbs that names the nearest one when there is no such verb."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb; raise Usage with what to type instead."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"{ctx.command_path} {near[0] if near else '--help'}"
            raise Usage(f"there is no verb {args[0]!r} of {ctx.command_path}", hint=hint) from error
