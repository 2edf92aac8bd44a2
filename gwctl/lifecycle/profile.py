"""The parameters of every operation: the profile and an observer; and the translation of errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.config import Settings, check_profile_name, load, usual_profile
from gwctl.environment import DEFAULT_PROFILE, Environment
from gwctl.errors import CredentialsMissing, DiskTrouble, GatewayUnreachable, GwctlError, ProfileHeld
from gwctl.paths import Paths
from gwctl.session_status import typed
from gwctl.signals import checkpoint
from gwctl.supervisor.control import NoSupervisor

if TYPE_CHECKING:
    from gwctl.release.download import DownloadProgress


START_LOCK_TIMEOUT_S = 60.0
LOCK_LOOK_S = 0.5


@contextmanager
def start_locked(profile: Profile) -> Iterator[None]:
    """Let no other call start or stop the profile meanwhile; raise ProfileHeld."""
    from filelock import FileLock, Timeout

    from gwctl.state_file import make_private_dir

    make_private_dir(profile.paths.profile_dir)
    lock = FileLock(profile.paths.start_lock, mode=0o600)
    deadline_s = time.monotonic() + START_LOCK_TIMEOUT_S
    while not lock.is_locked:
        checkpoint()
        with suppress(Timeout):
            lock.acquire(timeout=LOCK_LOOK_S)
        if not lock.is_locked and time.monotonic() > deadline_s:
            text = "another gwctl is starting or stopping the profile"
            raise ProfileHeld(text, hint=profile.command("status"))
    try:
        yield
    finally:
        lock.release()


@lru_cache
def _ours(paths: Paths) -> Paths:
    """Return ``paths``; raise Untrusted, once or again and again, if another user could change what is there."""
    paths.require_ours()
    return paths


class Profile(Struct, frozen=True):
    """A profile's name and the sources of its settings; ``flags`` are settings that override all others."""

    name: str = DEFAULT_PROFILE
    environment: Environment = field(default_factory=Environment)
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        """The profile's paths; this reads no settings, so a broken file does not prevent a stop. Raise Untrusted."""
        paths = Paths.for_profile(check_profile_name(self.name), self.environment.home)
        return paths if self.environment.trusts_home else _ours(paths)

    def settings(self) -> Settings:
        """Read the profile's settings; raise Configuration."""
        return load(self.name, flags=self.flags, environment=self.environment)

    def with_name(self, name: str) -> Profile:
        """Return another profile in the same home."""
        return replace(self, name=name)

    def command(self, rest: str) -> str:
        """Return the next command to type for this profile."""
        return typed(self.name, rest, usual_profile(Paths.for_profile(DEFAULT_PROFILE, self.environment.home)))

    def up_again(self) -> str:
        """Return the command that starts it, or takes over what was left running: the sandbox as the sandbox."""
        from gwctl.supervisor.served import up_again

        return self.command(up_again(self.paths))


class Observer:
    """An observer that reports nothing and answers nothing; the command line has its own."""

    verbose = False
    """Whether a newly started supervisor writes a detailed log."""
    can_answer = False
    """Whether there is a person to ask."""
    shows_times = False
    """Whether each step is shown with the time that it took."""
    undone = ""
    """What was undone after an interruption, for the last line."""

    def say(self, text: str) -> None:
        """Report one line to a person."""

    def show(self, text: str, *, well: bool = True, until_s: float | None = None) -> None:
        """Report the step that begins; ``well`` is whether all is as it should be, ``until_s`` is monotonic seconds."""

    def logged_in(self) -> None:
        """Note that a login succeeded: from here on, nothing but the gateway's own wait is left."""

    def ask_to_do(self, text: str) -> None:
        """Report what a person must do now for anything to continue."""
        self.show(text)

    def ask(self, prompt: str, *, hidden: bool) -> str:  # noqa: ARG002 - other observers hide the input
        """Return a person's answer; called only if ``can_answer``."""
        raise CredentialsMissing(f"cannot ask for {prompt}")

    @contextmanager
    def downloading(self) -> Iterator[Callable[[DownloadProgress], None]]:
        """Yield a function to call with the progress of a download."""
        yield lambda _seen: None


SILENT = Observer()


def translated(error: Exception, profile: Profile) -> GwctlError:
    """Return the error as one of ours."""
    match error:
        case GwctlError():
            return error
        case NoSupervisor():
            return GatewayUnreachable(
                f"the supervisor of profile {profile.name!r} ended meanwhile", hint=profile.command("status")
            )
        case OSError(filename=str() as file, strerror=str() as reason):
            return DiskTrouble(f"{file}: {reason}", hint=f"check the owner of {file} and the free space")
        case _:
            detail = f"{type(error).__name__} in gwctl itself"
            return GwctlError(
                detail, hint=f"{profile.command('doctor --bundle report.zip')}, and report it with the output of -v"
            )


T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the coroutine's result, or raise its exception."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
