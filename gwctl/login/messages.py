"""What Playwright's messages say; pure."""

from __future__ import annotations

import contextlib

CRASHED = "the page crashed"
DETACHED = "frame was detached"
"""What Playwright says of a page whose process ended while it was on its way."""
INTERRUPTED = "is interrupted by another navigation"
ABORTED = "net::ERR_ABORTED"


def was_on_its_way(message: str) -> bool:
    """Say by the log of a click that failed whether its last try had got as far as the mouse (Playwright 1.50 to 1.65).

    A try that ended with something lying over the element is followed by the next one's line. A log in other words says
    nothing, and the click may have been done.
    """
    if "locator resolved to" in message and "attempting click action" not in message:
        return True
    return message.rfind("performing click action") > message.rfind("retrying click action")


def first_line(error: Exception) -> str:
    """Return the first line of Playwright's message, without the name of its call."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    with contextlib.suppress(ValueError):
        head, tail = lines[0].split(": ", 1)
        if "." in head and " " not in head:
            return tail
    return lines[0]
