"""The handover to a new supervisor (settings, secrets), and the processes that hold it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from gwctl.credentials import Found, Secret
from gwctl.environment import Environment
from gwctl.setting_keys import NOTIFY_SECRETS, variable_of

if TYPE_CHECKING:
    import asyncio

    from gwctl.process import Identity

log = logging.getLogger("gwctl.supervisor")

LABEL = "GWCTL_EXEC"
"""The variable that identifies a command of `gwctl exec` and all its descendants."""

COMMAND_GRACE_S = 5.0


class LeaseHolder(Struct, frozen=True):
    """A process that a supervisor runs for, and the label of its command, if any."""

    identity: Identity
    label: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form for the handover or a control request."""
        return {"identity": self.identity.to_json(), "label": self.label}

    @classmethod
    def from_json(cls, value: object) -> LeaseHolder | None:
        """Return the holder that ``to_json`` wrote, None if ``value`` is something else."""
        if not isinstance(value, dict):
            return None
        from gwctl.process import Identity

        identity = Identity.from_json(value.get("identity"))
        return None if identity is None else cls(identity, str(value.get("label", "")))


_Key = tuple[int, float, str]


def _key(holder: LeaseHolder) -> _Key:
    """Return a holder's key: one program may hold the supervisor for several of its sessions."""
    return holder.identity.pid, holder.identity.created_s, holder.label


class Lease:
    """The supervisor's holders. ``end`` is called once: when the last holder of a bound supervisor is gone."""

    def __init__(self, first: LeaseHolder | None, end: Callable[[], None], note: Callable[..., None]) -> None:
        self._first = first
        self._end = end
        self._note = note
        self._bound = first is not None
        self._over = False
        self._held: dict[_Key, tuple[LeaseHolder, asyncio.Task[None]]] = {}

    def begin(self) -> None:
        """Watch the process that started us; call it in the loop."""
        if self._first is not None:
            self._hold(self._first)

    async def close(self) -> None:
        """Stop watching."""
        import asyncio

        watches, self._held, self._over = [watch for _, watch in self._held.values()], {}, True
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    def answer(self, verb: str, body: dict[str, Any], *, ending: bool) -> dict[str, Any]:
        """Perform a request: ``hold``, ``let_go`` or ``keep``. ``ending``: the supervisor is stopping already.

        A ``keep`` from a holder's own command has no effect. The answer's ``ending`` says whether the supervisor stops,
        for any reason; ``was_bound`` and ``bound`` say whether it ends with its holders, before and after this request.
        """
        was_bound, holder = self._bound, LeaseHolder.from_json(body)
        if verb == "keep":
            label = body.get("label")
            self._bound &= bool(label) and any(holder.label == label for holder, _ in self._held.values())
        elif holder is None:
            return {"ok": False, "error": "the holder is missing", "ending": ending}
        elif verb == "let_go":
            self._forget(holder)
        elif ending or self._over:
            return {"ok": False, "error": "the supervisor is stopping", "ending": True}
        else:
            self._hold(holder)
        return {"ok": True, "was_bound": was_bound, "bound": self._bound, "ending": ending or self._over}

    def _hold(self, holder: LeaseHolder) -> None:
        import asyncio

        if _key(holder) not in self._held:
            self._held[_key(holder)] = (holder, asyncio.get_running_loop().create_task(self._watch(holder)))

    def _forget(self, holder: LeaseHolder) -> None:
        held = self._held.pop(_key(holder), None)
        if held is not None:
            held[1].cancel()
            self._end_if_last()

    def _end_if_last(self) -> None:
        if self._bound and not self._held and not self._over:
            self._over = True
            self._end()

    async def _watch(self, holder: LeaseHolder) -> None:
        from gwctl import process

        await process.wait_ended(holder.identity)
        pid = holder.identity.pid
        try:
            ended = await self._end_command(holder.label)
            log.warning("process %d ended without releasing us; ended %d processes of its command", pid, ended)
            if self._bound:
                text = f"the call that started this session (pid {pid}) was killed"
                self._note("warning", code="caller_killed", text=text)
        finally:
            self._held.pop(_key(holder), None)
            self._end_if_last()

    async def _end_command(self, label: str) -> int:
        if not label:
            return 0
        from gwctl.process.stopping import end_labelled

        try:
            return await end_labelled(LABEL, label, grace_s=COMMAND_GRACE_S)
        except Exception:  # the session is stopped in any case
            log.exception("could not end the remaining processes of a command")
            return 0


def revealed(secrets: Mapping[str, Found]) -> dict[str, dict[str, str]]:
    """Return secrets for a pipe or for our own process on loopback."""
    return {name: {"secret": one.secret.reveal(), "source": one.source} for name, one in secrets.items()}


def hidden(told: Mapping[str, Mapping[str, object]]) -> dict[str, Found]:
    """Return the secrets that ``revealed`` wrote."""
    return {name: Found(Secret(str(one["secret"])), str(one["source"])) for name, one in told.items()}


class Handover(Struct, frozen=True):
    """The first line of the supervisor's stdin. ``flags`` are settings given on the command line."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Found] = field(default_factory=dict)
    attended: bool = False
    """Whether a person waits for the result and can be asked."""
    by_hand: bool = False
    """Whether a person logs in by hand."""
    holder: LeaseHolder | None = None
    """The process that the supervisor ends with."""

    @classmethod
    def make(  # noqa: PLR0913 - one argument for each value
        cls,
        environment: Environment,
        flags: Mapping[str, Any],
        found: Mapping[str, Found],
        *,
        attended: bool = False,
        by_hand: bool = False,
        holder: LeaseHolder | None = None,
    ) -> Handover:
        """Collect what the supervisor cannot find by itself: the environment, and secrets from a variable or a prompt.

        Its own environment is reduced; the user's programs that it starts need the user's. It never looks up the
        secrets for notifications itself.
        """
        from gwctl.process import Child, environment_of

        variables = environment_of(Child.COMMAND, environment.variables)
        fleeting = {
            name: one
            for name, one in found.items()
            if name in NOTIFY_SECRETS or one.source == "prompt" or one.source == f"${variable_of(name)}"
        }
        return cls(flags, variables, fleeting, attended, by_hand, holder)

    def to_line(self) -> bytes:
        """Return the line for the pipe; it contains secrets."""
        value: dict[str, Any] = {
            "flags": dict(self.flags),
            "variables": dict(self.variables),
            "secrets": revealed(self.secrets),
        }
        value |= {"attended": self.attended, "by_hand": self.by_hand}
        value["holder"] = None if self.holder is None else self.holder.to_json()
        return json.dumps(value).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Handover:
        """Parse a line of ``to_line``; an empty line is an empty handover."""
        value = json.loads(line) if line.strip() else {}
        return cls(
            value.get("flags", {}),
            value.get("variables", {}),
            hidden(value.get("secrets", {})),
            value.get("attended") is True,
            value.get("by_hand") is True,
            LeaseHolder.from_json(value.get("holder")),
        )
