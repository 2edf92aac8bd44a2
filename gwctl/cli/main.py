"""The entry point: prepare the process, find and run the verb, and turn every exception into an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

import click

from gwctl import core_dumps
from gwctl.cli.call import Call, SuggestingGroup, command_name, global_options
from gwctl.cli.output import show_error, write
from gwctl.config import profile_names
from gwctl.environment import Environment
from gwctl.errors import GwctlError, Usage
from gwctl.known_words import nearest
from gwctl.signals import Terminated
from gwctl.version import VERSION

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_OWNERS_BITS = 0o700


def settle_in() -> None:
    """Prepare this process and the environment of every process that it starts."""
    core_dumps.leave_none()
    _open_closed_streams()
    _complete_variables()
    # A umask may deny others access to our files, but must not deny us.
    os.umask(os.umask(0o077) & ~_OWNERS_BITS)


def _open_closed_streams() -> None:
    """Open /dev/null for each closed standard stream, before a file or a socket gets its number."""
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open


def _complete_variables() -> None:
    """Set HOME from the user database if it names no folder, and PATH to the system's default if it is unset."""
    if not os.environ.get("HOME", "").startswith("/"):
        import pwd

        try:
            os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            # An account without an entry, as in containers: code that needs a home reports it then.
            os.environ.pop("HOME", None)
    if not os.environ.get("PATH"):
        os.environ["PATH"] = os.defpath


INTERRUPTED = 130
_QUIET = re.compile(r"-v*qv*|--quiet")

VERBS = {
    "setup": ("setup_verb", "Set up a profile: ask, check, log in once, start at boot."),
    "up": ("session_verbs", "Start the gateway, log in and keep the session alive."),
    "down": ("session_verbs", "Log out and stop the profile."),
    "pause": ("pause_verbs", "Give the brokerage session to you, for TWS or the mobile app."),
    "resume": ("pause_verbs", "End a pause and take the session back."),
    "restart": ("session_verbs", "Restart the gateway and restore the session."),
    "status": ("session_verbs", "Show session status."),
    "wait": ("session_verbs", "Wait until the session is ready."),
    "exec": ("client_verbs", "Run a command with a ready session."),
    "env": ("client_verbs", "Print environment variables for a client."),
    "api": ("client_verbs", "Make one verified call to the gateway."),
    "login": ("login_verbs", "Log in now."),
    "door": ("client_verbs", "Print how other machines reach the gateway."),
    "tickle": ("client_verbs", "Send one tickle and print the answer."),
    "logs": ("log_verbs", "Show the logs of the supervisor and the gateway."),
    "history": ("log_verbs", "Show uptime per day, outages, logins and restarts."),
    "doctor": ("setup_verbs", "Check everything and show how to fix what is wrong."),
    "release": ("setup_verbs", "Manage Standard Releases."),
    "browser": ("setup_verbs", "Manage the browser for logins."),
    "profile": ("profile_verbs", "Manage profiles."),
    "secret": ("secret_verbs", "Manage secrets."),
    "service": ("service_verbs", "Run gwctl with systemd, cron or launchd."),
    "notify": ("secret_verbs", "Test notifications."),
    "sandbox": ("setup_verbs", "Control the built-in sandbox."),
    "completion": ("setup_verbs", "Print a shell completion script."),
}
"""Each verb's module and help; the list needs no import of the modules."""


class LazyGroup(SuggestingGroup):
    """Imports a verb's module only when the verb is used: a quick verb must not pay for a slow one."""

    synonyms: Mapping[str, str] = {
        "start": "up",
        "run": "up",
        "connect": "up",
        "stop": "down",
        "kill": "down",
        "logout": "down",
        "ps": "status",
        "page": "status --web",
        "web": "status --web",
        "info": "status",
        "show": "status",
        "top": "status --watch",
        "watch": "status --watch",
        "list": "profile list",
        "ls": "profile list",
        "profiles": "profile list",
        "config": "profile show",
        "settings": "profile show",
        "set": "profile set",
        "edit": "profile edit",
        "init": "setup",
        "configure": "setup",
        "log": "logs",
        "check": "doctor",
        "reset": "restart",
        "update": "release install",
        "upgrade": "release install",
        "install": "release install",
        "version": "--version",
    }

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which people need them."""
        return list(VERBS)

    def help_of(self, _ctx: click.Context, name: str) -> str:
        """Return a verb's help."""
        return VERBS[name][1]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb; `help VERB` is `VERB --help`. Raise Usage with a suggestion."""
        if args[0] == "help":
            args = [*args[1:], "--help"]
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
        return super().resolve_command(ctx, args)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"gwctl.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, "exec_" if cmd_name == "exec" else cmd_name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing their modules."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="gwctl")
@global_options
def cli() -> None:
    """Run an Interactive Brokers Client Portal API Gateway and keep it logged in.

    Start with `gwctl setup`, or without an account: `gwctl up --sandbox`.
    """


class Stopped(GwctlError):
    """A signal ended the call."""

    def __init__(self, word: str, exit_code: int, undone: str) -> None:
        super().__init__(f"{word}{'; ' if undone else ''}{undone}")
        self.code = word  # type: ignore[misc] # one class for all signals
        self.exit_code = exit_code  # type: ignore[misc] # likewise


def _on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _context_name(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return command_name(context) if context is not None else "gwctl"


def _as_asked(call: Call, plain: Sequence[str]) -> Call:
    """Format an error as requested by the arguments, which could not be parsed."""
    call.as_json = "--json" in plain
    call.no_color = "--no-color" in plain
    call.quiet = call.quiet or any(_QUIET.fullmatch(word) for word in plain)
    return call


def run(argv: Sequence[str]) -> int:
    """Run one call and return the exit code."""
    if (completing := os.environ.get("_GWCTL_COMPLETE")) is not None:
        return _complete(completing)
    plain = argv[: argv.index("--")] if "--" in argv else argv
    command = next((word for word in plain if word in VERBS), "gwctl")
    try:
        call = Call()
    except GwctlError as error:
        return _fail(command, error, _as_asked(Call(environment=Environment({})), plain))
    return _answer(call, command, argv, plain)


def _complete(instruction: str) -> int:
    """Answer a shell that completes a line; what is wrong with the line is said when it is run."""
    from gwctl.cli.completing import answer

    try:
        return answer(cli, instruction)
    except Exception:  # noqa: BLE001 - nobody who presses Tab expects an error
        return 1


def _answer(call: Call, command: str, argv: Sequence[str], plain: Sequence[str]) -> int:
    # An error in the options comes before they are parsed, but must still use the requested format.
    call.as_json = "--json" in plain
    call.no_color = "--no-color" in plain
    try:
        with cli.make_context("gwctl", list(argv), obj=call) as context:
            code = int(cli.invoke(context) or 0)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = _stop(command, Stopped("interrupted", INTERRUPTED, call.undone), call)
    except Terminated as ended:
        word = "hung up" if ended.number == signal.SIGHUP else "terminated"
        code = _stop(command, Stopped(word, 128 + ended.number, call.undone), call)
    except click.ClickException as error:
        code = _refuse(error, _as_asked(call, plain))
    except Usage as error:
        code = _fail(call.verb_name or command, error, _as_asked(call, plain))
    except GwctlError as error:
        code = _fail(call.verb_name or command, error, call)
    except Exception as error:  # noqa: BLE001 - the one handler; -v prints a traceback
        if call.verbose:
            import traceback

            traceback.print_exc()
        code = _fail(call.verb_name or command, _translated(error, call), call)
    return code


def _translated(error: Exception, call: Call) -> GwctlError:
    from gwctl.lifecycle.profile import translated

    return translated(error, call.target())


def _stop(command: str, stopped: Stopped, call: Call) -> int:
    return stopped.exit_code if call.streams else _fail(call.verb_name or command, stopped, call)


def _refuse(error: click.ClickException, call: Call) -> int:
    """Print what is wrong with the command line; without a verb, print the help."""
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        if not call.as_json and not call.quiet:
            write(message, sys.stderr)
            return Usage.exit_code
        message = "no verb was given"
    return _fail(_context_name(error), Usage(message, hint=_usage_hint(error)), call)


def _usage_hint(error: click.ClickException) -> str:
    if isinstance(error, click.BadParameter) and error.param is not None and isinstance(error.param.type, click.Choice):
        typed = re.search(r"'([^']*)' is not one of", error.format_message())
        near = nearest(typed[1], map(str, error.param.type.choices)) if typed else None
        if near is not None:
            return f"did you mean {near}?"
    context = getattr(error, "ctx", None)
    if context is None:
        return "gwctl --help"
    extra = re.search(r"unexpected extra argument \((\S+)\)", error.format_message())
    if extra is not None and _is_profile(extra[1]):
        verb = context.command_path.removeprefix("gwctl ")
        return f"gwctl --profile {extra[1]} {verb}"
    return f"{context.command_path} --help"


def _is_profile(name: str) -> bool:
    try:
        return name in profile_names()
    except GwctlError:
        return False


def _fail(command: str, error: GwctlError, call: Call) -> int:
    show_error(command, error, as_json=call.as_json, quiet=call.quiet, no_color=call.no_color)
    return error.exit_code


def main() -> NoReturn:
    """Run gwctl and exit."""
    if sys.platform == "win32":
        sys.stderr.write("gwctl: Windows is not supported\n  try: wsl --install, then run gwctl inside WSL\n")
        sys.exit(69)
    settle_in()
    signal.signal(signal.SIGTERM, _on_sigterm)
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # If Ctrl-C arrives while Python creates a class (by exec of its text), Python remembers it and later ends by
        # the signal, even if the exception was caught: leave with the contract's code, as everything is done.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
