"""The exception tree; one handler in ``gwctl.cli`` turns exceptions into exit codes and envelopes.

::

    GwctlError                      1   unexpected
    ├── Usage                       2   usage
    ├── Unavailable                69   unavailable: something on this machine is missing
    │   ├── JavaMissing                 java_missing
    │   ├── BrowserMissing              browser_missing
    │   ├── PortBusy                    port_busy
    │   ├── ReleaseMissing              release_missing
    │   ├── ReleaseBroken               release_broken
    │   ├── DownloadFailed              download_failed
    │   ├── DiskTrouble                 disk_trouble
    │   ├── GatewayFailed               gateway_failed
    │   └── ServiceManagerFailed        service_failed
    ├── TryAgain                   75   try_again: the same command may work later
    │   ├── TimedOut                    timed_out
    │   ├── Paused                      paused
    │   ├── ProfileHeld                 profile_held
    │   ├── GatewayUnreachable          gateway_unreachable
    │   ├── UpstreamUnreachable         upstream_unreachable
    │   └── LoginFailed                 login_failed
    ├── NeedsPerson                77   needs_person: gwctl never retries this by itself
    │   ├── CredentialsRejected         credentials_rejected
    │   ├── WrongMode                   wrong_mode
    │   ├── LockedOut                   locked_out
    │   └── SecondFactorNeeded          second_factor_needed
    └── Configuration              78   configuration
        └── CredentialsMissing          credentials_missing

The exit codes are those of the command-line contract (sysexits.h where one fits).
"""

from __future__ import annotations

from typing import ClassVar


class GwctlError(Exception):
    """Say in one line what failed and where; ``hint`` is the next command to type."""

    code: ClassVar[str] = "unexpected"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Usage(GwctlError):
    """The command line is invalid."""

    code = "usage"
    exit_code = 2


class Unavailable(GwctlError):
    """Something that this machine needs is missing."""

    code = "unavailable"
    exit_code = 69

    def __init__(self, message: str, *, hint: str | None = None, package: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.package = package
        """The package of Debian's system that has it, None if there is none here."""


class JavaMissing(Unavailable):
    """No Java 8u192 or newer was found."""

    code = "java_missing"


class BrowserMissing(Unavailable):
    """No Chromium, Chrome or Edge was found, or it does not start."""

    code = "browser_missing"


class PortBusy(Unavailable):
    """Another process holds the profile's port."""

    code = "port_busy"


class ReleaseMissing(Unavailable):
    """The requested Standard Release is not installed."""

    code = "release_missing"


class ReleaseBroken(Unavailable):
    """An archive or an installed release is not a valid Standard Release."""

    code = "release_broken"


class DownloadFailed(Unavailable):
    """A release could not be downloaded."""

    code = "download_failed"


class DiskTrouble(Unavailable):
    """gwctl cannot read or write one of its files."""

    code = "disk_trouble"


class GatewayFailed(Unavailable):
    """The gateway exited, or could not listen, while it was starting."""

    code = "gateway_failed"


class ServiceManagerFailed(Unavailable):
    """systemd or cron did not do what gwctl asked."""

    code = "service_failed"


class TryAgain(GwctlError):
    """The same command may work later, without any change."""

    code = "try_again"
    exit_code = 75


class TimedOut(TryAgain):
    """A deadline passed."""

    code = "timed_out"


class Paused(TryAgain):
    """A person paused the profile: gwctl leaves the brokerage session to them.

    ``started`` is whether the call that raises it has started the supervisor, which keeps running.
    """

    code = "paused"
    started = False


class ProfileHeld(TryAgain):
    """Another gwctl is working on the profile."""

    code = "profile_held"


class GatewayUnreachable(TryAgain):
    """No gateway of this profile answers."""

    code = "gateway_unreachable"


class UpstreamUnreachable(TryAgain):
    """The gateway answers, but IBKR does not."""

    code = "upstream_unreachable"


class LoginFailed(TryAgain):
    """The login failed for a reason other than the password."""

    code = "login_failed"


class NeedsPerson(GwctlError):
    """A person must act first; gwctl never retries this by itself."""

    code = "needs_person"
    exit_code = 77


class CredentialsRejected(NeedsPerson):
    """IBKR refused the username or the password."""

    code = "credentials_rejected"


class WrongMode(NeedsPerson):
    """The account is not of the kind (paper or live) that the profile names."""

    code = "wrong_mode"


class LockedOut(NeedsPerson):
    """The limit of refused logins is reached; gwctl sends no more."""

    code = "locked_out"


class SecondFactorNeeded(NeedsPerson):
    """IBKR asked for a second factor, and none was given."""

    code = "second_factor_needed"


class Configuration(GwctlError):
    """A setting is invalid."""

    code = "configuration"
    exit_code = 78


class CredentialsMissing(Configuration):
    """No source has a username or a password."""

    code = "credentials_missing"


FINAL_EXIT_CODES = (Usage.exit_code, NeedsPerson.exit_code, Configuration.exit_code)
"""The exit codes that another start would end with again until a person acts. Not 69: a download, a busy port or a full
disk may recover without a person."""
