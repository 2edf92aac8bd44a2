"""The exception tree; one handler in ``gwctl.cli`` turns it into exit codes and envelopes.

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
    │   ├── ProfileHeld                 profile_held
    │   ├── GatewayUnreachable          gateway_unreachable
    │   ├── UpstreamUnreachable         upstream_unreachable
    │   └── LoginFailed                 login_failed
    ├── NeedsPerson                77   needs_person: never retried by itself
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
    """Say in one line what went wrong and where; ``hint`` is the next command to type."""

    code: ClassVar[str] = "unexpected"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Usage(GwctlError):
    """The command line itself is wrong."""

    code = "usage"
    exit_code = 2


class Unavailable(GwctlError):
    """Something this machine should have is missing."""

    code = "unavailable"
    exit_code = 69


class JavaMissing(Unavailable):
    """No Java 8u192 or newer was found."""

    code = "java_missing"


class BrowserMissing(Unavailable):
    """No Chromium, Chrome or Edge was found, or it does not start."""

    code = "browser_missing"


class PortBusy(Unavailable):
    """The profile's port is held by somebody else."""

    code = "port_busy"


class ReleaseMissing(Unavailable):
    """The Standard Release asked for is not installed."""

    code = "release_missing"


class ReleaseBroken(Unavailable):
    """An archive or an installed release is not a sound Standard Release."""

    code = "release_broken"


class DownloadFailed(Unavailable):
    """A release could not be fetched."""

    code = "download_failed"


class DiskTrouble(Unavailable):
    """A file of ours cannot be read or written."""

    code = "disk_trouble"


class GatewayFailed(Unavailable):
    """The gateway ended or could not listen while it was being started."""

    code = "gateway_failed"


class ServiceManagerFailed(Unavailable):
    """systemd or cron did not do what it was asked."""

    code = "service_failed"


class TryAgain(GwctlError):
    """The same command may work later without anybody changing anything."""

    code = "try_again"
    exit_code = 75


class TimedOut(TryAgain):
    """A deadline passed."""

    code = "timed_out"


class ProfileHeld(TryAgain):
    """Another gwctl works on the profile."""

    code = "profile_held"


class GatewayUnreachable(TryAgain):
    """No gateway of ours answers for the profile."""

    code = "gateway_unreachable"


class UpstreamUnreachable(TryAgain):
    """The gateway answers, IBKR does not."""

    code = "upstream_unreachable"


class LoginFailed(TryAgain):
    """The login did not get through for a reason that is not the password's."""

    code = "login_failed"


class NeedsPerson(GwctlError):
    """Only a person can go on from here; gwctl never retries this by itself."""

    code = "needs_person"
    exit_code = 77


class CredentialsRejected(NeedsPerson):
    """IBKR refused the username or the password."""

    code = "credentials_rejected"


class WrongMode(NeedsPerson):
    """The account is not of the kind (paper, live) that the profile says."""

    code = "wrong_mode"


class LockedOut(NeedsPerson):
    """The limit of refused logins is reached; no further one is sent."""

    code = "locked_out"


class SecondFactorNeeded(NeedsPerson):
    """A second factor was asked for and could not be given."""

    code = "second_factor_needed"


class Configuration(GwctlError):
    """A setting is wrong."""

    code = "configuration"
    exit_code = 78


class CredentialsMissing(Configuration):
    """No username or no password was found in any source."""

    code = "credentials_missing"


FINAL_EXIT_CODES = (Usage.exit_code, NeedsPerson.exit_code, Configuration.exit_code)
"""What another start would end with again, until a person does something. Not 69: a download, a port that is taken and
a full disk come right by themselves."""
