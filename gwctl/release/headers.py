"""What the headers of an HTTP answer say, in numbers."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping


def retry_after_s(text: str | None, now: dt.datetime) -> float | None:
    """Return what a Retry-After header asks for, in seconds from ``now``, or None if it says nothing of use."""
    if text is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - now).total_seconds())


def validator(headers: Mapping[str, str]) -> str | None:
    """Return what If-Range may carry: a strong ETag, else the date of the last change, else None."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return headers.get("Last-Modified")


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return start and whole length as Content-Range gives them, None for what it does not give."""
    text = headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (?:(\d{1,15})-\d{1,15}|\*)/(?:(\d{1,15})|\*)", text, re.ASCII)
    if match is None:
        return None, None
    start, total = match.groups()
    return (int(start) if start else None), (int(total) if total else None)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body if it is given."""
    text = headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else None
