"""The Python API: bring a session up, use it, and bring down what was brought up for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gwctl.config import profile_of
from gwctl.environment import own_environment
from gwctl.errors import GatewayUnreachable
from gwctl.http_requests import trust_only
from gwctl.lifecycle import start
from gwctl.lifecycle import status as waiting
from gwctl.lifecycle import stop as stopping
from gwctl.lifecycle.follow import Ended
from gwctl.lifecycle.lease import let_go, ourselves
from gwctl.lifecycle.profile import Observer, Profile, translated
from gwctl.lifecycle.status import Wanted, look_always
from gwctl.session_status import Status
from gwctl.signals import Cancellation, cancelled_by

if TYPE_CHECKING:
    import httpx

    from gwctl.lifecycle.reach import Sandbox

T = TypeVar("T")
CLIENT_TIMEOUT_S = 30.0


class _Told(Observer):
    """Passes each step to a caller's function."""

    def __init__(self, on_step: Callable[[str], None] | None) -> None:
        self._on_step = on_step

    def say(self, text: str) -> None:
        self.show(text)

    def show(self, text: str, *, well: bool = True, until_s: float | None = None) -> None:  # noqa: ARG002 - a caller gets texts
        if self._on_step is not None:
            self._on_step(text)


def _profile(name: str | None, environ: Mapping[str, str] | None, flags: Mapping[str, Any]) -> Profile:
    environment = own_environment(environ)
    return Profile(
        name or profile_of(environment), environment, {key: one for key, one in flags.items() if one is not None}
    )


@contextlib.contextmanager
def _ours(profile: Profile) -> Iterator[None]:
    """Turn system errors into errors of ``gwctl.errors``."""
    try:
        yield
    except Exception as error:
        ours = translated(error, profile)
        if ours is error and not isinstance(error, Ended):
            raise
        raise (ours.as_error() if isinstance(ours, Ended) else ours) from error


class Session:
    """A session that was ready when it was created; its supervisor keeps it ready and restarts what fails."""

    def __init__(self, profile: Profile, status: Status, *, started: bool) -> None:
        self._profile = profile
        self.started = started
        """Whether this call started it."""
        self.base_url = str(status["gateway"]["base_url"])
        """The API's URL, ``https://localhost:PORT/v1/api``."""
        self.ca_file = Path(status["gateway"]["ca_file"])
        """The CA file for verifying the gateway's certificate."""

    def status(self) -> Status:
        """Return the session's current status, also when stopped."""
        with _ours(self._profile):
            return look_always(self._profile)[0]

    def wait(self, *, timeout_s: float = 180.0) -> Status:
        """Return the status once the session is ready (again); raise TimedOut, or TryAgain if it was stopped."""
        with _ours(self._profile):
            return waiting.wait_for(self._profile, timeout_s=timeout_s)

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox's controls; calls raise GatewayUnreachable if the session is at IBKR."""
        from gwctl.lifecycle.reach import Sandbox

        return Sandbox(self._profile)

    def client(self, **options: Any) -> httpx.Client:  # noqa: ANN401 - httpx's own options
        """Return an httpx client for the API that verifies the gateway's certificate; you close it."""
        import httpx

        return httpx.Client(**{**self.client_options(), **options})

    def client_options(self) -> dict[str, Any]:
        """Return the options for an httpx client of the API."""
        if not self.ca_file.exists():
            raise GatewayUnreachable(f"{self.ca_file} no longer exists", hint=self._profile.up_again())
        trust = trust_only(self.ca_file)
        # A proxy from the environment must not be used for this machine itself.
        return {"base_url": self.base_url, "verify": trust, "timeout": CLIENT_TIMEOUT_S, "trust_env": False}


@contextlib.contextmanager
def session(  # noqa: PLR0913 - one argument an option
    profile: str | None = None,
    *,
    sandbox: bool = False,
    fast: bool = False,
    port: int | None = None,
    timeout_s: float = 180.0,
    on_step: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Provide a ready session inside a ``with``: bring it up if needed, and if so bring it down at the end.

    A session that ran before keeps running. If this program is killed, the supervisor notices and brings the session
    down. ``fast`` starts a sandbox without a browser. ``profile`` is one of config.toml (``GWCTL_PROFILE``, else
    ``default``); ``environ`` replaces this process's environment as a source of settings; ``on_step`` is called with
    each step. Raise the errors of ``gwctl.errors``.
    """
    it, observer, holder = _profile(profile, environ, {"port": port}), _Told(on_step), ourselves()
    with _ours(it):
        result = start.up(it, sandbox=sandbox, fast=fast, timeout_s=timeout_s, holder=holder, observer=observer)
    try:
        yield Session(it, result.status, started=result.started)
    finally:
        with _ours(it):
            let_go(it, holder, started=result.started, observer=observer)


def up(  # noqa: PLR0913 - one argument an option
    profile: str | None = None,
    *,
    sandbox: bool = False,
    fast: bool = False,
    port: int | None = None,
    timeout_s: float = 180.0,
    on_step: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Session:
    """Bring a session up, or find it ready, and leave it running, as ``gwctl up`` does."""
    it = _profile(profile, environ, {"port": port})
    with _ours(it):
        result = start.up(it, sandbox=sandbox, fast=fast, timeout_s=timeout_s, observer=_Told(on_step))
    return Session(it, result.status, started=result.started)


def down(profile: str | None = None, *, keep_session: bool = False, environ: Mapping[str, str] | None = None) -> bool:
    """Log out and stop the profile, or with ``keep_session`` all but its gateway; return whether anything ran."""
    it = _profile(profile, environ, {})
    with _ours(it):
        return stopping.stop(it, keep_session=keep_session)


def status(profile: str | None = None, *, environ: Mapping[str, str] | None = None) -> Status:
    """Return the profile's status, also when it is stopped."""
    it = _profile(profile, environ, {})
    with _ours(it):
        return look_always(it)[0]


def wait(
    profile: str | None = None,
    wanted: Wanted = "ready",
    *,
    timeout_s: float = 180.0,
    environ: Mapping[str, str] | None = None,
) -> Status:
    """Return the status once the profile is ready, or stopped; change nothing. Raise TimedOut and TryAgain."""
    it = _profile(profile, environ, {})
    with _ours(it):
        return waiting.wait_for(it, wanted, timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def async_session(  # noqa: PLR0913 - one argument an option
    profile: str | None = None,
    *,
    sandbox: bool = False,
    fast: bool = False,
    port: int | None = None,
    timeout_s: float = 180.0,
    on_step: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[AsyncSession]:
    """Do the same as ``session`` without blocking the event loop; a cancelled task cleans up first.

    ``on_step`` is called in another thread.
    """
    it, observer, holder = _profile(profile, environ, {"port": port}), _Told(on_step), ourselves()
    with _ours(it):
        result = await _in_thread(
            lambda: start.up(it, sandbox=sandbox, fast=fast, timeout_s=timeout_s, holder=holder, observer=observer)
        )
    try:
        yield AsyncSession(it, result.status, started=result.started)
    finally:
        # Shielded: cancelling a task must not leave a session running.
        with _ours(it):
            await asyncio.shield(asyncio.to_thread(let_go, it, holder, started=result.started, observer=observer))


class AsyncSession:
    """The same as ``Session`` for code that must not block its event loop."""

    def __init__(self, profile: Profile, status: Status, *, started: bool) -> None:
        self._session = Session(profile, status, started=started)
        self.started = self._session.started
        """Whether this call started it."""
        self.base_url = self._session.base_url
        """The API's URL, ``https://localhost:PORT/v1/api``."""
        self.ca_file = self._session.ca_file
        """The CA file for verifying the gateway's certificate."""

    async def status(self) -> Status:
        """Return the session's current status, also when stopped."""
        return await _in_thread(self._session.status)

    async def wait(self, *, timeout_s: float = 180.0) -> Status:
        """Return the status once the session is ready (again); raise TimedOut, or TryAgain if it was stopped."""
        return await _in_thread(lambda: self._session.wait(timeout_s=timeout_s))

    def client(self, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - httpx's own options
        """Return an httpx client for the API that verifies the gateway's certificate; you close it."""
        import httpx

        return httpx.AsyncClient(**{**self._session.client_options(), **options})


async def _in_thread(work: Callable[[], T]) -> T:
    """Return the result of ``work`` from a thread; on cancellation, cancel it there and wait for its clean-up."""
    cancellation = Cancellation()

    def do() -> T:
        with cancelled_by(cancellation):
            return work()

    task = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancellation.cancel()
        await asyncio.wait({task})
        with contextlib.suppress(BaseException):
            task.result()
        raise
