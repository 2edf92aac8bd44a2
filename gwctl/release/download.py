"""Where a release comes from, and its download: with progress, and resumed if the server allows it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from msgspec import Struct

from gwctl import state_file
from gwctl.errors import DiskTrouble, DownloadFailed, ReleaseMissing, Usage
from gwctl.ownership import open_ours, read_ours
from gwctl.release.served_file import ServedFile
from gwctl.setting_keys import OFFICIAL_RELEASE
from gwctl.setting_values import url_fault

if TYPE_CHECKING:
    from gwctl.httpx_import import httpx

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_BROWSER_HINT = "download it with a browser and run `gwctl release install FILE`"
_AGAIN_HINT = f"run the same command again to resume, or {_BROWSER_HINT}"
_REDIRECTS = 5
_CONNECT_TIMEOUT_S = 15.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Source(Struct, frozen=True):
    """One place to install from.

    ``shown`` is safe to print and to record: it has no query, which may be a signature. ``key`` is the SHA-256 of the
    whole address, to recognize the address without storing it. ``where`` is the address or the file, ``name`` the name
    of the archive in errors.
    """

    shown: str
    key: str
    name: str
    where: str | Path


def shown_url(url: str) -> str:
    """Return ``url`` without user, password, query and fragment, safe to print and to store."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def parse(source: str) -> Source:
    """Return the source that the text ``source`` names.

    Raises Usage for a folder, an unsupported kind of address or an empty text, and ReleaseMissing for a file that does
    not exist. It reads the disk and changes nothing.
    """
    if not source.strip():
        raise Usage("the release's source is empty", hint="gwctl release install [URL|FILE]")
    if _SCHEME.match(source) and not Path(source).exists():
        return _parse_url(source)
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        raise Usage(
            f"{path} is a folder; gwctl installs a release from its zip",
            hint=f"cd {path} && zip -r ../clientportal.gw.zip . && gwctl release install ../clientportal.gw.zip",
        )
    if not path.exists():
        raise ReleaseMissing(
            f"{path} does not exist", hint=f"gwctl release install {OFFICIAL_RELEASE}, or give the path of the zip"
        )
    if not path.is_file():
        raise Usage(f"{path} is not a regular file", hint="gwctl release install FILE, with the downloaded zip")
    key = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()
    return Source(shown=str(path), key=key, name=path.name, where=path)


def _parse_url(url: str) -> Source:
    fault = url_fault(url, loopback_allowed=True)
    if fault is not None:
        raise Usage(f"{shown_url(url)} {fault}", hint=f"gwctl release install {OFFICIAL_RELEASE}")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urlsplit(url).path.rsplit("/", 1)[-1])[:80].lstrip(".") or "release.zip"
    return Source(shown=shown_url(url), key=hashlib.sha256(url.encode()).hexdigest(), name=name, where=url)


@contextlib.contextmanager
def disk_trouble(folder: Path) -> Iterator[None]:
    """Turn an OSError in the block into DiskTrouble; it names the file, or else ``folder``."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename or folder)
        hint = f"check the owner of {path.parent}, or set GWCTL_HOME to a folder you can write to"
        if error.errno in _FULL:
            hint = "free some space (`gwctl release prune` removes old releases), or set GWCTL_HOME to a larger disk"
        raise DiskTrouble(f"cannot use {path}: {error.strerror or type(error).__name__}", hint=hint) from error


class DownloadPolicy(Struct, frozen=True):
    """Limits in size, time and attempts; the real archive has 13 MB."""

    size_limit_bytes: int = 200_000_000
    read_timeout_s: float = 30.0
    total_timeout_s: float = 1_800.0
    # Attempts in a row that brought no byte more than the one before.
    attempts: int = 5
    first_pause_s: float = 0.5


class DownloadProgress(Struct, frozen=True):
    """A download's progress. ``total_bytes`` is None if the server does not say; ``trouble`` is set before a pause."""

    received_bytes: int
    total_bytes: int | None
    trouble: str | None = None
    pause_s: float = 0.0


class _Passing(Exception):
    """An error that a retry may overcome; never leaves this module."""


class Download(Struct, frozen=True):
    """One file at ``url`` on its way into ``part``; ``report`` is called at each step."""

    url: str
    part: Path
    report: Callable[[DownloadProgress], None]
    policy: DownloadPolicy

    def ask(self) -> ServedFile:
        """Return what the server says of the file, without fetching it; raise DownloadFailed."""
        response = self._head()
        if response.headers.get("Content-Type", "").startswith("text/"):  # a page of a proxy's, or of an error
            raise self._failed(": the server answered with a page")
        length = response.headers.get("Content-Length")
        return ServedFile.of(self.url, response.headers, int(length) if length else None)

    def leads_to(self) -> str:
        """Return the address that the server redirects to, without fetching what is there; raise DownloadFailed."""
        return str(self._head().url)

    def _head(self) -> httpx.Response:
        try:
            with self._client() as client, self._wire():
                response = client.head(self.url)
        except _Passing as trouble:
            raise self._failed(f": {trouble}") from trouble
        if response.status_code != 200:
            raise self._failed(f": the server answered {response.status_code}")
        return response

    def fetch(self) -> ServedFile:
        """Make ``part`` the complete file, resuming from its bytes if the server still has the same file.

        Returns what the server says of the file. Raises DownloadFailed, keeping the bytes that can be resumed, and
        DiskTrouble.
        """
        deadline_s = time.monotonic() + self.policy.total_timeout_s
        failures = 0
        with self._client() as client, disk_trouble(self.part.parent):
            while True:
                had_bytes = self._size_bytes()
                try:
                    return self._fetch_once(client, deadline_s)
                except _Passing as trouble:
                    failures = 1 if self._size_bytes() > had_bytes else failures + 1
                    if failures >= self.policy.attempts:
                        raise self._failed(f": {trouble}, {failures} times", _AGAIN_HINT) from trouble
                    pause_s = self.policy.first_pause_s * 2 ** (failures - 1)
                    self.report(DownloadProgress(self._size_bytes(), None, str(trouble), pause_s))
                    time.sleep(pause_s)  # no fact to wait for: the server does not say when it is well again

    def discard(self) -> None:
        """Remove what was downloaded, the bytes first: then a crash in between leaves nothing to resume."""
        self.part.unlink(missing_ok=True)
        self._etag_file.unlink(missing_ok=True)

    def _client(self) -> httpx.Client:
        from gwctl.httpx_import import httpx, internet_client

        def check(request: httpx.Request) -> None:
            """Refuse every redirect but to https, or on loopback."""
            fault = url_fault(str(request.url), loopback_allowed=self.url.startswith("http:"))
            if fault is not None:
                raise self._failed(f" redirects to an address that {fault}: not followed")

        timeout = httpx.Timeout(self.policy.read_timeout_s, connect=_CONNECT_TIMEOUT_S)
        client = internet_client(timeout, {"Accept-Encoding": "identity"})
        client.follow_redirects, client.max_redirects = True, _REDIRECTS
        client.event_hooks = {"request": [check]}
        return client

    def _fetch_once(self, client: httpx.Client, deadline_s: float) -> ServedFile:
        """Request the missing bytes, write them, and return what the server says of the file.

        Raise _Passing, DownloadFailed, OSError.
        """
        etag = self._etag()
        start = self._size_bytes() if etag else 0
        sent = {"Range": f"bytes={start}-", "If-Range": etag} if start and etag else {}
        with self._wire(), client.stream("GET", self.url, headers=sent) as response:
            self._judge(response, start if sent else None)
            start = start if response.status_code == 206 else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            self._check_size(total or 0)
            with self._open_part(keep=start > 0) as file:
                if not start:
                    state_file.write_bytes(self._etag_file, response.headers.get("ETag", "").encode())
                for chunk in response.iter_raw():
                    file.write(chunk)
                    self.report(DownloadProgress(file.tell(), total))
                    self._check_size(file.tell())
                    if time.monotonic() > deadline_s:
                        raise self._failed(f" took longer than {self.policy.total_timeout_s:g} s", _AGAIN_HINT)
            return ServedFile.of(self.url, response.headers, total)

    def _judge(self, response: httpx.Response, asked_from: int | None) -> None:
        """Raise _Passing or DownloadFailed unless the answer is the whole file, or continues it as asked."""
        status = response.status_code
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {asked_from}-")
        if status == 416 or (status == 206 and not continues):
            self.discard()
            raise _Passing("the server did not send the missing bytes")
        if status in {408, 429} or status >= 500:
            raise _Passing(f"the server answered {status}")
        if status not in {200, 206}:
            raise self._failed(f": the server answered {status}")

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.policy.size_limit_bytes:
            self.discard()
            limit = f"{self.policy.size_limit_bytes / 1e6:g} MB"
            raise self._failed(f" is larger than {limit}: it cannot be a Standard Release")

    def _failed(self, what: str, hint: str = _BROWSER_HINT) -> DownloadFailed:
        return DownloadFailed(f"{shown_url(self.url)}{what}", hint=hint)

    @contextlib.contextmanager
    def _wire(self) -> Iterator[None]:
        """Sort httpx's errors into those that a retry may overcome and the others."""
        from gwctl.httpx_import import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            raise _Passing("the server did not answer in time") from error
        except httpx.TooManyRedirects as error:
            raise self._failed(" redirects in a circle") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise DownloadFailed(
                    f"the server's certificate is not trusted: {error}",
                    hint=f"check the machine's clock and any proxy, or {_BROWSER_HINT}",
                ) from error
            known = {httpx.ConnectError: f"cannot connect ({error})", httpx.ProxyError: f"the proxy refused ({error})"}
            raise _Passing(known.get(type(error), "the connection was dropped")) from error

    def _size_bytes(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _open_part(self, *, keep: bool) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if keep else os.O_TRUNC)
        return os.fdopen(open_ours(self.part, flags), "ab" if keep else "wb")

    @property
    def _etag_file(self) -> Path:
        return self.part.with_name(f"{self.part.name}.etag")

    def _etag(self) -> str | None:
        """Return the strong ETag of the bytes in ``part``: the only one that vouches for their continuation."""
        try:
            text = read_ours(self._etag_file).decode("ascii")
        except (FileNotFoundError, ValueError):
            return None
        return text if re.fullmatch(r'"[!-~]*"', text) else None
