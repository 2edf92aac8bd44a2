"""One call of gwctl: the global options, the types of options, and what derives from them."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

import click
from msgspec import Struct, field

from gwctl.cli.columns import folded, width_of
from gwctl.cli.output import Outcome, show_outcome, write
from gwctl.config import Settings, profile_of, require_profile
from gwctl.environment import DEFAULT_PROFILE, Environment, own_environment
from gwctl.errors import Configuration, GwctlError, Usage
from gwctl.known_words import nearest
from gwctl.lifecycle.profile import Profile
from gwctl.paths import Paths
from gwctl.plain_text import one_line

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

P = ParamSpec("P")


class Call(Struct):
    """The options that every verb has."""

    profile: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False
    no_input: bool = False
    environment: Environment = field(default_factory=own_environment)
    verb_name: str | None = None
    """The verb as the envelope names it, once known."""
    streams: bool = False
    """Whether stdout is a stream of objects, so that an interruption adds no object."""
    undone: str = ""
    """What was undone after an interruption, for the last line."""

    @property
    def profile_name(self) -> str:
        """The profile: the option, else the variable, else that of `gwctl profile use`, else ``default``."""
        return self.profile or profile_of(self.environment)

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """Return the profile's settings; raise Configuration."""
        return self.target(flags).settings()

    def target(self, flags: Mapping[str, Any] | None = None) -> Profile:
        """Return the profile that the operations act on; ``flags`` are settings from the command line."""
        return Profile(self.profile_name, self.environment, flags or {})

    @property
    def paths(self) -> Paths:
        """The profile's paths; this reads no settings, so a broken file does not prevent a ``down``."""
        return self.target().paths

    def say(self, text: str) -> None:
        """Write a line for a person to stderr, unless quiet or with ``--json``."""
        if not self.quiet and not self.as_json:
            write(folded(one_line(text), width_of(sys.stderr)), sys.stderr)

    def command(self, rest: str) -> str:
        """Return the next command to type for this profile."""
        return self.target().command(rest)

    def notices(self) -> list[str]:
        """Return a line for each thing that is newer, none without a terminal to read them; raise nothing."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            return []
        from gwctl.release.newer import notices_of

        with contextlib.suppress(GwctlError, OSError):
            return [f"{one.text}; to install it: {one.remedy}" for one in notices_of(self.settings(), self.environment)]
        return []

    @property
    def may_ask(self) -> bool:
        """Whether there is a person to ask."""
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()


def offering(name: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return the callback by which Tab offers what ``gwctl.cli.completing`` has by this name; it is loaded for Tab."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from gwctl.cli import completing

        offered: list[CompletionItem] = getattr(completing, name)(context, parameter, incomplete)
        return offered

    return offer


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click's own
        if value:
            setattr(context.ensure_object(Call), name, value)
        return value

    return callback


def _flag(*names: str, attribute: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, is_flag=True, expose_value=False, callback=_remember(attribute), help=text)


_GLOBAL_OPTIONS: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
    click.option(
        "--profile",
        metavar="NAME",
        expose_value=False,
        callback=_remember("profile"),
        shell_complete=offering("profiles"),
        help="Profile to use.",
    ),
    _flag("--json", attribute="as_json", text="Print one JSON envelope."),
    _flag("-q", "--quiet", attribute="quiet", text="Print only errors."),
    _flag("-v", "--verbose", attribute="verbose", text="Print more details."),
    _flag("--no-color", attribute="no_color", text="Do not use colors."),
    _flag("--no-input", attribute="no_input", text="Never ask questions."),
]


def global_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every verb has to a command."""
    for option in reversed(_GLOBAL_OPTIONS):
        function = option(function)
    return function


def verb(function: Callable[..., Outcome]) -> Callable[..., int]:
    """Turn ``function(call, …) -> Outcome`` into a command's callback: print the outcome, return its exit code."""

    @global_options
    @click.pass_context
    @functools.wraps(function)
    def callback(context: click.Context, /, **options: Any) -> int:  # noqa: ANN401 - the verbs' own options
        call = context.ensure_object(Call)
        call.verb_name = command_name(context)
        _look_for_profile(call, call.verb_name, options)
        outcome = function(call, **options)
        show_outcome(call.verb_name, outcome, as_json=call.as_json)
        for notice in outcome.notices:
            call.say(notice)
        return outcome.exit_code

    return callback


_WITHOUT_PROFILE = {"profile", "setup", "release", "browser", "completion", "service", "doctor"}


def _look_for_profile(call: Call, verb_name: str, options: Mapping[str, Any]) -> None:
    """Raise Configuration if a verb needs a profile and there is none of that name; a sandbox's is made by the call.

    GWCTL_PROFILE may name one that only variables make. One that is not there is stopped, which is only said.
    """
    makes_one_or_all = options.get("sandbox") or options.get("every")
    was_looked_for = options.get("handed_over")  # by the call that hands over, with its GWCTL_HOME
    if makes_one_or_all or was_looked_for or verb_name.partition(" ")[0] in _WITHOUT_PROFILE:
        return
    name = call.profile or (None if call.environment.get("GWCTL_PROFILE") else call.profile_name)
    if name is None or name == DEFAULT_PROFILE:
        return
    try:
        require_profile(name, call.environment)
    except Configuration as error:
        if verb_name != "down" and options.get("wanted") != "stopped":
            raise
        call.say(error.message)


def command_name(context: click.Context) -> str:
    """Return the verb as the envelope names it, ``release install``."""
    return context.command_path.partition(" ")[2] or "gwctl"


LONGEST_WAIT_S = 7 * 86_400.0


class Seconds(click.ParamType):  # type: ignore[type-arg] # generic from Click 8.4 on only
    """A number of seconds from ``least`` to a week: a longer wait is a mistake, and sockets accept no infinity."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail as Click does if it is invalid or out of range."""
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= LONGEST_WAIT_S:
            self.fail(f"{value!r} is not a number of seconds from {self.least:g} to {LONGEST_WAIT_S:g}.", param, ctx)
        return seconds


class SuggestingGroup(click.Group):
    """A group of verbs that suggests the nearest verb for an unknown one, or the one that its synonym means."""

    synonyms: Mapping[str, str] = {}

    def help_of(self, ctx: click.Context, name: str) -> str:
        """Return a verb's help."""
        command = self.get_command(ctx, name)
        return (command.help if command else None) or ""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs and options that begin so, without importing the verbs."""
        from click.shell_completion import CompletionItem

        verbs = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self.help_of(ctx, name)) for name in verbs]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb; raise Usage with a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            near = self.synonyms.get(args[0]) or nearest(args[0], self.list_commands(ctx))
            hint = f"{ctx.command_path} {near or '--help'}"
            raise Usage(f"{ctx.command_path} has no verb {args[0]!r}", hint=hint) from error
