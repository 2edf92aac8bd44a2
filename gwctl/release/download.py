"""Download a release, with resume, checks and progress."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gwctl.errors import DownloadFailed
from gwctl.release.partial_download import Part
from gwctl.release.source import shown_url, url_fault

if TYPE_CHECKING:
    from gwctl.httpx_import import httpx


def retry_after_s(text: str | None, now: dt.datetime) -> float | None:
    """Return the seconds from ``now`` that a Retry-After header asks for, or None if it has no valid value."""
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
    """Return a valid If-Range value: a strong ETag, otherwise the Last-Modified date, otherwise None."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return headers.get("Last-Modified")


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return the start and total length from Content-Range, None for each that is missing."""
    text = headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (?:(\d{1,15})-\d{1,15}|\*)/(?:(\d{1,15})|\*)", text, re.ASCII)
    if match is None:
        return None, None
    start, total = match.groups()
    return (int(start) if start else None), (int(total) if total else None)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body, None if it is not given."""
    text = headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else None


_BROWSER_HINT = "download it with a browser and run `gwctl release install FILE`"
_AGAIN_HINT = f"run the same command again to resume, or {_BROWSER_HINT}"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """Limits in time, attempts and size; the real archive has 13 MB."""

    size_limit_bytes: int = 200_000_000
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 30.0
    total_timeout_s: float = 1_800.0
    # Attempts in a row that each brought less than `worthwhile_bytes`.
    attempts: int = 5
    worthwhile_bytes: int = 1_000_000
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    retry_after_limit_s: float = 120.0
    redirects: int = 5

    def pause_s(self, failures: int, jitter: float) -> float:
        """Return the pause after ``failures`` in a row: doubling, bounded; ``jitter`` (0 to 1) varies half of it."""
        whole = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return whole * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """A download's progress. ``total_bytes`` is None if the server does not say; ``trouble`` is set before a pause."""

    received_bytes: int
    total_bytes: int | None
    attempt: int
    trouble: str | None = None
    pause_s: float = 0.0


class _Passing(Exception):
    """An error that a retry may overcome; never leaves this module."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Downloader:
    """Download files within ``policy``; ``pause``, ``jitter`` (0 to 1) and ``now_s`` (monotonic) are passed in."""

    def __init__(
        self,
        policy: DownloadPolicy | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy or DownloadPolicy()
        self._pause = pause
        self._jitter = jitter or random.SystemRandom().random
        self._now_s = now_s

    def fetch(self, url: str, part: Part, progress: Callable[[DownloadProgress], None] | None = None) -> None:
        """Make ``part`` the complete file at ``url``.

        It resumes from the bytes in ``part`` if the server still has the same file. Raises DownloadFailed, keeping the
        bytes that can be resumed, and DiskTrouble.
        """
        deadline_s = self._now_s() + self.policy.total_timeout_s
        failures, attempt = 0, 0
        with self._client() as client:
            while True:
                attempt += 1
                before_bytes = part.size_bytes()
                run = _Attempt(client, self.policy, url, part, attempt, progress, lambda: deadline_s - self._now_s())
                try:
                    run.perform()
                except _Passing as trouble:
                    gained = part.size_bytes() - before_bytes >= self.policy.worthwhile_bytes
                    failures = 1 if gained else failures + 1
                    pause_s = self._pause_s(url, trouble, failures)
                    if self._now_s() + pause_s >= deadline_s:
                        raise _took_too_long(url, self.policy) from trouble
                    run.report(trouble=trouble.reason, pause_s=pause_s)
                    self._pause(pause_s)
                else:
                    return

    def _pause_s(self, url: str, trouble: _Passing, failures: int) -> float:
        if failures >= self.policy.attempts:
            raise DownloadFailed(f"{shown_url(url)}: {trouble.reason}, {failures} times", hint=_AGAIN_HINT) from trouble
        asked_s = trouble.retry_after_s or 0.0
        if asked_s > self.policy.retry_after_limit_s:
            raise DownloadFailed(
                f"{shown_url(url)}: {trouble.reason} and asks to wait {asked_s:.0f} s",
                hint=f"run the same command again after that, or {_BROWSER_HINT}",
            ) from trouble
        return max(asked_s, self.policy.pause_s(failures, self._jitter()))

    def _client(self) -> httpx.Client:
        from gwctl.httpx_import import httpx, internet_client

        timeout = httpx.Timeout(self.policy.read_timeout_s, connect=self.policy.connect_timeout_s)
        return internet_client(timeout, {"Accept-Encoding": "identity"})


@dataclass(slots=True)
class _Attempt:
    """One request, with its body written into ``part``."""

    client: httpx.Client
    policy: DownloadPolicy
    url: str
    part: Part
    attempt: int
    progress: Callable[[DownloadProgress], None] | None
    left_s: Callable[[], float]
    total_bytes: int | None = None

    def report(self, trouble: str | None = None, pause_s: float = 0.0) -> None:
        """Report the progress."""
        if self.progress is not None:
            received = self.part.size_bytes()
            self.progress(DownloadProgress(received, self.total_bytes, self.attempt, trouble, pause_s))

    def perform(self) -> None:
        """Request the missing bytes and write them; raise _Passing, DownloadFailed, DiskTrouble."""
        validator = self.part.validator()
        offset = self.part.size_bytes() if validator else 0
        sent = {"Range": f"bytes={offset}-", "If-Range": validator} if offset and validator else {}
        with _wire(), self._response(sent) as response:
            self._judge_status(response)
            if response.status_code == 416:
                if offset and content_range(response.headers)[1] == offset:
                    return
                self.part.discard()
                raise _Passing("the server now has a different file")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise DownloadFailed(f"{shown_url(self.url)} is sent compressed", hint=_BROWSER_HINT)
            self._take(response, self._start(response, offset))

    def _start(self, response: httpx.Response, offset: int) -> int:
        """Return the offset of the body in the file; start over unless the body continues the bytes in ``part``."""
        if response.status_code == 206:
            start, self.total_bytes = content_range(response.headers)
            if not offset or start != offset:
                self.part.discard()
                raise _Passing("the server sent a different range than requested")
        else:
            offset, self.total_bytes = 0, content_length(response.headers)
        if self.total_bytes is not None and self.total_bytes > self.policy.size_limit_bytes:
            self._refuse_size()
        if offset == 0:
            self.part.begin(validator(response.headers))
        return offset

    def _take(self, response: httpx.Response, start: int) -> None:
        received = start
        with self.part.opened(start) as file:
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > self.policy.size_limit_bytes:
                    self._refuse_size()
                self.part.write(file, chunk)
                self.report()
                if self.left_s() <= 0:
                    raise _took_too_long(self.url, self.policy)
        if self.total_bytes is not None and received != self.total_bytes:
            raise _Passing("the connection was dropped")

    def _refuse_size(self) -> None:
        self.part.discard()
        limit = f"{self.policy.size_limit_bytes / 1e6:g} MB"
        raise DownloadFailed(
            f"{shown_url(self.url)} is larger than {limit}: it cannot be a Standard Release", hint=_BROWSER_HINT
        )

    def _judge_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in {200, 206, 416}:
            return
        if status in {408, 429} or status >= 500:
            asked_s = retry_after_s(response.headers.get("Retry-After"), dt.datetime.now(dt.UTC))
            raise _Passing(f"the server answered {status}", asked_s)
        raise DownloadFailed(f"{shown_url(self.url)}: the server answered {status}", hint=_BROWSER_HINT)

    @contextlib.contextmanager
    def _response(self, sent: dict[str, str]) -> Iterator[httpx.Response]:
        """Follow redirects to https only (on loopback also from http to http), and check each before the request."""
        url = self.url
        for _ in range(self.policy.redirects + 1):
            with self.client.stream("GET", url, headers=sent) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                target = str(response.url.join(response.headers.get("Location", "")))
            fault = url_fault(target, loopback_allowed=url.startswith("http:"))
            if fault is not None:
                raise DownloadFailed(
                    f"{shown_url(self.url)} redirects to an address that {fault}: not followed", hint=_BROWSER_HINT
                )
            url = target
        raise DownloadFailed(f"{shown_url(self.url)} redirects in a circle", hint=_BROWSER_HINT)


def _took_too_long(url: str, policy: DownloadPolicy) -> DownloadFailed:
    return DownloadFailed(f"{shown_url(url)} took longer than {policy.total_timeout_s:g} s", hint=_AGAIN_HINT)


@contextlib.contextmanager
def _wire() -> Iterator[None]:
    """Sort httpx's errors into those that a retry may overcome and the others."""
    from gwctl.httpx_import import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise _Passing("the server did not answer in time") from error
    except httpx.TransportError as error:
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise DownloadFailed(
                    f"the server's certificate is not trusted: {cause.verify_message}",
                    hint=f"check the machine's clock and any proxy, or {_BROWSER_HINT}",
                ) from error
        raise _Passing(_reason(error)) from error
    except httpx.HTTPError as error:
        raise DownloadFailed(f"the download failed: {type(error).__name__}", hint=_BROWSER_HINT) from error


def _reason(error: httpx.TransportError) -> str:
    from gwctl.httpx_import import httpx

    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if not isinstance(error, httpx.ConnectError):
        return "the connection was dropped"
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return "cannot connect (the host name does not resolve)"
    numbers = [cause.errno for cause in _causes(error) if isinstance(cause, OSError) and (cause.errno or 0) > 0]
    return f"cannot connect ({os.strerror(numbers[-1] or 0)})" if numbers else "cannot connect"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
