"""What an exception of the system, or of a part below, means to who called an operation."""

from __future__ import annotations

from gwctl.errors import DiskTrouble, GatewayUnreachable, GwctlError
from gwctl.lifecycle.profile import Profile
from gwctl.supervisor.control import NoSupervisor


def translated(error: Exception, profile: Profile) -> GwctlError:
    """Return it as one of ours."""
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
                detail, hint=f"{profile.command('doctor --bundle report.zip')}, and report it with what -v prints"
            )
