"""Keep the memory of our processes off the disk: a core dump of one holds passwords, session keys and cookies."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_LEAST = 1 if sys.platform == "linux" else 0
"""At 0, Linux still gives dumps to a program that collects them (``core_pattern`` with a ``|``); at 1 it does not."""
_before: list[int] = []


def leave_none() -> None:
    """Let this process and every process that it starts leave no core dump."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    least = _LEAST if hard == resource.RLIM_INFINITY else min(_LEAST, hard)
    _before.append(soft)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid any change
        resource.setrlimit(resource.RLIMIT_CORE, (least, hard))


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Start a user's own command inside a ``with``: it gets the limit that this process was started with."""
    import resource

    now = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (_before[0] if _before else now[0], now[1]))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, now)
