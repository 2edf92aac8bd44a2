"""What Tab offers: profiles, settings, releases, secrets, faults. It reads names only, and creates nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from gwctl.cli.call import Call
from gwctl.errors import GwctlError
from gwctl.setting_keys import KEYS, SECRET_KEYS

if TYPE_CHECKING:
    from gwctl.sandbox.settings import Entry

VARIABLE = "_GWCTL_COMPLETE"
BRIEF_CHARS = 60
Items = list[CompletionItem]
Offer = Callable[[click.Context, click.Parameter, str], Items]
_CLAUSE = re.compile(r"[.:;]\s")
_ASIDE = re.compile(r" \([^)]*\)| {2}\[[^]]*\]")
_CONDITION = re.compile(r"^With --[a-z-]+: ")


def brief(text: str | None) -> str:
    """Return the first clause of a help: beside a word there is little room."""
    line = " ".join(_ASIDE.sub("", (text or "").partition("\n\n")[0]).split())
    line = _CONDITION.sub("", line, count=1)
    line = line[:1].upper() + line[1:]
    first = _CLAUSE.split(line, maxsplit=1)[0].rstrip(".")
    if len(first) <= BRIEF_CHARS:
        return first
    return first[: BRIEF_CHARS - 1].rsplit(" ", 1)[0].rstrip(",") + "…"


def _items(words: Iterable[str], incomplete: str, helps: Mapping[str, str] | None = None) -> Items:
    return [CompletionItem(word, help=(helps or {}).get(word) or None) for word in words if word.startswith(incomplete)]


def _quietly(offer: Offer) -> Offer:
    """Return ``offer`` without its errors: nobody who presses Tab expects one."""

    def offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        with contextlib.suppress(GwctlError, OSError, ValueError, KeyError):
            return offer(context, parameter, incomplete)
        return []

    return offered


@_quietly
def profiles(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the names of the profiles."""
    from gwctl.config import profile_names

    return _items(profile_names(context.ensure_object(Call).environment), incomplete)


@_quietly
def releases(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the installed releases."""
    folder = context.ensure_object(Call).paths.releases_dir
    return _items(sorted(one.name for one in folder.iterdir() if one.is_dir() and one.name[0] != "."), incomplete)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Let the shell offer files."""
    return [CompletionItem(incomplete, type="file")]


@_quietly
def secrets(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the names of the secrets."""
    return _items(SECRET_KEYS, incomplete)


@_quietly
def keys(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the key of each setting."""
    return _items(KEYS, incomplete, {key: brief(one.help) for key, one in KEYS.items()})


@_quietly
def settings(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer KEY= of each setting, and after it the values of one that has only some."""
    helps = {f"{key}=": brief(one.help) for key, one in KEYS.items()}
    return _pairs(context, "pairs", incomplete, helps, lambda key: values_of(key) if key in KEYS else ())


def values_of(key: str) -> tuple[str, ...]:
    """Return the values of a setting, none if there are too many."""
    from gwctl.maintenance import REGIONS
    from gwctl.setting_times import parse_windows
    from gwctl.setting_values import parse_yes

    parse: Any = KEYS[key].parse
    few = {parse_yes: ("true", "false"), parse_windows: tuple(REGIONS)}
    return getattr(parse, "words", None) or few.get(parse, ())


@_quietly
def scenarios(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the sandbox's faults."""
    return _entries("SCENARIOS", incomplete)


@_quietly
def actions(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer what the sandbox can do once."""
    return _entries("ACTIONS", incomplete)


@_quietly
def parameters(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer KEY= of each parameter of the fault that was typed before, and after it its values."""
    name = str(context.params.get("scenario") or context.params.get("action"))
    entry = {**_table("SCENARIOS"), **_table("ACTIONS")}[name]
    helps = {f"{key}=": "" for key in entry.parameters}
    return _pairs(
        context, "parameters", incomplete, helps, lambda key: [str(one) for one in entry.choices.get(key, ())]
    )


def _table(name: str) -> Mapping[str, Entry]:
    from gwctl.sandbox import settings as known

    return dict(getattr(known, name))


def _entries(table: str, incomplete: str) -> Items:
    entries = _table(table)
    return _items(entries, incomplete, {name: brief(one.summary) for name, one in entries.items()})


def _pairs(
    context: click.Context,
    name: str,
    incomplete: str,
    helps: Mapping[str, str],
    values: Callable[[str], Iterable[str]],
) -> Items:
    """Offer keys with their equals sign, or values: bash takes KEY=VALUE for three words, and other shells for one."""
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [CompletionItem(f"{key}={one.value}") for one in _items(values(key), begun)]
    before = [str(word) for word in context.params.get(name) or ()]
    if before and before[-1] == "=":
        return _items(values(before[-2]), incomplete)
    if before and f"{before[-1]}=" in helps:
        return _items(values(before[-1]), incomplete)
    return _items(helps, incomplete, helps)


def answer(cli: click.Command, instruction: str) -> int:
    """Print what fits the words in the shell's variables, or the shell's script; return Click's exit code."""
    shell, _, what = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is None:
        return 1
    completion = kind(cli, {}, "gwctl", VARIABLE)
    if what == "source":
        click.echo(script_of(shell, completion))
    else:
        for item in completion.get_completions(*completion.get_completion_args()):
            item.help = brief(item.help)
            click.echo(completion.format_completion(item))
    return 0


def script_of(shell: str, completion: ShellComplete) -> str:
    """Return the shell's script; no blank follows KEY=, as fish knows by itself."""
    script = completion.source()
    if shell == "bash":
        taken = "COMPREPLY+=($value)"
        script = script.replace(taken, f"{taken}; [[ $value == *= ]] && compopt -o nospace 2>/dev/null")
    elif shell == "zsh":
        # All that is offered at a time are keys, or none is. Only `sandbox on` has keys without a description.
        found = "local -a response"
        script = script.replace(found, f"{found} no_blank")
        script = script.replace(
            "    for type key", "    [[ ${response[2]} == *= ]] && no_blank=(-S '')\n    for type key"
        )
        script = script.replace("completions_with_descriptions -U", 'completions_with_descriptions -U "${no_blank[@]}"')
        script = script.replace("compadd -U", 'compadd "${no_blank[@]}" -U')
    return script
