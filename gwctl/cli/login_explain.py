"""``gwctl login --explain``: the last failed login in plain words, and what to do."""

from __future__ import annotations

from gwctl.cli.call import Call
from gwctl.cli.output import Outcome
from gwctl.login.kept import Kept, latest


def explain_last(call: Call) -> Outcome:
    """Say what the last failed login of the profile was; exit 0 also when none was kept."""
    kept = latest(call.paths.evidence_dir)
    if kept is None:
        return Outcome({"login": None}, f"no failed login of profile {call.profile_name!r} is kept")
    # The commands to type are for this profile.
    todo = kept.todo.replace("gwctl ", call.command(""))
    return Outcome({"login": {**kept.to_json(), "todo": todo}}, render(kept, todo))


def render(kept: Kept, todo: str) -> str:
    """Return the explanation as a person reads it, with ``todo`` as what to do."""
    lines = [f"{kept.at or 'a login'}: {kept.what}"]
    if kept.text:
        lines.append(f"  the page said   {kept.text}")
    if kept.cause:
        lines.append(f"  the gateway     {kept.cause}")
    if kept.understood:
        lines.append(f"  the page        is none that gwctl knows; {kept.understood}")
    times = {0: "nothing", 1: "the password, once"}.get(kept.submits, f"the password, {kept.submits} times")
    lines.append(f"  submitted       {times}")
    lines.append(f"  what to do      {todo}")
    lines.append("  what happened")
    lines += [f"    {at_ms / 1000:7.2f} s  {name}" for name, at_ms in kept.steps]
    lines.append(f"  kept in         {kept.folder} ({', '.join(kept.files)})")
    return "\n".join(lines)
