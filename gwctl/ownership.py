"""Trust only files that no other user can have written: as ssh does, check who owns them and every folder above.

A folder of another user could hold settings that name programs for us to run, a record that names a server for us to
send a password to, or links in place of our logs.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from gwctl.errors import Configuration

TRUST_VARIABLE = "GWCTL_TRUST_HOME"
"""The variable that switches the check off, for volumes that everybody in a container may write to."""
_MOST_LINKS = 40
"""As many as the kernel follows."""


class Untrusted(Configuration):
    """Another user could change what gwctl reads there."""

    code = "untrusted_files"


def require_ours(paths: Iterable[Path]) -> None:
    """Raise Untrusted if another user than root could create or change one of ``paths``; they need not exist."""
    seen: set[Path] = set()
    for path in paths:
        _require(path, seen)


def require_ours_below(top: Path) -> None:
    """Raise Untrusted if another user than root could change a folder or anything in it, whatever is above it."""
    for path in (top, *top.rglob("*")):
        _judge(path, path.lstat(), set())


def _require(path: Path, seen: set[Path]) -> None:
    """Go from the root folder to ``path``, through every link; ``seen`` are the places that are known to be ours."""
    left = list(reversed(path.absolute().parts[1:]))
    here, links = Path("/"), 0
    _judge(here, here.lstat(), seen)
    while left:
        name = left.pop()
        if name in {"", "."}:
            continue
        place = here.parent if name == ".." else here / name
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return  # in a folder that nobody else can write to
        except OSError as error:
            raise Untrusted(
                f"cannot look at {place}: {error.strerror}", hint=f"ls -ld {shlex.quote(str(here))}"
            ) from error
        _judge(place, status, seen)
        if not stat.S_ISLNK(status.st_mode):
            here = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise Untrusted(f"{path} has too many symbolic links", hint=f"ls -l {shlex.quote(str(place))}")
        target = str(place.readlink())
        left += reversed(target.split("/"))
        here = Path("/") if target.startswith("/") else here


def _judge(place: Path, status: os.stat_result, seen: set[Path]) -> None:
    if place in seen:
        return
    if status.st_uid not in {os.geteuid(), 0}:
        raise _of_another(place, status.st_uid)
    if not stat.S_ISLNK(status.st_mode) and _is_open_to_others(status):
        ours = status.st_uid == os.geteuid()
        closing = f"chmod go-w {shlex.quote(str(place))}" if ours else "set GWCTL_HOME to a folder of your own"
        volume = f"; in a container with a volume of its own, {TRUST_VARIABLE}=1"
        raise Untrusted(f"other users can write to {place}: gwctl uses nothing there", hint=closing + volume)
    seen.add(place)


def _of_another(place: Path, uid: int) -> Untrusted:
    me, other = _user(os.geteuid()), _user(uid)
    return Untrusted(
        f"{place} belongs to {other}, and gwctl runs as {me}: it uses nothing there",
        hint=f"run gwctl as {other}, or set GWCTL_HOME to a folder of {me}",
    )


def _is_open_to_others(status: os.stat_result) -> bool:
    # In a sticky folder such as /tmp, nobody can replace what belongs to another user.
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_our_own_group(status.st_gid)


def _is_our_own_group(gid: int) -> bool:
    """Return whether nobody but us and root is in a group: root's own, or the one that was created for our account.

    A directory service need not list the members of any other group.
    """
    me = _user(os.geteuid())
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        # A container's, whose users and groups are listed nowhere.
        return gid == os.getegid() and not _is_listed(os.geteuid())
    is_created_for_us = gid == os.getegid() and group.gr_name == me
    return (gid == 0 or is_created_for_us) and set(group.gr_mem) <= {me, "root"}


def _is_listed(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def require_owned(path: Path) -> None:
    """Raise Untrusted if an existing folder, or one above it, belongs to another user than root.

    In a folder such as /tmp, another user may create a missing one a moment before us.
    """
    for folder in (path, *path.parents):
        uid = folder.stat().st_uid
        if uid not in {os.geteuid(), 0}:
            raise _of_another(folder, uid)


def open_ours(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open or create (0600) a regular file of ours and return its descriptor.

    Never follow a link in its place, never wait for a pipe's other end. Raise OSError, also for a file of another user.
    """
    # Not waiting changes nothing for a regular file.
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_uid in {os.geteuid(), 0}:
        return handle
    os.close(handle)
    reason = "belongs to another user" if stat.S_ISREG(status.st_mode) else "is no regular file"
    raise PermissionError(1, f"it {reason}", str(path))


def read_ours(path: Path, *, most_bytes: int = -1) -> bytes:
    """Return the content of a regular file of ours, or its start; raise OSError as ``open_ours`` does."""
    with os.fdopen(open_ours(path), "rb") as file:
        return file.read(most_bytes)
