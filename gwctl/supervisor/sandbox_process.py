"""The sandbox's fake IBKR as a process of the profile: started, adopted, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwctl import process
from gwctl.errors import TimedOut, Unavailable
from gwctl.paths import Paths
from gwctl.process import Identity
from gwctl.release.store import Release, ReleaseStore
from gwctl.sandbox.settings import build_standin_release
from gwctl.signals import whole
from gwctl.state_file import look_at_json, make_private_dir, read_json, write_json

START_TIMEOUT_S = 20.0
STOP_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class StandInRecord:
    """The running fake IBKR; the token gives access to its admin routes."""

    identity: Identity
    port: int
    admin_token: str = field(repr=False)
    mode: str = "paper"
    """The kind of its play account."""

    @property
    def url(self) -> str:
        """The upstream address for the gateway's configuration."""
        return f"http://127.0.0.1:{self.port}"

    def save(self, paths: Paths) -> None:
        """Write the record whole; raise DiskTrouble."""
        write_json(
            paths.sandbox_state_file,
            {
                "identity": self.identity.to_json(),
                "port": self.port,
                "admin_token": self.admin_token,
                "mode": self.mode,
            },
        )

    @classmethod
    def load(cls, paths: Paths) -> StandInRecord | None:
        """Return the record of a running fake IBKR, or None."""
        return cls.from_json(read_json(paths.sandbox_state_file)[0])

    @classmethod
    def from_json(cls, raw: dict[str, Any] | None) -> StandInRecord | None:
        """Return the record in ``raw`` if its process is running, or None."""
        identity = Identity.from_json((raw or {}).get("identity"))
        if raw is None or identity is None or not process.is_ours(identity):
            return None
        match raw:
            case {"port": int(port), "admin_token": str(token)}:
                return cls(identity, port, token, str(raw.get("mode", "paper")))
            case _:
                return None


async def ensure_stand_in(
    paths: Paths, environ: Mapping[str, str], mode: str, known: StandInRecord | None = None
) -> StandInRecord:
    """Return the profile's running fake IBKR, starting one if there is none; raise Unavailable if it does not start.

    Its play account has the profile's ``mode``; a fake IBKR with the other mode is replaced. If the folder with the
    record was deleted, a ``known`` running one is used and recorded again.
    """
    record = await asyncio.to_thread(StandInRecord.load, paths)
    if record is None and known is not None and process.is_ours(known.identity):
        record = known
        await whole(record.save, paths)
    if record is not None and record.mode == mode:
        return record
    await stop_stand_in(paths)
    token = secrets.token_urlsafe(24)
    begun: list[process.Spawned] = []
    try:
        await whole(lambda: begun.append(_spawn(paths, environ)))
    except asyncio.CancelledError:
        for spawned in begun:
            if spawned.stdout is not None:
                spawned.stdout.close()
            await asyncio.shield(_dismiss(spawned))
        raise
    (spawned,) = begun
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            port = await _hand_over(spawned, {"admin_token": token, "account": {"mode": mode}})
    except TimeoutError:
        await _dismiss(spawned)
        raise TimedOut("the sandbox did not start in time", hint=f"cat {paths.logs_dir / 'sandbox.log'}") from None
    except asyncio.CancelledError:
        # It is not recorded yet, so nothing else could end it.
        await asyncio.shield(_dismiss(spawned))
        raise
    if port is None:
        raise Unavailable("the sandbox exited while starting", hint=f"cat {paths.logs_dir / 'sandbox.log'}")
    record = StandInRecord(spawned.identity, port, token, mode)
    await whole(record.save, paths)
    spawned.let_go()
    return record


def _spawn(paths: Paths, environ: Mapping[str, str]) -> process.Spawned:
    make_private_dir(paths.logs_dir)
    return process.spawn(
        [sys.executable, "-m", "gwctl.sandbox"],
        cwd=paths.profile_dir,
        env=process.environment_of(process.Child.OURS, environ),
        log_file=paths.logs_dir / "sandbox.log",
        pipes=True,
    )


async def _dismiss(spawned: process.Spawned) -> None:
    await process.stop([spawned.identity], grace_s=0.5)
    spawned.poll()
    if spawned.stdin is not None:
        spawned.stdin.close()


async def _hand_over(spawned: process.Spawned, config: dict[str, Any]) -> int | None:
    if spawned.stdin is None:
        return None
    reader = await spawned.stdout_reader()
    spawned.stdin.write(json.dumps(config).encode() + b"\n")
    spawned.stdin.close()
    line = await reader.readline()
    return int(json.loads(line)["port"]) if line else None


def begin_anew(paths: Paths) -> None:
    """Forget the logins of a fake IBKR that no longer runs: the next one has refused nothing.

    A damaged ledger stays, for the one who sets it aside and says so.
    """
    with contextlib.suppress(OSError):  # the ledger's own reader says what is wrong with it
        if StandInRecord.load(paths) is None and look_at_json(paths.sandbox_ledger_file)[0] is not None:
            paths.sandbox_ledger_file.unlink(missing_ok=True)


async def stop_stand_in(paths: Paths) -> None:
    """Stop the profile's fake IBKR if it runs."""
    record = await asyncio.to_thread(StandInRecord.load, paths)
    if record is not None:
        await process.stop([record.identity], grace_s=STOP_GRACE_S)
    await whole(paths.sandbox_state_file.unlink, missing_ok=True)


def sandbox_release(store: ReleaseStore, cache_dir: Path) -> Release:
    """Return the installed Standard Release, or the stand-in release, installing it if needed."""
    standard = store.current()
    if standard is not None and standard.kind == "standard":
        return standard
    make_private_dir(cache_dir)
    archive = build_standin_release(cache_dir / "standin-release.zip")
    return store.install(str(archive), select=False).release
